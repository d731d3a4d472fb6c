"""Capability: what is said before any run."""

import pytest

from estimator import capability
from estimator.capability import check, check_technique, full_int8
from estimator.devices import load_device
from tests.estimator.networks import convolution, profile_of


def test_maxwell_has_no_int8():
    found = check("jetson_nano", "int8")
    assert found.answer == "pointless" and found.why.startswith("INT8 on Maxwell is pointless")
    assert check("jetson_nano", "float16").answer == "supported"


def test_old_cores_have_no_half_precision():
    found = check("raspberry_pi_4", "float16")
    assert found.answer == "falls back" and "Cortex-A72 has no FP16 arithmetic" in found.why


@pytest.mark.parametrize("technique", ["ptq_int8", "qat_int8", "ptq_int8@per_channel"])
def test_techniques_are_judged_by_what_they_make(technique):
    assert check_technique("jetson_nano", technique, "int8").answer == "pointless"
    assert check_technique("raspberry_pi_5", technique, "int8").answer == "supported"


def test_scattered_zeros_gain_no_time():
    assert "time does not" in check_technique("raspberry_pi_4", "prune_unstructured@0.8", "float32").why


def test_the_edge_tpu_takes_full_int8_tflite_only():
    for name in ("ptq_int8", "fit_limits@int8"):
        assert check_technique("coral_dev_board", name, "int8", "tflite").answer == "supported"
    assert check_technique("coral_dev_board", "fp16", "float16", "tflite").answer == "pointless"
    assert "Choose LiteRT" in check_technique("coral_dev_board", "ptq_int8", "int8", "onnx").why


def test_operators_that_do_not_map_are_counted():
    found = check(
        "coral_dev_board",
        "int8",
        file_format="tflite",
        operators=["CONV_2D", "HARD_SWISH", "HARD_SWISH", "ADD"],
    )
    assert found.answer == "falls back" and found.operators == {"HARD_SWISH": 2}
    assert found.why.startswith("2 of 4 operators fall back")


def test_what_exceeds_the_chip_is_said():
    layers = [convolution("a", 3000, 1, precision="int8").model_copy(update={"op": "CONV_2D"})]
    found = check("coral_dev_board", "int8", profile_of(layers, "int8", "tflite"))
    assert found.answer == "supported" and "9.0 MB of weights exceed" in found.why


def test_full_int8_means_activations_too():
    layer = convolution("a", 8, 8, precision="int8")
    assert full_int8(profile_of([layer], "int8", "tflite"))
    mixed = layer.model_copy(update={"activation_precision": "float32"})
    profile = profile_of([layer, mixed], "int8", "tflite")
    assert not full_int8(profile) and check("coral_dev_board", "int8", profile).answer == "falls back"


def test_a_file_that_leaves_the_unit_idle_is_told():
    layer = convolution("a", 8, 8, precision="int8")
    full = profile_of([layer], "int8", "tflite")
    mixed = profile_of([layer.model_copy(update={"activation_precision": "float32"})], "int8", "tflite")
    dynamic = profile_of([layer.model_copy(update={"op": "ConvInteger"})], "int8", "onnx")
    half = profile_of([layer], "float16", "onnx")
    assert not check("coral_dev_board", "int8", full).off_unit
    assert check("coral_dev_board", "int8", mixed).off_unit
    assert check("jetson_orin_nano", "int8", dynamic).off_unit
    assert not check("jetson_orin_nano", "float16", half).off_unit
    assert check("jetson_orin_nano", "int8", full).off_unit  # TFLite runs on its processor
    assert not check("raspberry_pi_4", "int8", mixed).off_unit  # which has no other unit


def test_npus_compute_in_8_bits_and_take_no_ranges_of_run_time():
    layer = convolution("a", 8, 8, precision="int8")
    dynamic = profile_of([layer.model_copy(update={"op": "ConvInteger"})], "int8", "onnx")
    for device in ("raspberry_pi_5_hailo_8l", "qualcomm_rb3_gen_2"):
        assert check(device, "int8", profile_of([layer], "int8", "onnx")).answer == "supported"
        assert check(device, "float32").answer == "falls back" and "8 bits" in check(device, "float32").why
        assert check(device, "int8", dynamic).off_unit and "dynamically" in check(device, "int8", dynamic).why
        assert check_technique(device, "dynamic_int8", "int8").answer == "pointless"
        assert check(device, "int8", file_format="tflite").off_unit  # it runs on the processor
    assert not check("rk3588", "int8", dynamic).off_unit  # which is predicted for its processor


def test_a_microcontroller_takes_full_int8_and_floats_as_tflite():
    device, layer = "microcontroller", convolution("a", 8, 8, precision="int8")
    mixed = layer.model_copy(update={"activation_precision": "float32"})
    assert check(device, "int8", profile_of([layer], "int8", "tflite")).answer == "supported"
    assert check(device, "float32", file_format="tflite").answer == "falls back"
    refused = [
        check(device, "int8", profile_of([mixed], "int8", "tflite")),
        check(device, "float16", file_format="tflite"),
        check(device, "int8", file_format="onnx"),
        check_technique(device, "dynamic_int8", "int8", "tflite"),
    ]
    assert {found.answer for found in refused} == {"pointless"} and all(found.why for found in refused)


def test_the_verdict_is_a_field_and_no_word_of_the_reason(monkeypatch):
    machine = load_device("jetson_nano")
    runtime = machine.runtimes["tensorrt"]
    said = runtime.precisions["int8"].model_copy(update={"why": "It computes in FP16."})
    other = runtime.precisions["float16"].model_copy(update={"why": "Nothing here is pointless."})
    changed = runtime.model_copy(update={"precisions": runtime.precisions | {"int8": said, "float16": other}})
    renamed = machine.model_copy(update={"runtimes": machine.runtimes | {"tensorrt": changed}})
    monkeypatch.setattr(capability, "load_device", lambda name: renamed)
    assert check("jetson_nano", "int8").answer == "pointless"
    assert check("jetson_nano", "float16").answer == "supported"
