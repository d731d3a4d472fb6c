"""The deploy page: a package that is built, one that can't be, and what is read out of its zip."""

import sys
import zipfile

import pytest
import seed
from seed import words

from deploy import package
from engine.errors import EdgewiseError
from engine.store import boards
from engine.vocabulary import Answered
from estimator.calibrate import Machine
from pages.parts import packages


@pytest.fixture
def zipped(tmp_path):
    """Returns a zip as the engine packs one."""
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, size in (
            ("README.md", 2_000),
            ("model.onnx", 71_000),
            ("golden/0.png", 300),
            ("golden/1.png", 300),
        ):
            archive.writestr(name, b"x" * size)
    return path


def press(app, label):
    return next(b for b in app.button if label in b.label).click().run()


def test_a_built_package_shows_what_is_in_it_and_how_to_run_it(home, open_page, zipped, monkeypatch):
    asked = []
    monkeypatch.setattr(
        package, "build", lambda run, variant, *rest: asked.append((variant, rest[-1])) or zipped
    )
    app = press(open_page("deploy", run=(run := seed.finished(home))), "Build the package")
    said = words(app) + "\n".join(block.value for block in app.code)
    assert asked == [("hybrid", seed.DEVICE)] and "unpacked in a clean folder" in said
    assert "golden/ 2 files" in said and "verify.py" in said and not app.exception
    app.selectbox(key=f"package_device-{run}").set_value("raspberry_pi_5").run()
    press(app, "Build the package")
    assert asked[-1] == ("hybrid", "raspberry_pi_5") and not app.exception


def test_a_package_asks_a_person_where_that_is_chosen(home, open_page, zipped, monkeypatch):
    run, asked = seed.finished(home), []
    shares = [(0.0, 1.0, 0.95), (0.6, 0.9, 0.98)]
    answered = [
        Answered(confidence=at, validation_share=s, validation_accuracy=a, test_share=s, test_accuracy=a)
        for at, s, a in shares
    ]
    home.write_variant(run, seed.variant(*seed.FIGURES[7]).model_copy(update={"answered": answered}))
    monkeypatch.setattr(
        package, "build", lambda run, variant, home, reach, device: asked.append(reach) or zipped
    )
    app = press(open_page("deploy", run=run), "Build the package")
    app.segmented_control(key="asks").set_value("Below a confidence").run()
    assert "Below a confidence of **0.6**" in words(app)
    app.number_input(key="package_alone").set_value(99.5).run()
    assert next(b for b in app.button if "Build the package" in b.label).disabled
    app.number_input(key="package_alone").set_value(97.0).run()
    press(app, "Build the package")
    assert asked == [None, 0.97] and not app.exception


def test_a_package_that_does_not_run_is_one_sentence(home, open_page, monkeypatch):
    def refuse(run, variant, workspace, reach, device):
        raise EdgewiseError("The package was not built, because its answers differ.")

    monkeypatch.setattr(package, "build", refuse)
    app = press(open_page("deploy", run=seed.finished(home)), "Build the package")
    assert "its answers differ" in "".join(error.value for error in app.error) and not app.exception


def test_the_tree_counts_files_and_bytes(zipped):
    lines = packages.tree(zipped).splitlines()
    assert [line.split()[0] for line in lines] == ["golden/", "model.onnx", "README.md"]
    assert lines[0].endswith("600\u00a0B") and lines[1].endswith("71.0\u00a0kB")


@pytest.mark.parametrize("top", ["", "edgewise-digits/"])
def test_the_commands_go_into_the_folder_that_unpacking_makes(tmp_path, top):
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}infer.py", "")
        archive.writestr(f"{top}model/model.onnx", "")
    first, second, *_ = packages.commands(path, "int8-pi.zip").splitlines()
    folder = top.rstrip("/") or "int8-pi"
    assert second == f"cd {folder}" and (first == "unzip int8-pi.zip") == bool(top)


def test_a_board_gets_one_command_and_what_it_sends_is_shown(home, open_page, monkeypatch):
    run = seed.finished(home)
    monkeypatch.delitem(sys.modules, "engine.http", raising=False)
    assert "started as `app.py` alone" in words(open_page("deploy", run=run))
    monkeypatch.setitem(sys.modules, "engine.http", sys)
    app = open_page("deploy", run=run)
    assert not [block for block in app.code if "edgewise_agent.py" in block.value]
    press(app, "Get the command")
    command = next(block.value for block in app.code if "edgewise_agent.py" in block.value)
    token = command.split("--token ")[1]
    assert boards.run_of(token, home) == run and "Nothing has come yet" in words(app)
    boards.meet(run, Machine(board=seed.HOSTILE), home)
    boards.keep(run, "hybrid", seed.on_board(30), home)
    boards.keep(run, "baseline", seed.on_board(36), home)
    app.run()
    assert "Wrong answers on =HYPERLINK" in words(app) and "6 of 36 golden pictures" in words(app)
    rows = next(t.value for t in app.dataframe if "Rounds" in t.value)
    assert rows["Answers"].tolist() == ["✓ 36 of 36 the same", "✗ 30 of 36 the same"]
    assert rows["Energy (mJ)"].tolist() == [6.0, 6.0]
    boards.end(token, home)
    app.run()
    assert any("Get the command" in b.label for b in app.button) and not app.exception


def test_what_a_board_measured_stands_on_the_compare_page(home, open_page):
    run = seed.finished(home)
    assert not [t for t in open_page("compare", run=run).dataframe if "On your device (ms)" in t.value]
    boards.meet(run, Machine(board="Raspberry Pi 4 Model B Rev 1.4"), home)
    boards.keep(run, "hybrid", seed.on_board(30), home)
    boards.give(run, home)  # so that the page looks again by itself
    app = open_page("compare", run=run)
    (table,) = [t for t in app.dataframe if "On your device (ms)" in t.value]
    assert "On your device (ms)" in table.proto.column_order
    assert table.value.set_index("Variant")["On your device (ms)"].dropna().to_dict() == {"hybrid": 1.5}
    assert "Wrong answers on Raspberry Pi 4 Model B Rev 1.4:** `hybrid`" in app.error[0].value.replace(
        "\\", ""
    )
    assert "4 threads, the middle of 1 round in turns, at most 61 °C" in words(app) and not app.exception
