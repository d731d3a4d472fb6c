"""A TFLite file read as a FlatBuffer into plain tensors and operators; it takes what image classifiers need.

Source of the layout: TensorFlow's schema.fbs, through the reader that LiteRT generates from it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.errors import BadInput
from engine.formats.limits import MAX_VALUES

MAX_TENSORS = 20_000
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

    def has(self, name: str) -> bool:
        """Tells whether an operator of that name occurs."""
        return any(op.name == name for op in self.operators)


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
                f"The TFLite file uses the operator {op.name}, which is not among those that are read here:"
                f" {ADVICE}"
            )
