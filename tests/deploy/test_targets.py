"""What a family of devices adds to a package: it answers as was measured, and its scripts are sound."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from deploy import emulator, targets
from deploy.targets import floats, overview
from engine.backends.onnx.floats import float_graph
from engine.backends.onnx.tensorrt import calibration_cache
from engine.device import model_trt
from engine.device.model import RUNTIMES, open_model
from estimator.devices import all_devices
from tests.conftest import ROOT
from tests.deploy.test_package import python

DEVICE_CODE = sorted((ROOT / "engine" / "device").glob("[a-z]*.py"))
SHELL = sorted((ROOT / "deploy" / "targets").rglob("*.sh"))


# notes what it is asked, and writes the file that it shall
TRTEXEC = """#!/bin/sh
echo "$@" > asked
for word in "$@"; do case $word in --saveEngine=*) : > "${word#*=}";; esac; done
"""


def vermin(version: str, *files: Path) -> subprocess.CompletedProcess:
    tool = Path(sys.executable).parent / "vermin"
    words = [tool, f"--target={version}-", "--no-tips", "--violations", *files]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["baseline", "ptq_int8", "ptq_int4@mixed", "hybrid@smallest", "fp16"])
def test_a_jetson_s_graph_answers_as_was_measured(packed, name):
    """On the first Jetson it is what its ONNX Runtime opens, so that the package's own scripts try it."""
    folder = packed(name, "jetson_nano")
    facts = json.loads((folder / "metadata.json").read_text())
    assert facts["artifact"]["older"] == "model_float.onnx"
    graph = onnx.load(str(folder / "model_float.onnx"))
    assert [o.version for o in graph.opset_import] == [13] and graph.ir_version <= 8
    assert {tensor.data_type for tensor in graph.graph.initializer} <= {1, 7}  # floats, and shapes
    assert not {node.op_type for node in graph.graph.node} & {"QuantizeLinear", "DequantizeLinear", "Cast"}
    done = python(folder, "verify.py", "--threads", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "calibration.cache").exists() == (name == "ptq_int8")


def test_a_calibration_cache_has_a_scale_for_each_activation(packed):
    folder = packed("ptq_int8", "jetson_orin_nano")
    first, *lines = (folder / "calibration.cache").read_text().splitlines()
    assert first == "TRT-100300-EntropyCalibration2"
    scales = {
        name: np.frombuffer(bytes.fromhex(code), ">f4")[0] for name, code in (x.split(": ") for x in lines)
    }
    graph = onnx.load(str(folder / "model_float.onnx")).graph
    made = {graph.input[0].name, *(name for node in graph.node for name in node.output)}
    assert set(scales) <= made and len(scales) >= 8 and all(0 < scale < 1 for scale in scales.values())
    # the largest of the golden inputs is within the range that was calibrated
    inputs = np.load(folder / "golden" / "inputs.npy")
    assert np.abs(inputs).max() <= 127 * scales[graph.input[0].name] * 1.1
    assert calibration_cache({"a": 127.0}, "8.2.1") == b"TRT-8201-EntropyCalibration2\na: 3f800000\n"


def test_operators_of_later_opsets_are_written_as_before():
    from onnx import TensorProto, helper, numpy_helper

    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    nodes = [
        helper.make_node("Constant", [], ["axes"], value=axes),
        helper.make_node("HardSwish", ["x"], ["a"]),
        helper.make_node("ReduceMean", ["a", "axes"], ["b"], keepdims=0),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 4, 4]), ("b", [1, 3]))
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    import onnxruntime

    x = np.linspace(-5, 5, 48, dtype=np.float32).reshape(1, 3, 4, 4)

    def run(graph):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    before, (after, ranges) = run(model), float_graph(model, 13)
    assert after.opset_import[0].version == 13 and ranges == {}
    np.testing.assert_allclose(run(after), before, rtol=1e-5, atol=1e-6)


def test_a_graph_with_ranges_found_at_run_time_gets_a_sentence(packed):
    folder = packed("dynamic_int8", "jetson_xavier_nx")
    assert not (folder / "build_engine.sh").exists() and not (folder / "model_float.onnx").exists()
    said = (folder / "README.md").read_text()
    assert "its ranges are found at run time" in said and "ONNX Runtime" in said


@pytest.mark.parametrize("device, precision", [("jetson_nano", "fp16"), ("jetson_orin_nano", "int8")])
def test_an_engine_is_built_as_the_board_computes_best(packed, tmp_path, device, precision):
    folder = packed("ptq_int8", device)
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text(TRTEXEC)
    tool.chmod(0o755)
    path = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "build_engine.sh"], cwd=folder, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = (folder / "asked").read_text().split()
    assert ("--int8" in asked) == ("--calib=calibration.cache" in asked) == (precision == "int8")
    assert "--fp16" in asked and "--onnx=model_float.onnx" in asked
    assert (folder / "model.engine").exists() and not (folder / "model.engine.part").exists()
    assert (folder / "model.engine.precision").read_text().strip() == {"fp16": "float16"}.get(
        precision, "int8"
    )
    wrong = subprocess.run(
        ["bash", "build_engine.sh", "int2"], cwd=folder, env=path, capture_output=True, text=True
    )
    assert wrong.returncode == 1 and len(wrong.stderr.splitlines()) == 1


class HostMemory(model_trt.Cuda):
    """CUDA's library, with this machine's memory for the device's."""

    def __init__(self):
        self.kept = []
        self.library = types.SimpleNamespace(cudaMalloc=self.allocate, cudaMemcpy=self.copy)

    def allocate(self, address, size):
        self.kept.append(ctypes.create_string_buffer(size.value))
        address._obj.value = ctypes.addressof(self.kept[-1])
        return 0

    def copy(self, target, source, size, direction):
        ctypes.memmove(target, source, size.value)
        return 0


@pytest.mark.parametrize("names", ["8.2", "10"])
def test_tensorrt_s_own_python_is_used_in_its_old_and_new_words(digits_run, monkeypatch, tmp_path, names):
    reference = open_model(digits_run.file("baseline"))

    def execute(addresses):
        inputs = np.frombuffer(ctypes.string_at(addresses[0], 28 * 28 * 4), np.float32).reshape(1, 1, 28, 28)
        scores = reference.predict(inputs)
        ctypes.memmove(addresses[1], np.ascontiguousarray(scores).ctypes.data, scores.nbytes)
        return True

    shapes = [(1, 1, 28, 28), (1, 10)]
    old = {
        "num_bindings": 2,
        "get_binding_shape": lambda i: shapes[i],
        "get_binding_dtype": lambda i: "DataType.FLOAT",
    }
    new = {
        "num_io_tensors": 2,
        "get_tensor_name": lambda i: f"end{i}",
        "get_tensor_shape": lambda name: shapes[int(name[-1])],
        "get_tensor_dtype": lambda name: "DataType.FLOAT",
    }
    context = types.SimpleNamespace(execute_v2=execute)
    engine = types.SimpleNamespace(
        create_execution_context=lambda: context, **(old if names == "8.2" else new)
    )
    logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    stub = types.SimpleNamespace(
        __version__=names,
        Logger=logger,
        Runtime=lambda logger: types.SimpleNamespace(deserialize_cuda_engine=lambda content: engine),
    )
    monkeypatch.setitem(sys.modules, "tensorrt", stub)
    monkeypatch.setattr(model_trt, "Cuda", HostMemory)
    (tmp_path / "model.engine").write_bytes(b"engine")
    (tmp_path / "model.engine.precision").write_text("float16\n")
    opened = model_trt.TensorRT(tmp_path / "model.engine")
    inputs = np.load(digits_run.folder / "golden" / "inputs.npy")[:5]
    np.testing.assert_allclose(opened.predict(inputs), reference.predict(inputs), atol=1e-6)
    assert (opened.precision, opened.version) == ("float16", names)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_are_sound(script):
    tool = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    done = subprocess.run([tool, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", sorted({targets.python_of(d) for d in all_devices().values()}))
def test_scripts_are_read_by_the_device_s_python(version, tmp_path):
    device = next(d for d in all_devices().values() if targets.python_of(d) == version)
    version = ".".join(map(str, version))
    for path in DEVICE_CODE:
        (tmp_path / path.name).write_text(targets.readable(path.read_text(), device))
    done = vermin(version, tmp_path)
    assert done.returncode == 0, done.stdout
    (tmp_path / "later.py").write_text("type Row = list[int]\n")  # of Python 3.12
    assert targets.python_of(device) >= (3, 12) or vermin(version, tmp_path).returncode != 0


def test_the_agent_is_read_by_the_oldest_python_as_it_stands():
    done = vermin("3.6", ROOT / "engine" / "device" / "agent.py")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("device", [*all_devices().values()], ids=lambda device: device.id)
def test_each_device_says_what_packages_are_made_for(device):
    """Versions of the device's runtimes are those that the engine knows to be right, or older on purpose."""
    packaged = {name: runtime for name, runtime in device.runtimes.items() if runtime.version}
    assert packaged and device.system
    for runtime in RUNTIMES:
        asked = targets.requirements(device, runtime.suffixes[0]).splitlines()
        if targets.python_of(device) >= (3, 9) and runtime.id in packaged:
            assert set(runtime.requirements) <= set(asked)
    assert set(packaged) <= {"onnxruntime", "litert", *overview.GIVES}
    assert device.cpu in emulator.CORES or "emulated here" not in {r.proof for r in packaged.values()}
    assert min((r.opset or 99) for r in packaged.values()) >= floats.OPSET


def test_a_package_for_each_device_is_small(packed, tmp_path):
    of_each_family = {device.family: device.id for device in all_devices().values()}
    for device in of_each_family.values():
        folder = packed("hybrid@0.5", device)
        with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in folder.rglob("*"):
                archive.write(path)
        assert (tmp_path / "all.zip").stat().st_size < 1_000_000
