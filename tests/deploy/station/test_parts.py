"""What the station decides, keeps and refuses, without a package at work."""

import io
import json
import os
import random
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from deploy.station import drift, packages, source
from deploy.station.collect import row_of
from deploy.station.decide import FAILED, LATE, LOW, NO_PICTURE, UNSURE, Rules, Verdict, rules
from deploy.station.drift import Drift
from deploy.station.events import Events
from deploy.station.log import Log, outcome
from deploy.station.plc import LOST, NUMBER, REACHED, REJECT, RUN, STATE, Plc
from deploy.station.refused import Refused, address
from deploy.station.update import Updates
from deploy.station.worker import light
from tests.deploy.station.conftest import ROOT, free_port, until

OK = Verdict("ok", name="7", index=7, probability=0.93)


@pytest.mark.parametrize(
    "ok, defect, good",
    [(["a"], [], {"a"}), ([], ["c"], {"a", "b"}), (["a", "b"], ["c"], {"a", "b"})],
)
def test_the_kind_that_is_not_named_is_the_rest(ok, defect, good):
    assert rules(["a", "b", "c"], ok, defect, None).good == good


@pytest.mark.parametrize(
    "ok, defect, said",
    [
        (["x"], [], "no class 'x'"),
        (["a"], ["a", "b"], "as good and as a defect"),
        (["a"], ["b"], "'c' is named neither"),
        ([], [], "Say which classes"),
        (["a", "b", "c"], [], "nothing to sort"),
    ],
)
def test_classes_that_leave_something_open_are_refused(ok, defect, said):
    with pytest.raises(Refused, match=said):
        rules(["a", "b", "c"], ok, defect, None)


@pytest.mark.parametrize(
    "asked, stored, probability, verdict",
    [
        (None, 0.9, 0.8, UNSURE),
        (None, None, 0.8, "ok"),
        (0.5, 0.9, 0.8, "ok"),
        (None, None, float("nan"), UNSURE),
    ],
)
def test_the_threshold_is_what_was_asked_else_the_packages(asked, stored, probability, verdict):
    answer = {"class": "a", "index": 0, "probability": probability}
    found = Rules(frozenset("a"), asked).verdict(answer, stored)
    assert (found.verdict, found.reason) == (verdict, LOW if verdict == UNSURE else "")
    assert Rules(frozenset("a")).verdict({"no_picture": "is damaged"}, None).reason == NO_PICTURE


def test_only_an_ok_that_the_plc_heard_passes():
    assert [outcome("ok", s) for s in (REACHED, LOST, "unknown", "none")] == [
        "pass",
        "reject",
        "unknown",
        "pass",
    ]
    assert {outcome(v, s) for v in ("defect", UNSURE) for s in (REACHED, LOST, "unknown", "none")} == {
        "reject"
    }


def test_a_log_goes_on_where_a_killed_one_stopped(tmp_path):
    """As after kill -9: the second item was written, and nobody heard of its signal."""
    first = Log(tmp_path / "log.db", "line")
    first.signalled(first.decided("a.png", OK, 3.0, "p"), REACHED)
    first.decided("b.png", OK, 3.0, "p")
    first.db.close()
    again = Log(tmp_path / "log.db", "line")
    assert again.decided("c.png", OK, 3.0, "p") == 3
    assert again.unsent(0, 10) == []  # a power cut might still take them
    again.sync()
    events = [json.loads(payload) for _, _, payload in again.unsent(0, 10)]
    assert [(e["n"], e["signal"], e["outcome"]) for e in events] == [
        (1, "reached", "pass"),
        (2, "unknown", "unknown"),
    ]
    assert len({e["id"] for e in events}) == 2
    again.sent([1])
    assert [seq for seq, _, _ in again.unsent(0, 10)] == [2] and again.waiting() == 1
    again.prune(days=-1, most=2)
    assert (
        again.last() == 3 and again.counts() == {("ok", "", "open"): 1} and again.waiting() == 1
    )  # what was not sent stays
    assert Log(tmp_path / "other.db", "line").origin != again.origin


def test_without_anybody_to_send_to_no_event_is_kept(tmp_path):
    log = Log(tmp_path / "log.db", "line", sends=False)
    log.signalled(log.decided("a.png", OK, 1.0, "p"), "none")
    log.event("summary", {"items": 1})
    assert log.waiting() == 0 and log.last() == 1 and log.counts() == {("ok", "", "none"): 1}


def test_a_frame_is_sent_as_a_small_jpeg():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    frame = cv2.imencode(".bmp", noise)[1].tobytes()
    made = source.as_jpeg(frame, 50_000)
    assert made[:2] == b"\xff\xd8" and len(made) <= 50_000
    assert source.as_jpeg(made, 50_000) == made


def test_an_item_passes_only_by_its_own_signal(plc):
    made = Plc("127.0.0.1", plc.port)
    until(lambda: made.client.connect())
    made.start()
    assert made.signal(70_000, OK) == REACHED and plc.simulator.passed[70_000]
    assert made.signal(70_001, Verdict(UNSURE, LOW)) == REACHED and not plc.simulator.passed[70_001]
    assert plc.simulator.registers[3:8] == [3, 0, 0xFFFF, 1, 70_001 - 65_536]
    assert plc.simulator.coils[RUN]
    plc.stop()
    assert made.signal(70_002, OK) == LOST
    plc.start()
    until(lambda: made.connected)
    assert plc.simulator.registers[NUMBER] == 0, "a verdict came when its item was gone"
    assert made.signal(70_003, OK) == REACHED
    made.stop()
    assert plc.simulator.coils[: RUN + 1] == [False, True, False] and plc.simulator.registers[STATE] == 0


def test_a_plc_notices_that_nobody_beats(plc, monkeypatch):
    """Also where the process lives on, but its line does not."""
    monkeypatch.setattr("deploy.station.plc.ALIVE_S", 0.3)
    monkeypatch.setattr("deploy.station.simulator.WATCHDOG_S", 1.0)
    made = Plc("127.0.0.1", plc.port)
    until(lambda: made.client.connect())
    made.start()
    made.signal(1, OK)
    assert plc.simulator.passed == {1: True}
    until(lambda: not plc.simulator.coils[RUN])
    assert plc.simulator.coils[REJECT]
    made.stop()


def test_a_plc_that_was_never_there_holds_nothing_up():
    made = Plc("127.0.0.1", free_port())
    made.start()
    assert made.signal(1, OK) == LOST
    made.stop()


def test_a_conveyor_hands_out_every_item_and_says_which_came_too_late():
    belt = source.Source(((str(n), b"x") for n in range(20)), rate=1000)
    belt.start()
    until(lambda: belt.over)
    items = []
    while not belt.ended:
        items.append(belt.next(1))
    assert [item.name for item in items] == [str(n) for n in range(20)]
    assert [item.late for item in items] == [True] * 16 + [False] * 4


@pytest.mark.parametrize(
    "text", ["folder:", "conveyor:x@0", "conveyor:x@fast", "stream:x", "folder:/nowhere", "x"]
)
def test_what_is_no_source_is_refused(text):
    with pytest.raises(Refused):
        source.source(text)


def test_a_camera_that_vanishes_ends_the_source_with_a_sentence(monkeypatch):
    frames = iter([(True, b"frame"), (False, None)])
    capture = types.SimpleNamespace(isOpened=lambda: True, read=lambda: next(frames))
    picture = types.SimpleNamespace(tobytes=lambda: b"BM")
    fake = types.SimpleNamespace(VideoCapture=lambda _: capture, imencode=lambda *_: (True, picture))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    camera = source.source("camera:0@1000")
    camera.start()
    assert camera.next(5).content == b"BM"
    until(lambda: camera.ended)
    assert "camera 0 gives no more pictures" in camera.error


def test_a_name_that_is_no_text_is_an_item_like_any(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    belt = source.source(f"folder:{tmp_path}")
    belt.start()
    log = Log(tmp_path / "log.db", "line")
    assert log.decided(belt.next(5).name, OK, 1.0, "package") == 1


def test_a_camera_whose_library_fails_is_not_at_its_end():
    def items():
        yield "1", b"x"
        raise RuntimeError("the driver is gone")

    camera = source.Source(items(), 100.0)
    camera.start()
    until(lambda: camera.over)
    assert "driver" in camera.error


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"id": "a-b-1"}',
        b'{"id": "a-b-1", "type": "item", "at": "\\ud800"}',
        b'{"id": "a-b-99999999999999999999", "type": "item", "at": ""}',
        b"7",
        b"\xff",
    ],
)
def test_what_no_station_sends_stops_neither_end(tmp_path, payload):
    assert row_of(payload) is None
    asked = []
    station = types.SimpleNamespace(on_update=asked.append)
    Events._message(station, None, None, types.SimpleNamespace(payload=payload))
    assert len(asked) == 1 and isinstance(asked[0], dict)
    good = row_of(b'{"id": "my-line-0a-7", "type": "item", "at": "now"}')
    assert good[:5] == ("my-line-0a-7", "my-line", "0a", 7, "item")


@pytest.mark.parametrize("text", ["", "host:", "host:x", ":502", "host:70000"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Refused):
        address(text, 502)
    assert address("plc", 502) == ("plc", 502) and address("10.0.0.1:5020", 502) == ("10.0.0.1", 5020)


def test_what_was_learnt_is_kept_and_an_alarm_ends():
    def light(level):
        return {name: level for name in drift.NAMES}

    first = Drift(reference=20)
    for n in range(20):
        assert not first.add(light(100 + 4 * (n % 2)))
    again = Drift(json.loads(json.dumps(first.state())), reference=20)
    assert again.learnt
    changes = [again.add(light(level)) for level in [102] * 60 + [90] * 60 + [102] * 60]
    assert changes.count(True) == 2 and not again.alarm


@pytest.mark.parametrize(
    "before, after, result",
    [
        (["", LOW], ["", LOW] * 100, "accepted"),
        (["", LOW], [LOW] * 50, "rolled back"),
        (["", ""], ["", "", "", "", LATE] * 10, "rolled back"),
        (["", ""], [NO_PICTURE] * 200, "accepted"),  # the camera's fault
        (["", ""], ["", "", FAILED, FAILED, FAILED], "rolled back"),
        (["", ""], ["", "", FAILED, "", FAILED, FAILED], None),
        (["", ""], [LOW] * 49, None),
    ],
)
def test_who_comes_back_from_probation(tmp_path, before, after, result):
    log, said = Log(tmp_path / "log.db", "line"), []
    log.set("packages", {"given": "old", "current": "old", "previous": None, "since": None, "refused": []})

    def opens(folder):
        return types.SimpleNamespace(id=folder.name, close=lambda: None)

    def updates() -> Updates:
        return Updates(log, tmp_path, opens, lambda _, what: said.append(what["result"]))

    def see(reasons, package):
        for reason in reasons:
            log.decided("x", Verdict(UNSURE if reason else "ok", reason), 1.0, package)

    see(before * 30, "old")
    first = updates()
    first._hand_over(opens(Path("new")), "")
    current = first.change(opens(Path("old")))
    see(after, "new")
    again = updates()  # as after a restart
    current = again.change(current)
    again.thread.join() if result == "rolled back" else None
    current = again.change(current)
    assert said == ["taken over", *([result] if result else [])]
    assert current.id == log.get("packages")["current"] == ("old" if result == "rolled back" else "new")


def real_pictures(name: str) -> list[Image.Image]:
    """Returns the pictures of digits, or of the magnetic tiles where they are, in an order of no meaning."""
    if name == "digits":
        found = [Image.fromarray((image * 255 / 16).astype(np.uint8)) for image in load_digits().images[:400]]
    else:
        path = Path(os.environ.get("EDGEWISE_DATA", "/nowhere")) / "magnetic_tile_ok_defect.zip"
        if not path.exists():
            pytest.skip("the magnetic-tile ZIP is not here: set EDGEWISE_DATA to its folder")
        with zipfile.ZipFile(path) as archive:
            names = sorted(entry for entry in archive.namelist() if entry.endswith(".jpg"))
            found = [Image.open(io.BytesIO(archive.read(entry))).convert("L") for entry in names]
    random.Random(0).shuffle(found)
    return found[:400]


@pytest.mark.parametrize("name, size", [("digits", 28), ("magnetic tiles", 128)])
def test_drift_is_seen_on_dark_and_blurred_pictures_and_not_on_ordinary_ones(name, size):
    images = real_pictures(name)
    changes = {
        "ordinary": lambda image: image,
        "dark": lambda image: image.point(lambda level: level * 0.7),
        "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    }
    alarms = {}
    for change, made in changes.items():
        watched = Drift()
        for place, image in enumerate(images):
            fed = image.resize((size, size), Image.Resampling.BILINEAR)
            fed = fed if place < drift.REFERENCE else made(fed)
            watched.add(light(np.asarray(fed)[..., None]))
        alarms[change] = watched.alarm
    assert alarms["ordinary"] == "" and alarms["dark"] and alarms["blurred"] == "sharpness"


def test_nothing_of_the_extra_is_needed_to_import_the_station():
    """A line without a PLC or without a broker needs only the other's library."""
    names = [f"deploy.station.{name}" for name in ("__main__", "collect", "simulator")]
    code = f"import sys; sys.modules |= dict.fromkeys(['paho', 'pymodbus', 'cv2'])\nimport {', '.join(names)}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# hostile packages


def bad_zip(path, change):
    files = {name: b"x" for name in packages.NEEDED}
    sums = "".join(f"{packages.hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    files, sums = change(files, sums)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**files, "SHA256SUMS": sums.encode()}.items():
            archive.writestr(name if isinstance(name, str) else name[0], data)
    return path


def linked(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f, s: ({**f, "verify.py": b"y"}, s), "verify.py .* is not the file"),
        (lambda f, s: ({**f, "numpy.py": b"y"}, s), "does not hold just what"),
        (lambda f, s: ({k: v for k, v in f.items() if k != "image.py"}, s), "does not hold just what"),
        (
            lambda f, s: ({**f, "../out.py": b"y"}, s + "0" * 64 + "  ../out.py\n"),
            "a line that no package has",
        ),
        (lambda f, s: ({**f, "/out.py": b"y"}, s + "0" * 64 + "  /out.py\n"), "a line that no package has"),
        (lambda f, s: ({**f, "big": bytes(5000)}, s + "0" * 64 + "  big\n"), "more than a package holds"),
        (lambda f, s: ({}, ""), "is no package that a station runs"),
    ],
)
def test_hostile_packages_are_refused_and_leave_nothing(tmp_path, monkeypatch, change, said):
    monkeypatch.setattr(packages, "MOST_BYTES", 4000)
    path = bad_zip(tmp_path / "bad.zip", change)
    with pytest.raises(Refused, match=said):
        packages.install(path, tmp_path / "packages")
    assert list((tmp_path / "packages").iterdir()) == [] and not (tmp_path / "out.py").exists()


def test_a_link_in_a_package_is_refused(tmp_path):
    path = bad_zip(tmp_path / "bad.zip", lambda f, s: (f, s + "0" * 64 + "  link\n"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(linked("link"), "/etc/passwd")
    with pytest.raises(Refused, match="holds a link"):
        packages.install(path, tmp_path / "packages")


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"PK no")
    with pytest.raises(Refused, match="can't be unpacked"):
        packages.install(tmp_path / "no.zip", tmp_path / "packages")
    with pytest.raises(Refused, match="There is no package"):
        packages.install(tmp_path / "nowhere.zip", tmp_path / "packages")


def test_a_packages_code_sees_no_password(monkeypatch):
    monkeypatch.setenv("EDGEWISE_MQTT_PASSWORD", "secret")
    assert "EDGEWISE_MQTT_PASSWORD" not in packages.environment()
