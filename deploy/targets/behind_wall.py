"""Behind the wall: what a family of devices needs to know of a file, or to have made of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.device.model import open_model
from engine.device.preprocessing import preprocess
from engine.wall.child import serve

NARROW = 0.02  # of the range of all scores: rounding may turn what lies closer


def answer(request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Answers one request of `deploy.targets.job`."""
    return {"float_graph": float_graph, "tflite": tflite}[request["task"]](request)


def float_graph(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the float graph as the file `target`, and returns how many of the golden pictures get another
    answer from it than this file gives. Beside it: for a version of `tensorrt` the calibration cache of an
    8-bit file, and as `codes` the file itself for single images.
    """
    from engine.backends.onnx.floats import write, write_for_single_images
    from engine.backends.onnx.tensorrt import calibration_cache

    file, target = Path(request["file"]), Path(request["target"])
    ranges = write(file, target, request["opset"])
    if ranges and "tensorrt" in request:
        target.with_name("calibration.cache").write_bytes(calibration_cache(ranges, request["tensorrt"]))
    if "codes" in request:
        write_for_single_images(file, target.with_name(request["codes"]))
    inputs = preprocess(np.load(Path(request["golden"]) / "pixels.npy"), request["spec"])
    theirs = np.load(file.with_suffix(".golden.npy"))
    ours = open_model(target).predict(inputs)
    second, first = np.sort(theirs, axis=1)[:, -2:].T
    clear = first - second > NARROW * (theirs.max() - theirs.min())
    differ = (ours.argmax(1) != theirs.argmax(1)) & clear
    return {"pictures": len(inputs), "differ": int(differ.sum())}


def tflite(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the types of a TFLite file's inputs and outputs, how 8-bit inputs are scaled, and how many
    tensors and operators it has.
    """
    from engine.backends.tflite.file import TYPES, TFLite

    names = {number: name for name, number in vars(TYPES).items() if isinstance(number, int)}
    file = TFLite.read(Path(request["file"]))
    graph = file.graph

    def types(indices: Any) -> list[str]:
        return [names[graph.tensors[int(index)].type] for index in indices]

    scale, zero = file.scale_of(int(graph.inputs[0])) if types(graph.inputs) == ["INT8"] else (1.0, 0)
    return {
        "scale": float(scale),
        "zero": int(zero),
        "inputs": types(graph.inputs),
        "outputs": types(graph.outputs),
        "tensors": len(graph.tensors),
        "operators": len(graph.operators),
    }


if __name__ == "__main__":
    serve(answer)
