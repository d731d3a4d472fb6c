"""A checked ONNX graph as a PyTorch network, channels first, free batch; proved equal to ONNX Runtime on random images.

Where onnx2torch can't follow the graph, ONNX Runtime predicts and only post-training techniques remain.
"""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, version_converter
from torch import nn

from engine.errors import BadInput
from engine.formats import onnx as onnx_format
from engine.formats.onnx_tidy import tidy
from engine.formats.preprocessing import Opening
from engine.formats.torchvision_shim import import_torchvision

TARGET_OPSET = 13
ESTIMATE = "it can still be estimated with `python -m engine estimate FILE`"


@dataclass(frozen=True)
class Face:
    """What a graph shows to the outside: its image input and the output that holds the scores."""

    input: str
    output: str
    height: int
    width: int
    channels: int
    layout: str
    classes: int
    kind: int  # of the input's numbers, a TensorProto data type


class ChannelsFirst(nn.Module):
    """Puts channels last before a network that wants them there."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.permute(0, 2, 3, 1))


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the one way to open an ONNX file. Raises BadInput when it takes no image or gives no row of scores."""
    model = onnx_format.parse(path)
    face = face_of(model.graph, size)
    session = _session(model)
    network, why = _try_network(model, face, session)
    facts = {"framework": "pytorch", "reach": "all", "warnings": [],
             "layers": sum(node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose") for node in model.graph.node),
             "parameters": sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type in (1, 10, 11, 3, 2))}
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear") for node in model.graph.node):
        facts["reach"] = "inspect"
        facts["warnings"].append("The ONNX file is already quantized: it can be inspected and estimated; upload the float "
                                 "model to compress it.")
    elif face.kind != TensorProto.FLOAT:
        facts["reach"] = "inspect"
        facts["warnings"].append("The ONNX file takes whole numbers or half floats as input: it can be inspected and "
                                 "estimated; export it with a float32 input to compress it.")
    elif face.classes < 2:
        facts["reach"] = "inspect"
        facts["warnings"].append("The network has one output, as for regression or a yes-or-no score: it can be inspected and "
                                 "estimated; give it one output for each class to compress it.")
    elif network is None:
        facts["reach"] = "post_training"
        facts["warnings"].append(f"Only post-training techniques apply, because {why}.")
    if network is not None and facts["reach"] == "all":
        return [Opening(None, face.height, face.width, face.channels, face.classes, _torch_predict(network), facts=facts)]
    return [Opening(None, face.height, face.width, face.channels, face.classes, _run(session, face), layout=face.layout,
                    facts=facts)]


def open_onnx(path: Path) -> nn.Module:
    """Returns the checked graph as a network: float32 [n, channels, height, width] in, [n, classes] out.

    Raises BadInput with the reason where it can't be followed.
    """
    onnx_format.check(path)
    model = onnx_format.parse(path)
    face = face_of(model.graph, None)
    network, why = _try_network(model, face, _session(model))
    if network is None:
        raise BadInput(f"The ONNX graph can't be trained or pruned here, because {why}: choose post-training techniques.")
    return network


def face_of(graph: onnx.GraphProto, size: int | None) -> Face:
    """Finds the image input and the scores. Raises BadInput naming what the network is instead."""
    known = {t.name for t in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != 1:
        raise BadInput(f"The ONNX network takes {len(inputs)} inputs and an image classifier takes one: {ESTIMATE}.")
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(shape) != 4:
        raise BadInput(f"The ONNX network takes an input of {len(shape)} dimensions, as for text, sound or tables, and an image "
                       f"classifier takes four: {ESTIMATE}.")
    channels_last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    channels = shape[3] if channels_last else shape[1]
    height, width = (shape[1], shape[2]) if channels_last else (shape[2], shape[3])
    height, width = height or size or 224, width or size or 224
    if channels not in (1, 3) or max(height, width) > 4096:
        raise BadInput(f"The ONNX network takes {shape[1:]} as input, which is no grey or colour image: {ESTIMATE}.")
    output, classes = _scores(graph)
    return Face(inputs[0].name, output, height, width, channels, "NHWC" if channels_last else "NCHW", classes,
                inputs[0].type.tensor_type.elem_type)


def _scores(graph: onnx.GraphProto) -> tuple[str, int]:
    shapes = {}
    for value in graph.output:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        shapes[value.name] = sizes
        if 2 <= len(sizes) and sizes[1] and all(size == 1 for size in sizes[2:]):
            return value.name, sizes[1]
    if len(shapes) == 1 and len(next(iter(shapes.values()))) in (0, 2):  # the exporter left the size open
        name = next(iter(shapes))
        return name, _last_width(graph)
    kinds = {len(sizes) for sizes in shapes.values()}
    kind = "a segmentation network or an image-to-image network" if 4 in kinds else "a detector or a network for series"
    raise BadInput(f"The ONNX network gives no row of scores, as {kind}: it is no image classifier, and {ESTIMATE}.")


def _last_width(graph: onnx.GraphProto) -> int:
    tensors = {t.name: t for t in graph.initializer}
    for node in reversed(graph.node):
        if node.op_type in ("Gemm", "MatMul", "Conv"):
            weight = next((tensors[name] for name in node.input if name in tensors and len(tensors[name].dims) > 1), None)
            if weight is not None:
                turned = node.op_type == "MatMul" or not any(a.name == "transB" and a.i for a in node.attribute) and node.op_type == "Gemm"
                return int(weight.dims[-1] if turned else weight.dims[0])
    raise BadInput(f"The ONNX network gives no row of scores: it is no image classifier, and {ESTIMATE}.")


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's classes of errors share no root
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BadInput(f"ONNX Runtime refuses the model ({reason[:140]}): {onnx_format.ADVICE}") from None


def _run(session: onnxruntime.InferenceSession, face: Face):
    first = session.get_inputs()[0].shape[0]
    kind = {TensorProto.FLOAT16: np.float16, TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8,
            TensorProto.DOUBLE: np.float64}.get(face.kind, np.float32)

    def predict(x: np.ndarray) -> np.ndarray:
        x = x.astype(kind)
        parts = [x] if not isinstance(first, int) else np.split(x, range(first, len(x), first)) if len(x) % first == 0 else \
            list(x[:, None])
        return np.concatenate([session.run([face.output], {face.input: part})[0].reshape(len(part), -1) for part in parts]
                              ).astype(np.float32)

    return predict


def _torch_predict(network: nn.Module):
    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


def _try_network(model: onnx.ModelProto, face: Face, session) -> tuple[nn.Module | None, str]:
    """Returns the network, or None and the reason."""
    rng = np.random.default_rng(0)
    shape = (2, face.height, face.width, face.channels) if face.layout == "NHWC" else (2, face.channels, face.height, face.width)
    images = rng.random(shape, np.float32)
    predict = _run(session, face)
    expected = np.concatenate([predict(images[:1]), predict(images[1:])])
    why = "onnx2torch can't follow its operators"
    for prepared in _versions(tidy(model, face.output)):
        try:
            network = _convert(prepared)
            with torch.inference_mode():
                given = network(torch.from_numpy(images)).numpy()
        except Exception as error:  # a converter's many ways to fail; each means the same here
            why = f"onnx2torch can't follow it ({type(error).__name__}: {str(error).strip()[:80]})"
            continue
        if given.shape == expected.shape and np.allclose(given, expected, rtol=1e-3, atol=1e-3 * (1 + np.abs(expected).max())):
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
