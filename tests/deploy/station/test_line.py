"""The station end to end: real pictures through a real package to a real broker and a real Modbus server."""

import hashlib
import io
import json
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import types
import zipfile
from base64 import b64decode
from contextlib import closing
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from deploy.station import packages
from deploy.station.__main__ import main, parser
from deploy.station.classify import Classifier, Failed
from deploy.station.collect import Collector
from deploy.station.events import Events
from deploy.station.log import Log
from deploy.station.plc import FAULT, STATE
from deploy.station.refused import Refused
from deploy.station.update import Updates
from tests.deploy.station.conftest import GOOD, ROOT, ended, free_port, until

DOC = (ROOT / "docs" / "station.md").read_text()


def schema() -> dict:
    """The schema of events, as the document has it."""
    return json.loads(re.search(r"```json\n(.*?)```", DOC, re.S).group(1))


@pytest.fixture
def collector(tmp_path):
    """Returns the function that collects from a broker, on the cloud's side."""
    made = []

    def start(broker) -> Collector:
        made.append(Collector(tmp_path / "events.db", "127.0.0.1", broker.port))
        until(lambda: made[-1].client.is_connected())
        return made[-1]

    yield start
    for one in made:
        one.close()


def logged(tmp_path: Path) -> list[tuple]:
    """Returns number, picture, verdict, reason, class and signal of all items; the file is sound."""
    if not (tmp_path / "state" / "station.db").exists():
        return []
    with closing(sqlite3.connect(tmp_path / "state" / "station.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'items'").fetchone():
            return []
        return db.execute(
            "SELECT n, picture, verdict, reason, class, signal FROM items ORDER BY n"
        ).fetchall()


def items(collector: Collector) -> list[dict]:
    return [content for _, _, kind, content in collector.rows() if kind == "item"]


def test_a_line_sorts_pictures_signals_and_tells(station, pictures, plc, broker, collector, tmp_path):
    cloud, folder = collector(broker), pictures("belt", range(120))
    (folder / "00050-broken.png").write_bytes(b"no picture")
    said = ended(
        station(
            *("--source", f"folder:{folder}", "--plc", plc.address, "--broker", broker.address),
            *("--min-confidence", "0.5", "--sample-every", "40"),
        )
    )
    assert said["items"] == 121 and said["lost"] == said["waiting"] == 0
    rows = logged(tmp_path)
    broken = next(row for row in rows if "broken" in row[1])
    assert broken[2:5] == ("unsure", "no picture", None)
    right = [row for row in rows if row[2] == ("defect" if row[1].endswith("9.png") else "ok")]
    assert len(right) >= 0.95 * len(rows)
    assert plc.simulator.passed == {row[0]: row[2] == "ok" for row in rows}
    assert plc.simulator.coils[:3] == [False, True, False]
    until(lambda: len(items(cloud)) == 121 and cloud.rows()[-1][2] == "summary")
    for *_, content in cloud.rows():
        jsonschema.validate(content, schema())
    assert [item["outcome"] == "pass" for item in items(cloud)] == list(plc.simulator.passed.values())
    samples = [content for _, _, kind, content in cloud.rows() if kind == "sample"]
    assert {40, 80, 120} <= {sample["n"] for sample in samples}
    assert b64decode(samples[-1]["content"]) == (folder / samples[-1]["picture"]).read_bytes()
    summary = cloud.rows()[-1][3]
    assert summary["items"] == 121 and summary["verdicts"]["ok"] == said["ok"]


@pytest.mark.slow
def test_nothing_is_lost_while_the_broker_is_away(station, long_belt, broker, collector, tmp_path):
    cloud = collector(broker)
    belt = station("--source", f"conveyor:{long_belt}@150", "--broker", broker.address)
    until(lambda: len(items(cloud)) > 40)
    broker.stop()
    seen = len(logged(tmp_path))
    until(lambda: len(logged(tmp_path)) > seen + 60)
    broker.start()
    until(lambda: len(items(cloud)) > seen + 60)
    said = ended(belt, stop=True)
    assert said["items"] > seen + 60 and said["waiting"] == 0
    until(lambda: len(items(cloud)) == said["items"])
    assert cloud.missing() == 0
    came = [seq for (seq,) in cloud.db.execute("SELECT seq FROM events ORDER BY rowid")]
    assert came == sorted(came), "out of order"


@pytest.mark.slow
def test_what_the_plc_did_not_hear_is_a_reject_and_is_never_said_later(station, long_belt, plc, tmp_path):
    nobody = f"127.0.0.1:{free_port()}"  # events wait for it, to be read here
    belt = station("--source", f"conveyor:{long_belt}@100", "--plc", plc.address, "--broker", nobody)
    until(lambda: len(plc.simulator.passed) > 30)
    plc.stop()
    before = plc.simulator.passed
    until(lambda: any(row[5] == "lost" for row in logged(tmp_path)))
    plc.start()
    until(lambda: len(plc.simulator.passed) > 10)
    said = ended(belt, stop=True)
    lost = {row[0] for row in logged(tmp_path) if row[5] == "lost"}
    assert len(lost) == said["lost"] > 0
    assert not lost & {*plc.simulator.passed}
    # one may have reached it without its answer reaching us: then it counts as a reject all the same
    assert len(lost & {*before}) <= 1
    assert plc.simulator.coils[:3] == [False, True, False]
    with closing(Log(tmp_path / "state" / "station.db", "station")) as log:
        log.sync()
        events = [json.loads(payload) for _, kind, payload in log.unsent(0, 10_000) if kind == "item"]
    assert {event["outcome"] for event in events if event["n"] in lost} == {"reject"}


@pytest.mark.slow
def test_a_killed_station_goes_on(station, long_belt, pictures, broker, collector, tmp_path):
    cloud, folder = collector(broker), pictures("rest", range(50))
    killed = station("--source", f"conveyor:{long_belt}@200", "--broker", broker.address)
    until(lambda: len(logged(tmp_path)) > 60)
    killed.kill()
    killed.wait()
    before = len(logged(tmp_path))
    ended(station("--source", f"folder:{folder}", "--broker", broker.address))
    rows = logged(tmp_path)
    assert [row[0] for row in rows] == list(range(1, before + 51))
    until(lambda: len(items(cloud)) == len(rows))
    assert cloud.missing() == 0
    assert [(item["n"], item["picture"]) for item in items(cloud)] == [row[:2] for row in rows]


def repacked(package: Path, target: Path, change) -> Path:
    """Writes a package again with its files changed, and sums that are right."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != "SHA256SUMS"}
    files = change(files)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in {**files, "SHA256SUMS": sums.encode()}.items():
            archive.writestr(name, data)
    return target


def never_sure(files: dict) -> dict:
    facts = json.loads(files["metadata.json"]) | {"min_confidence": 0.99999}
    return {**files, "metadata.json": json.dumps(facts).encode()}


def untrue(files: dict) -> dict:
    """Whole by its sums, but it does not answer as its golden scores say."""
    scores = np.load(io.BytesIO(files["golden/scores.npy"]))
    kept = io.BytesIO()
    np.save(kept, -scores)
    return {**files, "golden/scores.npy": kept.getvalue()}


def command(path: Path, **changes) -> str:
    return json.dumps({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | changes)


@pytest.mark.slow
def test_a_package_takes_over_or_is_refused_or_rolled_back(
    station, built, long_belt, pictures, broker, collector, tmp_path
):
    cloud, updates = collector(broker), tmp_path / "updates"
    updates.mkdir()
    good = Path(shutil.copy(built("ptq_int8"), updates / "good.zip"))
    bad = repacked(built("baseline"), updates / "bad.zip", never_sure)
    wrong = repacked(built("baseline"), updates / "wrong.zip", untrue)
    damaged = updates / "damaged.zip"
    damaged.write_bytes(good.read_bytes()[:-5000])
    belt = station(
        *("--source", f"conveyor:{long_belt}@100", "--broker", broker.address, "--updates", str(updates))
    )

    def results(what: str) -> list[dict]:
        found = [content for _, _, kind, content in cloud.rows() if kind == "update"]
        return [content for content in found if content["result"] == what]

    def send(payload: str) -> None:
        cloud.client.publish("edgewise/station/command/update", payload, qos=1)

    until(lambda: len(items(cloud)) > 60)
    for number, (payload, why) in enumerate(
        [
            (command(damaged), "can't be unpacked"),
            (command(wrong), "verify.py failed"),
            (command(good, sha256="0" * 64), "SHA-256 is another"),
            (command(good, file="../good.zip"), "a file of the folder"),
            ("{", "a file of the folder"),
        ],
        start=1,
    ):
        send(payload)
        until(lambda number=number: len(results("refused")) == number)
        assert why in results("refused")[-1]["why"]
    send(command(bad))
    (back,) = until(lambda: results("rolled back"))
    assert "100% of" in back["why"]
    until(lambda: items(cloud)[-1]["package"] == back["package"] and items(cloud)[-1]["verdict"] != "unsure")
    send(command(bad))
    until(lambda: "was rolled back" in results("refused")[-1]["why"])
    send(command(good))
    until(lambda: len(results("taken over")) == 2)
    new = results("taken over")[-1]["package"]
    until(lambda: items(cloud)[-1]["package"] == new)
    ended(belt, stop=True)
    # a restart goes on with what took over, though the command line names what it began with
    ended(station("--source", f"folder:{pictures('rest', range(20))}", "--broker", broker.address))
    until(lambda: items(cloud)[-1]["picture"].startswith("00019"))
    assert items(cloud)[-1]["package"] == new


@pytest.mark.slow
def test_an_update_that_does_not_open_after_a_restart_is_rolled_back(built, tmp_path):
    log, said = Log(tmp_path / "log.db", "line"), []

    def updates() -> Updates:
        return Updates(log, tmp_path / "packages", Classifier, lambda _, what: said.append(what["result"]))

    first = updates().first(built("baseline"))
    first.close()
    later = packages.install(built("ptq_int8"), tmp_path / "packages")
    log.set("packages", log.get("packages") | {"current": later.name, "previous": first.id, "since": 0})
    (later / "model.onnx").write_bytes(b"gone bad on the card")
    found = updates().first(built("baseline"))
    found.close()
    assert found.id == first.id and said == ["rolled back"]
    assert log.get("packages")["refused"] == [later.name]


@pytest.mark.slow
def test_a_classifier_that_dies_fails_and_comes_back(built, tmp_path):
    classifier = Classifier(packages.install(built("baseline"), tmp_path))
    sample = (classifier.folder / "sample.png").read_bytes()
    answer = classifier.ask(sample)
    assert answer["class"] in classifier.classes and answer["brightness"] > 0
    assert "no_picture" in classifier.ask(b"")
    classifier.process.kill()
    for _ in range(2):
        with pytest.raises(Failed):
            classifier.ask(sample)
    until(lambda: classifier.process)
    assert classifier.ask(sample) == answer
    classifier.close()


@pytest.mark.parametrize("is_right", [True, False])
def test_a_broker_with_password_and_tls_gets_events_of_who_has_both(brokers, tmp_path, monkeypatch, is_right):
    key, certificate, users = (tmp_path / name for name in ("key.pem", "certificate.pem", "users"))
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=broker"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    passwords = shutil.which("mosquitto_passwd")
    if not shutil.which("openssl") or not passwords:
        pytest.skip("openssl or mosquitto_passwd is not installed here")
    subprocess.run([*words.split(), *names], check=True, capture_output=True)
    subprocess.run([passwords, "-b", "-c", users, "line", "secret"], check=True, capture_output=True)
    broker = brokers(f"password_file {users}", f"certfile {certificate}", f"keyfile {key}")
    monkeypatch.setenv("EDGEWISE_MQTT_USER", "line")
    monkeypatch.setenv("EDGEWISE_MQTT_PASSWORD", "secret" if is_right else "guessed")
    monkeypatch.setenv("EDGEWISE_MQTT_CA", str(certificate))
    log = Log(tmp_path / "log.db", "line")
    log.event("alarm", {"alarm": "drift"})
    log.sync()
    events = Events(log, "127.0.0.1", broker.port, lambda _: None)
    events.start()
    until(lambda: not log.waiting() if is_right else events.refused)
    events.stop(1)
    assert log.waiting() == (0 if is_right else 1)


@pytest.fixture
def own_signals():
    """Gives the test's process its signals back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.slow
def test_a_camera_that_vanishes_stops_the_line_with_a_sentence(
    built, tmp_path, plc, own_signals, capsys, monkeypatch
):
    with zipfile.ZipFile(built("baseline")) as archive:
        content = archive.read("sample.png")
    frames = iter([(True, None)] * 3 + [(False, None)])
    camera = types.SimpleNamespace(isOpened=lambda: True, read=lambda: next(frames))
    sample = types.SimpleNamespace(tobytes=lambda: content)
    fake = types.SimpleNamespace(VideoCapture=lambda _: camera, imencode=lambda *_: (True, sample))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    words = ["--package", str(built("baseline")), "--source", "camera:0@50", "--ok-class", *GOOD]
    assert main([*words, "--state", str(tmp_path / "state"), "--plc", plc.address]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["items"] == len(plc.simulator.passed) == 3
    assert said.err.splitlines()[-1] == (
        "The line stopped, because camera 0 gives no more pictures: is it still connected?"
    )
    assert plc.simulator.coils[:3] == [False, True, False] and plc.simulator.registers[STATE] == FAULT


def test_bad_input_gets_one_sentence(built, pictures, tmp_path, own_signals, capsys):
    belt = f"folder:{pictures('belt', range(2))}"
    changed = tmp_path / "changed"
    with zipfile.ZipFile(built("baseline")) as archive:
        archive.extractall(changed)
    (changed / "classifier.py").write_text("print('mine')")
    start = ["--source", belt, "--state", str(tmp_path / "state"), "--package"]
    for words, said in (
        ([str(changed), "--ok-class", "1"], "classifier.py of changed is not the file that was packed"),
        ([str(built("baseline")), "--ok-class", "cat"], "no class 'cat'"),
        ([str(built("baseline")), "--ok-class", "1", "--plc", "plc:x"], "is no address"),
        ([str(built("baseline")), "--ok-class", "1", "--station", "a/b"], "no name for a station"),
        ([str(built("baseline")), "--ok-class", "1", "--plc-unit", "300"], "is a Modbus unit"),
        ([str(built("baseline")), "--ok-class", "1", "--plc-coil", "70000"], "places of a PLC"),
        ([str(tmp_path / "none.zip"), "--ok-class", "1"], "There is no package"),
    ):
        assert main([*start, *words]) == 1
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1, err


@pytest.mark.slow
def test_two_stations_do_not_share_a_folder(station, long_belt, tmp_path):
    belt = station("--source", f"conveyor:{long_belt}@20")
    until(lambda: logged(tmp_path))
    second = station("--source", f"folder:{long_belt}")
    assert second.wait(20) == 1 and "Another station is at work" in second.stderr.read()
    ended(belt, stop=True)


def test_the_documents_commands_are_understood():
    lines = re.findall(
        r"^    (?:python|\.venv/bin/python) -m deploy\.station ((?:[^\n]*\\\n)*[^\n]*)", DOC, re.M
    )
    assert lines
    for line in lines:
        parser().parse_args(shlex.split(line.replace("\\\n", " ")))


def test_a_broker_needs_the_extra_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(Refused, match=r"requirements/station\.txt"):
        Events(Log(tmp_path / "log.db", "line"), "127.0.0.1", 1, lambda _: None)
