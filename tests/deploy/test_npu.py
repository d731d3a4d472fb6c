"""What a package holds for the makers' tools of NPUs: the float graph and pictures to calibrate with as their
documents want them, the scripts that build, and what opens the file on the board.
"""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deploy.targets import hailo, npu, qualcomm, rockchip
from engine.device import model_hailo, model_qnn, model_rknn
from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from tests.deploy.test_package import python
from tests.deploy.test_targets import vermin

ROOMS = {"rk3588": rockchip, "raspberry_pi_5_hailo_8l": hailo, "qualcomm_rb3_gen_2": qualcomm}
# notes what it is asked, and gives every picture the answer of the first
RKNN = """
import os
import numpy as np
class RKNN:
    NAMES = ("config", "load_onnx", "build", "export_rknn", "init_runtime")
    def __getattr__(self, name):
        def asked(*rest, **named):
            with open("asked", "a") as file:
                print(name, *rest, named, file=file)
            if name == "export_rknn":
                open(rest[0], "w").close()
            return 0 if name in self.NAMES else [np.load("golden/scores.npy")[:1]]
        return asked
"""
COMPILER = """#!/bin/sh
echo "$@" >> asked
case $1 in compiler) : > model.hef;; esac
"""


@pytest.mark.parametrize("device", ROOMS)
@pytest.mark.parametrize("name", ["baseline", "ptq_int8"])
def test_the_float_graph_answers_as_was_measured(packed, device, name):
    folder, room = packed(name, device), ROOMS[device]
    graph = onnx.load(str(folder / "model_float.onnx"))
    first = graph.graph.input[0].type.tensor_type
    assert [o.version for o in graph.opset_import] == [13] and first.shape.dim[0].dim_value == 1
    assert not {node.op_type for node in graph.graph.node} & {
        "QuantizeLinear",
        "DequantizeLinear",
        "Identity",
    }
    inputs, scores = np.load(folder / "golden" / "inputs.npy"), np.load(folder / "golden" / "scores.npy")
    assert (open_model(folder / "model_float.onnx").predict(inputs).argmax(1) == scores.argmax(1)).all()
    said = (folder / "README.md").read_text()
    assert "**Not run here**" in said and room.NPU.tool in said and f"Without {room.NPU.makes}" in said
    kept = device == "qualcomm_rb3_gen_2" and name == "ptq_int8"
    assert ("rounded to 8 bits anew" in said) != kept and (folder / "model_int8.onnx").exists() == kept
    assert (folder / room.NPU.script.name).exists() and not (folder / room.NPU.makes).exists()
    if kept:  # the codes themselves, for single images
        np.testing.assert_allclose(open_model(folder / "model_int8.onnx").predict(inputs), scores, atol=0.2)
    if device == "rk3588":
        assert f"build_rknn.py {'int8' if name == 'ptq_int8' else 'fp16'}" in said


@pytest.mark.parametrize("source", [(), ("golden",)], ids=["golden", "a folder of pictures"])
def test_calibration_pictures_are_as_the_makers_tools_read_them(packed, source):
    folder = packed("baseline", "rk3588")
    for tool in ("rknn", "hailo"):
        done = python(folder, "calibration.py", tool, *source)
        assert done.returncode == 0 and "36 pictures" in done.stdout, done.stderr
    spec = json.loads((folder / "metadata.json").read_text())["preprocessing"]
    expected = preprocess(np.load(folder / "golden" / "pixels.npy"), spec)
    names = (folder / "dataset.txt").read_text().split()
    each = [np.load(folder / name) for name in names]
    whole = np.load(folder / "calibration.npy")
    assert {(one.shape, one.dtype) for one in each} == {((1, 1, 28, 28), np.dtype("float32"))}
    assert (whole.shape, whole.dtype) == ((36, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(whole.transpose(0, 3, 1, 2), np.concatenate(each))
    np.testing.assert_allclose(np.concatenate(each), expected, atol=0 if not source else 0.1)


def test_rockchip_s_file_is_built_and_tried_in_the_simulator(packed, tmp_path):
    folder, stub = packed("ptq_int8", "rk3588"), tmp_path / "site"
    (stub / "rknn").mkdir(parents=True)
    (stub / "rknn" / "api.py").write_text(RKNN)
    (stub / "rknn_toolkit2-2.5.0.dist-info").mkdir()
    (stub / "rknn_toolkit2-2.5.0.dist-info" / "METADATA").write_text("Name: rknn-toolkit2\nVersion: 2.5.0\n")
    how = {"cwd": folder, "env": {"PYTHONPATH": str(stub)}, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "build_rknn.py"], **how)
    answers = np.load(folder / "golden" / "scores.npy")[:8].argmax(1)
    assert f"{(answers == answers[0]).sum()} of 8 golden pictures" in done.stdout, done.stderr
    asked = (folder / "asked").read_text()
    assert (
        "'target_platform': 'rk3588'" in asked
        and "'do_quantization': True, 'dataset': 'dataset.txt'" in asked
    )
    assert (folder / "model.rknn").exists() and (
        folder / "model.rknn.precision"
    ).read_text() == "int8 2.5.0\n"
    wrong = subprocess.run([sys.executable, "build_rknn.py", "int2"], **how)
    assert wrong.returncode == 1 and wrong.stderr == "no precision is called int2: int8 or fp16\n"


def test_hailo_s_file_is_built_for_its_chip(packed, tmp_path):
    folder, tool = packed("baseline", "raspberry_pi_5_hailo_8l"), tmp_path / "bin" / "hailo"
    tool.parent.mkdir()
    tool.write_text(COMPILER)
    tool.chmod(0o755)
    (tool.parent / "python3").symlink_to(sys.executable)
    path = {"PATH": f"{tool.parent}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "build_hef.sh"], cwd=folder, env=path, capture_output=True, text=True)
    assert done.returncode == 0 and (folder / "model.hef").exists(), done.stderr
    asked = (folder / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["parser", "optimize", "compiler"]
    assert (
        all("--hw-arch hailo8l" in line for line in asked) and "--calib-set-path calibration.npy" in asked[1]
    )


def test_qualcomm_s_script_rounds_a_float_graph_so_that_it_answers_alike(packed):
    folder = packed("baseline", "qualcomm_rb3_gen_2")
    script = "import build_qnn as b; b.quantize('model_float.onnx', b.inputs(), 'rounded.onnx')"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    graph = onnx.load(str(folder / "rounded.onnx")).graph
    assert {node.op_type for node in graph.node} >= {"QuantizeLinear", "DequantizeLinear", "Conv"}
    inputs, scores = np.load(folder / "golden" / "inputs.npy"), np.load(folder / "golden" / "scores.npy")
    assert (open_model(folder / "rounded.onnx").predict(inputs).argmax(1) == scores.argmax(1)).mean() > 0.9


def test_what_has_no_file_for_an_npu_gets_a_sentence(packed):
    folder = packed("dynamic_int8", "raspberry_pi_5_hailo_8l")
    said = (folder / "README.md").read_text()
    assert "There is no model.hef to build, because its ranges are found at run time" in said
    assert not (folder / "build_hef.sh").exists() and not (folder / "model_float.onnx").exists()
    job = types.SimpleNamespace(file=Path("model.tflite"))
    for room in ROOMS.values():
        found = npu.extra(job, room.NPU, "", {})
        assert found.files == {} and "this variant is TFLite" in found.text and "in LiteRT" in found.text


class Opened:
    """Stubs of the makers' runtimes around a model that ONNX Runtime opens: called as their documents say."""

    def __init__(self, path):
        self.model = open_model(path)

    def scores(self, last):
        assert last.dtype == np.float32 and last.shape == (1, 28, 28, 1)  # channels last
        return self.model.predict(last.transpose(0, 3, 1, 2))

    def rknnlite(self):
        lite = types.SimpleNamespace(
            load_rknn=lambda path: 0,
            init_runtime=lambda: 0,
            inference=lambda inputs: [self.scores(inputs[0])],
        )
        api = types.SimpleNamespace(RKNNLite=lambda: lite)
        return {"rknnlite": types.SimpleNamespace(api=api), "rknnlite.api": api}

    def hailo(self):
        entered = []
        around = {"__enter__": lambda it: entered.append(it), "__exit__": lambda *rest: None}

        def infer(it, values):
            assert len(entered) == 2  # the pipeline, and the network on the chip
            return {"last": self.scores(values["first"])[:, None, None]}

        ends = {
            "get_input_vstream_infos": lambda it: [types.SimpleNamespace(name="first")],
            "get_output_vstream_infos": lambda it: [types.SimpleNamespace(name="last")],
        }
        network = types.SimpleNamespace(
            create_params=lambda: None, activate=lambda params: type("Active", (), around)()
        )
        made = types.SimpleNamespace(make=lambda network, format_type: format_type)
        return {
            "hailo_platform": types.SimpleNamespace(
                VDevice=lambda: types.SimpleNamespace(configure=lambda hef, how: [network]),
                HEF=type("HEF", (), {"__init__": lambda it, path: None, **ends}),
                ConfigureParams=types.SimpleNamespace(create_from_hef=lambda hef, interface: None),
                HailoStreamInterface=types.SimpleNamespace(PCIe=1),
                FormatType=types.SimpleNamespace(FLOAT32=1),
                InputVStreamParams=made,
                OutputVStreamParams=made,
                InferVStreams=type("Streams", (), {"__init__": lambda *rest: None, "infer": infer, **around}),
            )
        }


@pytest.mark.parametrize("maker", ["rknnlite", "hailo"])
def test_a_file_for_an_npu_is_run_in_its_maker_s_python(digits_run, monkeypatch, tmp_path, maker):
    opened = Opened(digits_run.file("baseline"))
    for name, module in getattr(opened, maker)().items():
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "model.precision").write_text("int8 2.5.0\n")
    runs = {"rknnlite": model_rknn.RKNN, "hailo": model_hailo.Hailo}[maker](tmp_path / "model")
    inputs = np.load(digits_run.folder / "golden" / "inputs.npy")[:5]
    np.testing.assert_allclose(runs.predict(inputs), opened.model.predict(inputs), atol=1e-5)
    assert runs.precision == "int8"


def test_qualcomm_s_provider_is_asked_for_its_npu(digits_run, monkeypatch):
    """ONNX Runtime itself opens the file; that it shall run it on the NPU is what it is told."""
    asked, inputs = [], np.load(digits_run.folder / "golden" / "inputs.npy")[:5]

    class Options(onnxruntime.SessionOptions):
        def add_provider_for_devices(self, devices, how):
            asked.append((devices, how))

    stub = types.SimpleNamespace(
        __version__="2.7.0", get_library_path=lambda: "provider.so", get_qnn_htp_path=lambda: "libQnnHtp.so"
    )
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", stub)
    monkeypatch.setattr(
        onnxruntime, "register_execution_provider_library", lambda name, path: None, raising=False
    )
    beside = [types.SimpleNamespace(ep_name=name) for name in ("CPUExecutionProvider", model_qnn.PROVIDER)]
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: beside, raising=False)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    runs = model_qnn.QNN(digits_run.file("baseline"))
    assert asked == [([beside[1]], {"backend_path": "libQnnHtp.so"})] and runs.version == "2.7.0"
    expected = open_model(digits_run.file("baseline")).predict(inputs)
    np.testing.assert_allclose(runs.predict(inputs), expected, atol=1e-5)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: beside[:1])
    with pytest.raises(ImportError, match="no Hexagon NPU answers"):
        model_qnn.QNN(digits_run.file("baseline"))


@pytest.mark.parametrize("room, version", [(rockchip, "3.8"), (qualcomm, "3.11")])
def test_build_scripts_are_read_by_the_tools_python(room, version):
    done = vermin(version, room.NPU.script)
    assert done.returncode == 0, done.stdout
