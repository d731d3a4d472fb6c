"""A checked ONNX graph as a PyTorch network, channels first, free batch; proved equal to ONNX Runtime on
random images.

Where onnx2torch can't follow the graph, ONNX Runtime predicts and only post-training techniques remain.
"""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from engine.errors import BadInput, shortened
from engine.formats.onnx import check as onnx_format
from engine.formats.onnx.dense import joined
from engine.formats.onnx.face import Face, faces_of, predictor, session_of
from engine.formats.onnx.opset import raised
from engine.formats.onnx.plain import OPSET, plain
from engine.formats.onnx.tidy import bare, tidy
from engine.formats.onnx.usual import as_two_classes, prepared, usual
from engine.formats.onnx.written import why_not_written
from engine.formats.opening import Opening
from engine.vocabulary import ModelFile
from models.torchvision_shim import import_torchvision

LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")
QUANTIZED = ("QuantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear", "DequantizeLinear")


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the ways to open an ONNX file: one for each output that may be its scores, the likeliest first.

    Raises BadInput when it takes no image or gives no row of scores.
    """
    file = onnx_format.parse(path)
    quantized = any(node.op_type in QUANTIZED for node in file.graph.node)
    model, said = (file, []) if quantized else usual(file)
    found = [_opening(model, face, list(said), quantized) for face in faces_of(model, size)]
    widths = [opening.classes for opening in found]
    return [opening for place, opening in enumerate(found) if opening.classes not in widths[:place]]


def _opening(model: onnx.ModelProto, face: Face, said: list[str], quantized: bool) -> Opening:
    warnings_: list[str] = []
    if len(model.graph.output) > 1:
        said.append(
            f"Of the file's {len(model.graph.output)} outputs, the row of {face.classes} is its scores."
        )
    if face.classes == 1 and not quantized:
        model, face, sentence = as_two_classes(model, face)
        said.append(sentence)
    session = session_of(model)
    network, why = (None, "") if quantized else _try_network(model, face, session)
    image = torch.zeros(2, face.channels, face.height, face.width)
    if network is not None and (why := why_not_written(network, image)):
        network = None
    reach = "inspect" if quantized else "all" if network is not None else "post_training"
    if quantized:
        warnings_.append(
            "The ONNX file is already quantized: it can be inspected and estimated; upload the float "
            "model to compress it."
        )
    elif network is None:
        warnings_.append(f"Only post-training techniques apply, because {why}.")
        try:
            plain(model, face)
        except BadInput as error:
            reach, warnings_ = "inspect", [str(error)]
    facts = {
        "reach": reach,
        "warnings": warnings_,
        "evidence": said,
        "layers": sum(node.op_type in LAYERS for node in model.graph.node),
        "parameters": sum(
            math.prod(t.dims) for t in model.graph.initializer if t.data_type in (1, 10, 11, 3, 2)
        ),
    }
    predict, layout = (
        (predictor(session, face), face.layout) if network is None else (_torch_predict(network), "NCHW")
    )
    return Opening(
        None,
        face.height,
        face.width,
        face.channels,
        face.classes,
        predict,
        layout=layout,
        scaled_inside=any("whole numbers" in sentence for sentence in said),
        facts=facts,
    )


def open_model(path: Path, model: ModelFile) -> nn.Module:
    """Returns the checked graph as a network: float32 [n, channels, height, width] in, [n, classes] out.

    Raises BadInput with the reason where it can't be followed.
    """
    graph, face = prepared(path, model)
    network, why = _try_network(graph, face, session_of(graph))
    if network is None:
        raise BadInput(
            f"The ONNX graph can't be trained or pruned here, because {why}: choose post-training techniques."
        )
    return network


def _torch_predict(network: nn.Module):
    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


def _try_network(model: onnx.ModelProto, face: Face, session) -> tuple[nn.Module | None, str]:
    """Returns the network, or None and the reason."""
    images = np.random.default_rng(0).random((3, *face.image_shape), np.float32)
    pictures = np.moveaxis(images, -1, 1).copy() if face.layout == "NHWC" else images
    predict = predictor(session, face)
    expected = np.concatenate([predict(one) for one in images[:, None]])
    why = ""
    for prepare in (lambda m: tidy(raised(m, OPSET) or m, face), lambda m: bare(m, face.output)):
        try:
            network = _convert(_channels_first(prepare(model), face))
            with torch.inference_mode():
                given = network(torch.from_numpy(pictures)).flatten(1).numpy()
        except Exception as error:  # a converter's many ways to fail; each means the same here
            why = why or _reason(error)
            continue
        if given.shape == expected.shape and np.allclose(
            given, expected, rtol=1e-3, atol=1e-3 * (1 + np.abs(expected).max())
        ):
            return network, ""
        why = why or "its PyTorch translation gives other scores than ONNX Runtime"
    return None, why


def _reason(error: Exception) -> str:
    lacking = re.search(r"operation_type='(\w{1,40})'.*?version=(\d+)", str(error))
    if lacking:
        return f"onnx2torch has no {lacking[1]} of opset {lacking[2]}, so PyTorch can't run it"
    return f"onnx2torch can't follow it ({type(error).__name__}: {shortened(error, 80)})"


def _channels_first(model: onnx.ModelProto, face: Face) -> onnx.ModelProto:
    """Puts channels last before a graph that wants them there."""
    if face.layout == "NHWC":
        image, given = model.graph.input[0], f"{face.input}_channels_first"
        turn = helper.make_node("Transpose", [given], [face.input], perm=[0, 2, 3, 1], name=given)
        model.graph.node.insert(0, turn)
        shape: list[str | int | None] = ["batch", face.channels, face.height, face.width]
        image.CopyFrom(helper.make_tensor_value_info(given, TensorProto.FLOAT, shape))
    return model


def _convert(model: onnx.ModelProto) -> nn.Module:
    import_torchvision()
    from onnx2torch import convert

    from engine.formats.onnx import computing, operators, shaping  # noqa: F401  makers enter as they are imported

    operators.register()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert(joined(model)).float().eval().requires_grad_(False)
