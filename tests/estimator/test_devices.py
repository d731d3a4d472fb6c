"""One file a device: what it says is all that is known of it."""

import json
import shutil
import sys

import pytest

from engine import ask
from engine.cli import main
from engine.judge.estimates import estimates_for
from estimator import capability, devices
from estimator.predict import by_hand, estimate


@pytest.fixture
def dummy(tmp_path, monkeypatch):
    """One file more in the folder of devices."""
    folder = tmp_path / "devices"
    shutil.copytree(devices.FOLDER, folder)
    text = (folder / "raspberry_pi_4.toml").read_text()
    text = text.replace("offered = true", "offered = false").replace('"Raspberry Pi 4"', '"Dummy"')
    (folder / "dummy.toml").write_text(text.replace('relative = "', 'relative = "raspberry_pi_4" #'))
    monkeypatch.setattr(devices, "FOLDER", folder)
    devices.all_devices.cache_clear()
    yield "dummy"
    monkeypatch.undo()
    devices.all_devices.cache_clear()


def test_a_new_device_is_one_file(dummy):
    assert ask.device_named(dummy) == dummy and dummy in devices.all_devices()
    assert estimate(by_hand(10_000_000, 100_000), dummy, runtime="litert").device == dummy


def test_the_command_line_and_the_ask_door_know_it(dummy, asked, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["engine", "devices", "--json"])
    assert main() == 0 and json.loads(capsys.readouterr().out)[dummy] == "Dummy"
    assert ask.check(asked(device=dummy)).device == dummy


def test_a_run_estimates_for_it(dummy):
    """Where nothing was measured no latency is made up: memory is known, and the reason is said."""
    found = estimates_for(by_hand(10_000_000, 100_000), {})
    assert list(found) == list(devices.all_devices()) and dummy in found
    mine, known = found[dummy], found["raspberry_pi_4"]
    assert mine.runtime == known.runtime == "litert" and mine.memory_mb == known.memory_mb is not None
    assert mine.latency_ms is None and "No measurements of litert on Dummy" in mine.why


def test_the_offered_come_first():
    found = list(devices.all_devices().values())
    assert [device.id for device in found if device.offered] == [device.id for device in found[:6]]
    assert found[0].id == "raspberry_pi_3b" and found[5].id == "coral_dev_board" and len(found) == 17


def test_the_wide_multiplication_is_told_by_the_device():
    wide = {device.id for device in devices.all_devices().values() if device.dot_product}
    assert wide == {"raspberry_pi_5", "raspberry_pi_5_hailo_8l", "qualcomm_rb3_gen_2", "rk3588"}


def test_accelerated_runtimes_are_those_beside_the_processor():
    assert devices.accelerated() == {"tensorrt", "edgetpu", "ncnn-vulkan", "rknn", "hailort", "qnn"}


def test_a_float_model_on_coral_is_predicted_where_it_runs():
    coral = devices.load_device("coral_dev_board")
    assert capability.default_runtime(coral, by_hand(1_000_000, 10_000), None, "tflite") == "litert"
    assert capability.default_runtime(coral, by_hand(1_000_000, 10_000), "int8", "tflite") == "edgetpu"


def test_a_board_with_an_npu_beside_it_is_predicted_as_that_board():
    """On its processor alone: of the NPU no number is made up, and the reason is said."""
    model = by_hand(10_000_000, 100_000)
    beside = [
        estimate(model, name, runtime="litert") for name in ("raspberry_pi_5_hailo_8l", "raspberry_pi_5")
    ]
    assert beside[0].latency_ms == beside[1].latency_ms and "on Raspberry Pi 5 with" in beside[0].why
    for device, runtime in (
        ("raspberry_pi_5_hailo_8l", "hailort"),
        ("qualcomm_rb3_gen_2", "qnn"),
        ("rk3588", "rknn"),
    ):
        found = estimate(model, device, runtime=runtime)
        assert found.latency_ms is None and f"No measurements of {runtime}" in found.why


def test_what_makers_no_longer_support_is_marked_with_its_source():
    marked = {device.id for device in devices.all_devices().values() if device.ended}
    assert marked == {"jetson_nano", "jetson_tx2", "coral_dev_board", "coral_usb"}
