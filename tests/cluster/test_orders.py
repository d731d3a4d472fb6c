"""What goes to workers and comes back: typed, hashed, checked at both ends; what is not is one sentence."""

import hashlib
import json

import pytest
from pydantic import ValidationError

pytest.importorskip("distributed", reason="it is not installed: pip install -r requirements/cluster.txt")

from engine import datasets
from engine.backends import Facts
from engine.cluster import orders, worker
from engine.cluster.files import Files
from engine.cluster.orders import File, Order, Reply, difference, kind_of, packed, unpacked, versions
from engine.cluster.run_files import RunFiles
from engine.errors import BadInput, EdgewiseError
from engine.run.requests import MakeVariants, of_run
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def request_(asked, tmp_path, own_home):
    """What a child is asked for one technique of a run on digits, whose data set is ready."""
    home = tmp_path / "home"
    datasets.prepare("digits", home)
    for name in ("artifacts", "cache"):
        (home / "runs" / "one" / name).mkdir(parents=True)
    (home / "runs" / "one" / "cache" / "facts.json").write_text("{}")
    facts = Facts("pytorch", (), 0, 0)
    common = of_run(asked(), home / "runs" / "one", home)
    words = {"seed": 0, "seconds": 1.0, "tolerance": 0.005, "dot_product": True, "channel_multiple": 4}
    return MakeVariants(**common, technique="fp16", facts=facts, device="raspberry_pi_4", **words)


@pytest.fixture
def maker(tmp_path):
    """A worker without a Dask."""

    class Dask:
        address = "tcp://10.0.0.2:4000"

    made = worker.Maker(tmp_path / "worker")
    made.worker = Dask()
    return made


def test_an_order_is_json_and_names_no_path_of_its_host_and_no_test_part(request_, tmp_path):
    order, sources = RunFiles().order(request_, Limits(), versions())
    text = order.model_dump_json()
    assert Order.model_validate_json(text) == order
    assert str(tmp_path) not in text and "test_" not in text
    names = {"model", "data/meta.json", "data/train_images.npy", "data/train_labels.npy"}
    assert {file.path for file in order.files} == names | {"run/cache/facts.json"}
    assert all(sha256(path.read_bytes()) == name for name, path in sources.items())


def test_a_worker_asks_for_what_it_lacks_once_and_lays_it_out(request_, maker, tmp_path):
    order, sources = RunFiles().order(request_, Limits(), versions())
    reply, _ = unpacked(maker.make(order.model_dump_json()))
    assert set(reply.lacks) == set(sources) and reply.worker == "tcp://10.0.0.2:4000"
    for name in reply.lacks:
        maker.files.add(name, "me", 0, sources[name].read_bytes(), True)
    assert maker.files.lacking(sources) == []
    place = tmp_path / "place"
    place.mkdir()
    there = worker.laid_out(order, place, maker.files)
    parts = datasets.load("digits", place, classes=there.model.classes)
    assert (parts["train"].images == datasets.load("digits", request_.home)["train"].images).all()
    assert there.folder == place / "run" and (there.folder / "cache" / "facts.json").read_text() == "{}"


def test_a_data_set_of_ones_own_is_found_on_a_worker_under_another_name(request_, asked, maker, tmp_path):
    own = tmp_path / "photos"
    own.mkdir()
    mine = request_.model_copy(update={"dataset": str(own)})
    how = {"image_shape": mine.model.input_shape, "fit": "stretch", "upright": True}
    datasets.located("digits", mine.home).rename(datasets.located(own, mine.home, **how))
    preprocessing = mine.model.preprocessing.model_copy(update={"fit": "stretch"})
    mine = mine.model_copy(update={"model": mine.model.model_copy(update={"preprocessing": preprocessing})})
    order, sources = RunFiles().order(mine, Limits(), versions())
    for name, path in sources.items():
        maker.files.add(name, "me", 0, path.read_bytes(), True)
    place = tmp_path / "place"
    place.mkdir()
    there = worker.laid_out(order, place, maker.files)
    assert len(datasets.load(there.dataset, place, **how)["train"].labels) > 1_000
    assert str(own) not in order.model_dump_json()


def test_other_versions_are_refused_in_one_sentence(request_, maker):
    there = versions() | {"torch": "1.0"}
    assert kind_of(there) != kind_of(versions()) == kind_of(dict(reversed(versions().items())))
    order, _ = RunFiles().order(request_, Limits(), there)
    reply, _ = unpacked(maker.make(order.model_dump_json()))
    assert "torch" in reply.trouble.message and "and 1.0 there" in reply.trouble.message
    assert difference(versions(), versions()) == "" and {"python", "numpy", "onnx", "keras"} <= set(there)


def test_what_is_no_order_is_refused(maker):
    reply, _ = unpacked(maker.make(json.dumps({"id": "x", "module": "os"})))
    assert reply.trouble.message == "its worker was sent something that is no order"


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "a//b", ".", "", "a\\b", "a/.b", "C:b"])
def test_a_path_that_may_lead_out_is_none(path):
    with pytest.raises(ValidationError):
        File(path=path, sha256="0" * 64, bytes=1)


def reply_of(**changes) -> bytes:
    file = {"path": "artifacts/fp16/model.onnx", "sha256": sha256(b"whole"), "bytes": 5} | changes
    return json.dumps({"worker": "w", "files": [file]}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("text", "something else than an answer"),
        (b"no line", "no answer"),
        (b'{"worker": "w", "run": "rm"}\n', "no answer"),
        (b"[" * 100_000 + b"\n", "no answer"),
        (reply_of(path="../../x") + b"whole", "no answer"),
        (reply_of(bytes=-1) + b"whole", "no answer"),
        (reply_of() + b"other", "did not arrive as its worker sent it"),
        (reply_of() + b"who", "did not arrive as its worker sent it"),
    ],
)
def test_a_hostile_reply_is_one_sentence(data, why):
    with pytest.raises(Failed, match=why):
        unpacked(data)


def test_a_reply_of_any_length_is_not_taken(monkeypatch):
    monkeypatch.setattr(orders, "MOST_BYTES", 10)
    with pytest.raises(Failed, match="more than is taken"):
        unpacked(reply_of() + b"whole")


def put(request, path: str) -> None:
    reply, contents = unpacked(reply_of(path=path) + b"whole")
    RunFiles().put(request, reply, contents)


@pytest.mark.parametrize("path", ["experiment.json", "artifacts/baseline/model.onnx", "cache/deep/a.json"])
def test_a_file_goes_to_no_place_but_its_own(request_, path):
    with pytest.raises(Failed, match="not its own"):
        put(request_, path)
    assert not (request_.folder / path).exists()


def test_what_the_host_knows_is_not_written_over(request_):
    put(request_, "cache/facts.json")
    put(request_, "artifacts/fp16/model.onnx")
    assert (request_.folder / "cache" / "facts.json").read_text() == "{}"
    assert (request_.folder / "artifacts" / "fp16" / "model.onnx").read_bytes() == b"whole"


def test_only_own_files_go_back(tmp_path):
    folder = tmp_path / "run"
    (folder / "artifacts" / "fp16").mkdir(parents=True)
    (folder / "cache").mkdir()
    for name in ("artifacts/fp16/model.onnx", "cache/groups.json", "cache/facts.json"):
        (folder / name).write_bytes(b"made")
    (tmp_path / "secret").write_text("secret")
    (folder / "artifacts" / "fp16" / "link.onnx").symlink_to(tmp_path / "secret")
    (folder / "artifacts" / "away").symlink_to(tmp_path)
    files = worker.made_files(folder, {"run/cache/facts.json"})
    assert [file.path for file in files] == ["artifacts/fp16/model.onnx", "cache/groups.json"]
    assert unpacked(packed(Reply(worker="w", files=files), folder))[1] == [b"made", b"made"]


def test_a_file_is_taken_in_pieces_and_only_as_what_it_is_named(tmp_path):
    files, name = Files(tmp_path / "files"), sha256(b"one two")
    files.add(name, "a", 0, b"one ", False)
    assert files.lacking([name]) == [name]
    files.add(name, "a", 4, b"two", True)
    assert files.lacking([name]) == []
    (files.folder / name).write_bytes(b"changed by a child")
    assert files.lacking([name]) == [name]
    with pytest.raises(EdgewiseError, match="out of turn"):
        files.add(name, "b", 3, b"two", True)
    with pytest.raises(EdgewiseError, match="SHA-256"):
        files.add(name, "c", 0, b"one too", True)
    assert list(files.folder.iterdir()) == []


@pytest.mark.parametrize("address", ["nonsense", "http://host:1", "tcp://host", "tcp://a:1/x", "tcp:// a:1"])
def test_what_is_no_address_is_refused_at_once(monkeypatch, address):
    from engine.run.worker import other_machines

    monkeypatch.setenv("EDGEWISE_SCHEDULER", address)
    with pytest.raises(BadInput, match="no address of a scheduler"):
        other_machines()
    with pytest.raises(BadInput, match="no address of a scheduler"):
        worker.serve(address)


def test_a_run_without_dask_says_what_to_install(monkeypatch):
    import sys

    from engine.run.worker import other_machines

    assert other_machines() is None
    monkeypatch.setenv("EDGEWISE_SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "engine.cluster.host", None)
    with pytest.raises(BadInput, match=r"requirements/cluster\.txt"):
        other_machines()
