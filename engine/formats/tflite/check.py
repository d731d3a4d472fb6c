"""TFLite files: read as a FlatBuffer and checked; quantized ones are inspected, float ones opened as a Keras
model.

Source of the layout: TensorFlow's schema.fbs, through the reader that LiteRT generates from it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.errors import BadInput
from engine.formats.detect import Opening
from engine.formats.tflite.sizes import gives_what_it_says
from engine.vocabulary import Preprocessing

MAX_VALUES, MAX_TENSORS, MAX_ACTIVATION = 150_000_000, 20_000, 30_000_000
ADVICE = "convert the classifier again with `tf.lite.TFLiteConverter.from_keras_model(model).convert()`."
KINDS = {
    0: np.float32,
    1: np.float16,
    2: np.int32,
    3: np.uint8,
    4: np.int64,
    6: np.bool_,
    7: np.int16,
    9: np.int8,
    10: np.float64,
    15: np.uint32,
}
INT4 = 17
NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
OPERATORS = set(
    """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE FULLY_CONNECTED LOGISTIC
MAX_POOL_2D MUL
RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR SOFTMAX SPACE_TO_DEPTH TANH PAD TRANSPOSE MEAN SUB DIV SQUEEZE
STRIDED_SLICE EXP
SPLIT LOG_SOFTMAX CAST PRELU MAXIMUM MINIMUM NEG PADV2 SLICE TRANSPOSE_CONV EXPAND_DIMS SUM SQRT RSQRT SHAPE
POW REDUCE_MAX PACK
LEAKY_RELU SQUARED_DIFFERENCE ABS REDUCE_MIN QUANTIZE HARD_SWISH BATCH_MATMUL ELU GELU DENSIFY
RESIZE_NEAREST_NEIGHBOR SQUARE
L2_NORMALIZATION GATHER UNPACK SPLIT_V MIRROR_PAD LOCAL_RESPONSE_NORMALIZATION
""".split()
)
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
SERIES = (
    "LSTM",
    "RNN",
    "SVDF",
    "EMBEDDING_LOOKUP",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "RFFT2D",
    "SKIP_GRAM",
)


@dataclass(frozen=True)
class Tensor:
    """A tensor: its shape, its kind as the schema numbers it, its values if they are in the file, scale and
    zero point.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    data: bytes | None
    scale: float
    zero: int

    def array(self) -> np.ndarray:
        """Returns the stored values in their shape."""
        return np.frombuffer(self.data, KINDS[self.kind]).reshape(self.shape)


@dataclass(frozen=True)
class Operator:
    """An operator by name ("CUSTOM:name" for foreign ones), its tensors, and its options' reader."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: object


@dataclass(frozen=True)
class Graph:
    """The one graph of a file."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def quantized(self) -> bool:
        """Tells whether any weights or activations are whole numbers with a scale."""
        names = {op.name for op in self.operators}
        return any(t.scale and t.kind in (3, 7, 9, INT4) for t in self.tensors) or "QUANTIZE" in names


def check(path: Path) -> None:
    """Parses the whole file and checks counts, shapes, stored sizes and operators. Raises BadInput."""
    graph = read(path)
    for tensor in graph.tensors:
        if any(size < 0 for size in tensor.shape) or math.prod(tensor.shape) > MAX_ACTIVATION * 2:
            raise BadInput(
                f"The tensor '{tensor.name[:60]}' of the TFLite file has the absurd shape"
                f" {list(tensor.shape)[:8]}: {ADVICE}"
            )
        if tensor.data is not None and tensor.kind in KINDS and not _has(graph, "DENSIFY"):
            expected = math.prod(tensor.shape) * np.dtype(KINDS[tensor.kind]).itemsize
            if len(tensor.data) != expected:
                raise BadInput(
                    f"The tensor '{tensor.name[:60]}' of the TFLite file has other values than its shape"
                    f" says: {ADVICE}"
                )
        if tensor.kind not in KINDS and tensor.kind != INT4:
            raise BadInput(f"The tensor '{tensor.name[:60]}' of the TFLite file holds no numbers: {ADVICE}")
    ready = {*graph.inputs, -1, *(i for i, tensor in enumerate(graph.tensors) if tensor.data is not None)}
    for op in graph.operators:
        if not set(op.inputs) <= ready or set(op.outputs) & ready:
            raise BadInput(
                f"The operator {op.name} of the TFLite file reads what is made later, or makes what is there"
                f" already: {ADVICE}"
            )
        ready |= set(op.outputs)
        if not gives_what_it_says(op, graph.tensors):
            raise BadInput(
                f"The operator {op.name} of the TFLite file makes something else than the file says, perhaps"
                f" without bound: {ADVICE}"
            )


def _check_operators(operators: list[Operator]) -> None:
    for op in operators:
        if op.name.startswith("CUSTOM:") and op.name != "CUSTOM:edgetpu-custom-op":
            raise BadInput(
                f"The TFLite file needs the operator '{op.name[7:67]}' of somebody's own, which no device"
                f" has: replace it, and {ADVICE}"
            )
        if op.name in SERIES:
            raise BadInput(
                f"The TFLite file uses {op.name}, as networks for text, sound or series do, and Edgewise fits"
                " image classifiers: it can only be estimated."
            )
        if op.name not in OPERATORS and not op.name.startswith("CUSTOM:"):
            raise BadInput(
                f"The TFLite file uses the operator {op.name}, which no image classifier needs: {ADVICE}"
            )


def _has(graph: Graph, name: str) -> bool:
    return any(op.name == name for op in graph.operators)


def read(path: Path) -> Graph:
    """Returns the graph. Raises BadInput when the bytes are no such FlatBuffer or hold several graphs."""
    try:
        return _read(path.read_bytes())
    except BadInput:
        raise
    except Exception as error:  # every wrong offset fails in its own way
        raise BadInput(f"The TFLite file is damaged ({type(error).__name__}): {ADVICE}") from None


def _read(data: bytes) -> Graph:
    model = schema.Model.GetRootAs(data, 0)
    if model.Version() != 3 or model.SubgraphsLength() != 1:
        raise BadInput(
            f"The TFLite file is of version {model.Version()} with {model.SubgraphsLength()} graphs; version"
            f" 3 with one is taken: {ADVICE}"
        )
    graph = model.Subgraphs(0)
    if (
        max(
            graph.TensorsLength(), graph.OperatorsLength(), model.BuffersLength(), model.OperatorCodesLength()
        )
        > MAX_TENSORS
    ):
        raise BadInput(f"The TFLite file lists more than {MAX_TENSORS:,} tensors or operators: {ADVICE}")
    operators = [_operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())]
    _check_operators(operators)
    tensors, total = [], 0
    for i in range(graph.TensorsLength()):
        tensors.append(_tensor(model, graph.Tensors(i), data))
        total += len(tensors[-1].data or b"")
        if total > 4 * MAX_VALUES:
            raise BadInput(
                f"The TFLite file names more than {total / 1e6:.0f} MB of weights: choose a smaller model."
            )
    inputs, outputs = _indices(graph, "Inputs"), _indices(graph, "Outputs")
    for index in (*inputs, *outputs, *(i for op in operators for i in (*op.inputs, *op.outputs))):
        if not -1 <= index < len(tensors):
            raise BadInput(f"The TFLite file refers to a tensor that it does not hold: {ADVICE}")
    if not operators or not inputs or not outputs:
        raise BadInput(f"The TFLite file has no operators, inputs or outputs: {ADVICE}")
    return Graph(tensors, operators, inputs, outputs)


def _indices(table: object, name: str) -> tuple[int, ...]:
    count = getattr(table, f"{name}Length")()
    if count > MAX_TENSORS:
        raise ValueError(name)
    return tuple(int(getattr(table, name)(i)) for i in range(count))


def _tensor(model, tensor, data: bytes) -> Tensor:
    if tensor.ShapeLength() > 8 or not 0 <= tensor.Buffer() < model.BuffersLength():
        raise ValueError("shape")
    buffer = model.Buffers(tensor.Buffer())
    if buffer.Offset() > 1 or buffer.Size() > 1:
        raise BadInput(
            f"The TFLite file keeps weights outside its FlatBuffer, which is not read here: {ADVICE}"
        )
    quantization = tensor.Quantization()
    has_scale = quantization is not None and quantization.ScaleLength() > 0
    values = bytes(buffer.DataAsNumpy()) if buffer.DataLength() else None
    return Tensor(
        (tensor.Name() or b"").decode("utf-8", "replace"),
        _indices(tensor, "Shape"),
        tensor.Type(),
        values,
        float(quantization.Scale(0)) if has_scale else 0.0,
        int(quantization.ZeroPoint(0)) if has_scale and quantization.ZeroPointLength() else 0,
    )


def _operator(model, operator) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = NAMES.get(number, f"number {number}")
    if name == "CUSTOM":
        name = "CUSTOM:" + (code.CustomCode() or b"").decode("utf-8", "replace")
    return Operator(
        name, _indices(operator, "Inputs"), _indices(operator, "Outputs"), operator.BuiltinOptions()
    )


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the one way to open a TFLite file. Raises BadInput when it takes no image or gives no row of
    scores.
    """
    graph = read(path)
    given, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    height, width, channels, layout = _image(graph, given)
    classes = _classes(graph, scores)
    facts = {
        "framework": "keras",
        "reach": "all",
        "warnings": [],
        "layers": sum(op.name in WEIGHTED for op in graph.operators),
        "parameters": sum(
            math.prod(t.shape) for t in graph.tensors if t.data is not None and t.kind in (0, 1, 3, 9, INT4)
        ),
        "outputs": (
            "probabilities"
            if any(
                op.name in ("SOFTMAX", "LOGISTIC") and graph.outputs[0] in op.outputs
                for op in graph.operators[-3:]
            )
            else "logits"
        ),
    }
    if _has(graph, "CUSTOM:edgetpu-custom-op"):
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The TFLite file is compiled for the Edge TPU: it can be inspected only; upload the file "
                "that it was compiled from."
            ],
        }
    elif graph.quantized():
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The TFLite file is already quantized: it can be inspected and estimated; upload the "
                "float model to compress it."
            ],
        }
    elif classes < 2:
        facts |= {
            "reach": "inspect",
            "warnings": [
                "The network has one output, as for regression or a yes-or-no score: it can be inspected "
                "and estimated."
            ],
        }
    predict = _run(path, given, scores, layout, channels)
    if facts["reach"] == "all":
        from engine.formats.tflite.network import try_network

        network, why = try_network(graph, predict, (height, width, channels))
        if network is None:
            facts |= {
                "reach": "inspect",
                "warnings": [f"The TFLite file can be inspected and estimated only, because {why}."],
            }
    color = "grey" if channels == 1 else "rgb"
    return [
        Opening(
            None,
            height,
            width,
            channels,
            classes,
            predict,
            layout=layout,
            facts=facts,
            fixed=_told(given, height, width, channels, color, layout),
        )
    ]


def _image(graph: Graph, given: Tensor) -> tuple[int, int, int, str]:
    shape = given.shape
    if len(graph.inputs) != 1 or len(shape) not in (3, 4) or shape[0] != 1:
        raise BadInput(
            f"The TFLite network takes {[list(graph.tensors[i].shape) for i in graph.inputs][:3]} as input"
            " and an image classifier takes one image: it can only be estimated."
        )
    if len(shape) == 3:
        return shape[1], shape[2], 1, "NHWC"
    if shape[3] in (1, 3):
        return shape[1], shape[2], shape[3], "NHWC"
    if shape[1] in (1, 3):
        return shape[2], shape[3], shape[1], "NCHW"
    raise BadInput(
        f"The TFLite network takes {list(shape)[1:]} as input, which is no grey or colour image: it can only"
        " be estimated."
    )


def _classes(graph: Graph, scores: Tensor) -> int:
    if len(graph.outputs) != 1 or len(scores.shape) < 2 or math.prod(scores.shape[:-1]) != 1:
        raise BadInput(
            f"The TFLite network gives {[list(graph.tensors[i].shape) for i in graph.outputs][:4]} and no row"
            " of scores, as detectors and segmentation networks do: it is no image classifier and can only"
            " be estimated."
        )
    return scores.shape[-1]


def _told(
    given: Tensor, height: int, width: int, channels: int, color: str, layout: str
) -> Preprocessing | None:
    """Returns the scaling that a whole-number input tells: the range of real values that it can hold."""
    if given.kind not in (3, 9):
        return None
    low = ((0 if given.kind == 3 else -128) - given.zero) * given.scale
    if not given.scale or abs(given.scale - 1) < 0.02:
        scale, mean, std = 1.0, 0.0, 1.0
    elif abs(low) < 0.02 and abs(given.scale * 255 - 1) < 0.02:
        scale, mean, std = 1 / 255, 0.0, 1.0
    elif abs(low + 1) < 0.02 and abs(given.scale * 127.5 - 1) < 0.02:
        scale, mean, std = 1 / 255, 0.5, 0.5
    else:
        return None
    return Preprocessing(
        height=height,
        width=width,
        color=color,
        layout=layout,
        scale=scale,
        mean=[mean] * channels,
        std=[std] * channels,
    )


def _run(
    path: Path, given: Tensor, scores: Tensor, layout: str, channels: int
) -> Callable[[np.ndarray], np.ndarray]:
    ready = []

    def predict(x: np.ndarray) -> np.ndarray:
        if not ready:
            ready.append(_interpreter(path))
        runner, answers = ready[0], []
        kind = KINDS[given.kind]
        if given.kind in (3, 9):
            x = np.rint(x / (given.scale or 1.0) + given.zero).clip(np.iinfo(kind).min, np.iinfo(kind).max)
        for image in x.astype(kind):
            runner.set_tensor(runner.get_input_details()[0]["index"], image.reshape(given.shape))
            runner.invoke()
            answers.append(
                runner.get_tensor(runner.get_output_details()[0]["index"]).reshape(-1).astype(np.float32)
            )
        return (np.stack(answers) - scores.zero) * (scores.scale or 1.0)

    return predict


def _interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    try:
        runner = Interpreter(model_content=path.read_bytes(), num_threads=2)
        runner.allocate_tensors()
        return runner
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"LiteRT refuses the TFLite file ({str(error).strip().splitlines()[0][:120]}): {ADVICE}"
        ) from None
