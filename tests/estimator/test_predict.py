"""Predictions: what they say of themselves, and when they refuse."""

import subprocess
import sys

import pytest

from estimator import features
from estimator.coefficients import load
from estimator.devices import UnknownDevice, all_devices, load_device
from estimator.memory import BASE_MB
from estimator.predict import by_hand, estimate, time_of
from tests.estimator.networks import convolution, profile_of


def width(found):
    return found.high_ms / found.low_ms


def test_a_measured_device_rests_on_its_own_networks(separable):
    found = estimate(separable(), "raspberry_pi_4")
    assert found.runtime == "litert" and found.threads == 4 and found.precision == "float32"
    assert found.low_ms < found.latency_ms < found.high_ms
    assert "measured on this device with litert" in found.why and "transferred" not in found.why
    assert found.throughput_per_s == pytest.approx(1000 / found.latency_ms)
    assert found.energy_mj == pytest.approx(found.latency_ms * 6, rel=0.1), "about 6 W at the wall"


def test_a_transfer_says_so_and_is_less_sure(separable):
    own, other = (
        estimate(separable(), "raspberry_pi_4"),
        estimate(separable(file_format="onnx"), "raspberry_pi_4"),
    )
    assert other.runtime == "onnxruntime" and "transferred to onnxruntime by a ratio" in other.why
    assert width(other) > width(own) and other.confidence < own.confidence


def test_the_pi_3b_is_slower_than_the_pi_4_and_says_whence(separable):
    slow, fast = estimate(separable(), "raspberry_pi_3b"), estimate(separable(), "raspberry_pi_4")
    assert 1.5 < slow.latency_ms / fast.latency_ms < 3
    assert "transferred to Raspberry Pi 3B by a ratio" in slow.why


def test_novelty_widens_the_interval(separable):
    usual = estimate(separable(), "raspberry_pi_4")
    strange = estimate(
        profile_of([convolution(f"c{i}", 16, 8, 5) for i in range(4)], file_format="tflite"), "raspberry_pi_4"
    )
    assert width(strange) > width(usual) and strange.confidence < usual.confidence


def test_depthwise_networks_do_not_rest_on_a_benchmark_without_them(separable):
    found = estimate(separable(), "raspberry_pi_5", threads=1)
    assert "5,800 networks" not in found.why
    plain = estimate(
        profile_of([convolution(f"c{i}", 32, 16, 3) for i in range(20)], file_format="tflite"),
        "raspberry_pi_5",
        threads=1,
    )
    assert "5,800 networks measured on this device with litert" in plain.why


def test_half_precision_is_no_faster_without_the_arithmetic(separable):
    full, half = estimate(separable(), "raspberry_pi_4"), estimate(separable("float16"), "raspberry_pi_4")
    assert half.latency_ms == pytest.approx(full.latency_ms)
    assert "no FP16 arithmetic" in half.why and half.precision == "float16"


def test_int8_on_maxwell_runs_as_fp16(separable):
    eight, sixteen = (estimate(separable(p, "onnx"), "jetson_nano") for p in ("int8", "float16"))
    assert eight.latency_ms == sixteen.latency_ms and "pointless" in eight.why


def test_float_on_the_coral_board_is_not_given_to_the_edge_tpu(separable):
    assert estimate(separable("int8"), "coral_dev_board").runtime == "edgetpu"
    assert estimate(separable("float32"), "coral_dev_board").runtime == "litert"
    refused = estimate(separable("float32"), "coral_dev_board", runtime="edgetpu")
    assert refused.latency_ms is None and "only full INT8" in refused.why


def test_the_edge_tpu_slows_down_beyond_its_memory():
    within, beyond = (
        estimate(by_hand(500_000_000, p, "int8"), "coral_dev_board", "edgetpu")
        for p in (7_000_000, 12_000_000)
    )
    # 5 million more parameters, of which 4 are fetched anew for every image.
    assert beyond.latency_ms - within.latency_ms > 3


def test_what_does_not_fit_gets_no_latency():
    found = estimate(by_hand(10**9, 500_000_000), "raspberry_pi_3b")
    assert found.latency_ms is None and found.why.startswith("Does not fit: about") and found.memory_mb > 1024


def test_a_tiny_network_is_not_charged_an_overhead_that_nobody_measured():
    tiny = estimate(
        profile_of([convolution("a", 8, 8, 3), convolution("b", 8, 8, 3)], file_format="tflite"),
        "raspberry_pi_4",
    )
    assert tiny.latency_ms < 1 and width(tiny) > 3


def test_memory_is_weights_copies_and_arena(separable):
    profile = separable()
    found = estimate(profile, "raspberry_pi_4")
    by_rule = (2 * profile.weight_bytes + profile.peak_activation_bytes) / 1e6
    assert found.memory_mb == pytest.approx(BASE_MB["litert"] + by_rule, rel=0.01)
    assert found.memory_low_mb < found.memory_mb < found.memory_high_mb


def test_no_power_figure_no_energy(separable):
    assert estimate(separable(), "raspberry_pi_3b").energy_mj is None


def test_unknown_names_list_the_known(separable):
    with pytest.raises(UnknownDevice, match="raspberry_pi_4"):
        estimate(separable(), "toaster")
    with pytest.raises(ValueError, match="has no runtime 'cuda' here; it has"):
        estimate(separable(), "raspberry_pi_4", runtime="cuda")


@pytest.mark.parametrize("device", list(all_devices()))
def test_every_device_answers_every_precision(device, separable):
    for precision in ("float32", "float16", "int8", "int4"):
        for file_format in ("onnx", "tflite"):
            found = estimate(separable(precision, file_format), device)
            assert found.why and found.runtime in load_device(device).runtimes
            assert (found.latency_ms is None) == (found.low_ms is None)


def test_more_work_takes_longer(separable):
    for device in ("raspberry_pi_3b", "raspberry_pi_4", "raspberry_pi_5", "jetson_nano"):
        times = [estimate(separable(blocks=n), device, "litert").latency_ms for n in (6, 9, 12)]
        assert times == sorted(times) and len(set(times)) == 3, device


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_more_of_any_one_kind_of_work_never_costs_less_in_any_group(size):
    work = {"layers": 30, "dense": 2e8, "window": 5e7, "depthwise": 2e7, "grouped": 1e6, "activations": 5e6}
    work |= {"parameters": 3e6, "pool": 1e4, "added": 1e5, "tiles": 2e8, "rows": 1e5}
    before = {name: size * amount for name, amount in work.items()}
    for group in load()["groups"]:
        least = time_of(features.combine(**before), group).latency_ms
        for name, amount in before.items():
            more = time_of(features.combine(**{**before, name: 1.5 * amount}), group).latency_ms
            assert more >= least * (1 - 1e-9), (group, name)


def test_predictions_import_no_framework():
    program = (
        "import sys, estimator, estimator.predict, estimator.capability, estimator.calibrate,"
        " estimator.inventory\nfrom estimator.predict import by_hand, estimate\nestimate(by_hand(10**8,"
        " 10**6), 'raspberry_pi_4')\nprint([m for m in ('onnx', 'ai_edge_litert', 'sklearn', 'pandas',"
        " 'scipy', 'torch') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_every_figure_of_a_device_has_a_source():
    plain = {
        "id",
        "name",
        "family",
        "runs_well",
        "offered",
        "order",
        "default_onnx",
        "default_tflite",
        "relative",
        "processor_of",
        "architecture",
        "runtime",
        "notes",
        "runtimes",
        "sources",
    }
    for device in all_devices().values():
        stated = device.model_fields_set - plain
        assert stated <= set(device.sources), (device.id, stated - set(device.sources))
        # a class of devices has none that it is like
        assert device.relative in all_devices() or device.family == "microcontroller"


def test_onnx_runtime_on_the_pis_holds_on_networks_of_another_source(all_rows):
    import pandas as pd

    rows = pd.read_csv(all_rows / "measurements.csv.gz", low_memory=False)
    devices = {"Raspberry Pi 4B": "raspberry_pi_4", "Raspberry Pi 5": "raspberry_pi_5"}
    rows = rows[
        (rows.runtime == "ONNX") & rows.device.isin(list(devices)) & (rows.fit_ok == 1) & rows.macs_m.notna()
    ]
    held = [
        (
            row.latency_ms,
            estimate(
                by_hand(int(row.macs_m * 1e6), int(row.params_m * 1e6)), devices[row.device], "onnxruntime"
            ),
        )
        for row in rows.itertuples()
    ]
    assert len(held) >= 8
    assert sum(found.low_ms <= measured <= found.high_ms for measured, found in held) >= 0.8 * len(held)
    assert sorted(abs(found.latency_ms / measured - 1) for measured, found in held)[len(held) // 2] < 0.3
