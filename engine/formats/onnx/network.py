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
from onnx import TensorProto, version_converter
from torch import nn

from engine.errors import BadInput
from engine.formats.onnx import check as onnx_format
from engine.formats.onnx.face import Face, face_of, predictor, session_of
from engine.formats.onnx.tidy import tidy
from engine.formats.opening import Opening
from engine.vocabulary import ModelFile
from models.torchvision_shim import import_torchvision

TARGET_OPSET = 13


class ChannelsFirst(nn.Module):
    """Puts channels last before a network that wants them there."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.permute(0, 2, 3, 1))


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the one way to open an ONNX file. Raises BadInput when it takes no image or gives no row of
    scores.
    """
    model = onnx_format.parse(path)
    face = face_of(model.graph, size)
    session = session_of(model)
    network, why = _try_network(model, face, session)
    facts = {
        "reach": "all",
        "warnings": [],
        "layers": sum(
            node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose") for node in model.graph.node
        ),
        "parameters": sum(
            math.prod(t.dims) for t in model.graph.initializer if t.data_type in (1, 10, 11, 3, 2)
        ),
    }
    if any(
        node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear")
        for node in model.graph.node
    ):
        facts["reach"] = "inspect"
        facts["warnings"].append(
            "The ONNX file is already quantized: it can be inspected and estimated; upload the float "
            "model to compress it."
        )
    elif face.kind != TensorProto.FLOAT:
        facts["reach"] = "inspect"
        facts["warnings"].append(
            "The ONNX file takes whole numbers or half floats as input: it can be inspected and "
            "estimated; export it with a float32 input to compress it."
        )
    elif face.classes < 2:
        facts["reach"] = "inspect"
        facts["warnings"].append(
            "The network has one output, as for regression or a yes-or-no score: it can be inspected and "
            "estimated; give it one output for each class to compress it."
        )
    elif network is None:
        facts["reach"] = "post_training"
        facts["warnings"].append(f"Only post-training techniques apply, because {why}.")
    if network is not None and facts["reach"] == "all":
        return [
            Opening(
                None,
                face.height,
                face.width,
                face.channels,
                face.classes,
                _torch_predict(network),
                facts=facts,
            )
        ]
    return [
        Opening(
            None,
            face.height,
            face.width,
            face.channels,
            face.classes,
            predictor(session, face),
            layout=face.layout,
            facts=facts,
        )
    ]


def open_model(path: Path, model: ModelFile) -> nn.Module:
    """Opens a checked model file: see `open_onnx`."""
    return open_onnx(path)


def open_onnx(path: Path) -> nn.Module:
    """Returns the checked graph as a network: float32 [n, channels, height, width] in, [n, classes] out.

    Raises BadInput with the reason where it can't be followed.
    """
    onnx_format.check(path)
    model = onnx_format.parse(path)
    face = face_of(model.graph, None)
    network, why = _try_network(model, face, session_of(model))
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
    rng = np.random.default_rng(0)
    shape = (
        (2, face.height, face.width, face.channels)
        if face.layout == "NHWC"
        else (2, face.channels, face.height, face.width)
    )
    images = rng.random(shape, np.float32)
    predict = predictor(session, face)
    expected = np.concatenate([predict(images[:1]), predict(images[1:])])
    why = "onnx2torch can't follow its operators"
    for prepared in _versions(tidy(model, face.output)):
        try:
            network = _convert(prepared)
            with torch.inference_mode():
                given = network(torch.from_numpy(images)).numpy()
        except Exception as error:  # a converter's many ways to fail; each means the same here
            lacking = re.search(r"operation_type='(\w{1,40})'.*?version=(\d+)", str(error))
            why = (
                f"onnx2torch has no {lacking[1]} of opset {lacking[2]}, so PyTorch can't run it"
                if lacking
                else f"onnx2torch can't follow it ({type(error).__name__}: {str(error).strip()[:80]})"
            )
            continue
        if given.shape == expected.shape and np.allclose(
            given, expected, rtol=1e-3, atol=1e-3 * (1 + np.abs(expected).max())
        ):
            return (ChannelsFirst(network) if face.layout == "NHWC" else network), ""
        why = "its PyTorch translation gives other scores than ONNX Runtime"
    return None, why


def _convert(model: onnx.ModelProto) -> nn.Module:
    import_torchvision()
    from onnx2torch import convert

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert(model).float().eval().requires_grad_(False)


def _versions(model: onnx.ModelProto):
    yield model
    try:
        yield version_converter.convert_version(model, TARGET_OPSET)
    except Exception:  # a converter that lacks an adapter; the first form was tried already
        return
