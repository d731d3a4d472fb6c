"""A TFLite file as an object that can be rewritten: tensors, their stored values, operators.

Schema: the TFLite flatbuffer schema as ai-edge-litert ships it. Weights lie as [out, height, width, in]
    (convolution),
[1, height, width, channels] (depthwise) and [out, in] (dense).
"""

import copy
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

OPS = {name: number for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
NAMES = {number: name for name, number in OPS.items()}
TYPES = schema.TensorType
FLOAT, HALF, INT8, INT4, INT32 = TYPES.FLOAT32, TYPES.FLOAT16, TYPES.INT8, TYPES.INT4, TYPES.INT32
NUMPY = {
    FLOAT: np.float32,
    HALF: np.float16,
    INT8: np.int8,
    INT32: np.int32,
    TYPES.INT64: np.int64,
    TYPES.UINT8: np.uint8,
}
LAYER_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# the lowest version of an operator that knows these operands, from the operators' version table of LiteRT
INT8_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "DEQUANTIZE": 2,
    "SOFTMAX": 2,
    "LOGISTIC": 2,
    "MEAN": 2,
    "ADD": 2,
    "MUL": 2,
    "SUB": 2,
    "CONCATENATION": 2,
    "PAD": 2,
    "PADV2": 2,
    "MAX_POOL_2D": 2,
    "AVERAGE_POOL_2D": 2,
    "RELU": 2,
    "RELU6": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    "STRIDED_SLICE": 2,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "MAXIMUM": 2,
    "MINIMUM": 2,
    "LEAKY_RELU": 2,
    "SPLIT": 2,
}
HYBRID_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9}


class TFLite:
    """One file in memory; `graph` is its only subgraph. Tensors are named by their place in
    `graph.tensors`.
    """

    def __init__(self, data: bytes):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        self.graph = self.model.subgraphs[0]
        for operator in self.graph.operators:  # as read, they are views into the bytes
            operator.inputs, operator.outputs = (
                np.array(operator.inputs, np.int32),
                np.array(operator.outputs, np.int32),
            )
        self.graph.inputs, self.graph.outputs = (
            np.array(self.graph.inputs, np.int32),
            np.array(self.graph.outputs, np.int32),
        )

    @classmethod
    def read(cls, path: Path) -> "TFLite":
        """Reads a file."""
        return cls(path.read_bytes())

    def copy(self) -> "TFLite":
        """Returns a copy that shares nothing."""
        return copy.deepcopy(self)

    def bytes(self, compact: bool = True) -> bytes:
        """Returns the file. Tensors and buffers that nothing uses are left out, unless their places are still
        needed; such buffers are emptied then.
        """
        if compact:
            self._compact()
        used = {tensor.buffer for tensor in self.graph.tensors}
        for number, buffer in enumerate(self.model.buffers):
            if number not in used:
                buffer.data = None
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def op(self, operator) -> str:
        """Returns an operator's name, such as CONV_2D."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    # ---- tensors -------------------------------------------------------------------------------------------

    def tensor(self, index: int):
        """Returns a tensor's record."""
        return self.graph.tensors[index]

    def is_constant(self, index: int) -> bool:
        """Tells whether a tensor's values are stored in the file."""
        data = self.model.buffers[self.tensor(index).buffer].data
        return data is not None and len(data) > 0

    def values(self, index: int) -> np.ndarray:
        """Returns a constant's stored values."""
        tensor = self.tensor(index)
        data = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8)
        return np.frombuffer(data.tobytes(), NUMPY[tensor.type]).reshape([int(n) for n in tensor.shape])

    def store(self, index: int, array: np.ndarray) -> None:
        """Writes a constant's values, in a buffer of its own."""
        self.model.buffers.append(schema.BufferT())
        self.model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.tensor(index).buffer = len(self.model.buffers) - 1

    def add_like(self, index: int, suffix: str, kind: int) -> int:
        """Adds a tensor of another's shape without values; returns its place."""
        made = copy.deepcopy(self.tensor(index))
        made.name = self.name(index).encode() + suffix.encode()
        made.type, made.buffer, made.quantization, made.sparsity = kind, 0, None, None
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def name(self, index: int) -> str:
        """Returns a tensor's name."""
        name = self.tensor(index).name
        return name.decode() if isinstance(name, bytes) else str(name)

    def quantize_record(self, index: int, scales: np.ndarray, zeros: np.ndarray, axis: int = 0) -> None:
        """States how a tensor's integers become numbers: (code - zero) * scale, per channel along `axis`."""
        record = schema.QuantizationParametersT()
        record.scale, record.zeroPoint = (
            np.asarray(scales, np.float32).ravel(),
            np.asarray(zeros, np.int64).ravel(),
        )
        record.quantizedDimension = axis
        self.tensor(index).quantization = record

    def scale_of(self, index: int) -> tuple[float, int]:
        """Returns scale and zero point of an activation."""
        record = self.tensor(index).quantization
        return float(record.scale[0]), int(record.zeroPoint[0])

    # ---- operators -----------------------------------------------------------------------------------------

    def make_operator(self, op: str, inputs: list[int], outputs: list[int], version: int = 1):
        """Returns a new operator (without options) that is not in the graph yet."""
        made = schema.OperatorT()
        made.opcodeIndex = self._code(op, version)
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        return made

    def set_version(self, operator, version: int) -> None:
        """Raises the version that an operator asks of the runtime."""
        old = self.model.operatorCodes[operator.opcodeIndex]
        if old.version < version:
            operator.opcodeIndex = self._code(self.op(operator), version)

    def _code(self, op: str, version: int) -> int:
        number = OPS[op]
        for place, code in enumerate(self.model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
                return place
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _compact(self) -> None:
        """Leaves out tensors, buffers and operator codes that nothing refers to."""
        graph = self.graph
        ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
        used = sorted(ends | {int(i) for o in graph.operators for i in (*o.inputs, *o.outputs) if i >= 0})
        place = {old: new for new, old in enumerate(used)} | {-1: -1}
        graph.tensors = [graph.tensors[i] for i in used]
        for operator in graph.operators:
            operator.inputs = np.array([place[int(i)] for i in operator.inputs], np.int32)
            operator.outputs = np.array([place[int(i)] for i in operator.outputs], np.int32)
        graph.inputs = np.array([place[int(i)] for i in graph.inputs], np.int32)
        graph.outputs = np.array([place[int(i)] for i in graph.outputs], np.int32)
        self.model.signatureDefs, self.model.metadata, self.model.metadataBuffer = [], [], None
        empty = schema.BufferT()
        buffers, moved = [empty], {0: 0}
        for tensor in graph.tensors:
            if tensor.buffer not in moved:
                if self.model.buffers[tensor.buffer].data is None or not len(
                    self.model.buffers[tensor.buffer].data
                ):
                    moved[tensor.buffer] = 0
                else:
                    moved[tensor.buffer] = len(buffers)
                    buffers.append(self.model.buffers[tensor.buffer])
            tensor.buffer = moved[tensor.buffer]
        self.model.buffers = buffers
        codes = sorted({o.opcodeIndex for o in graph.operators})
        for operator in graph.operators:
            operator.opcodeIndex = codes.index(operator.opcodeIndex)
        self.model.operatorCodes = [self.model.operatorCodes[i] for i in codes]


def stored_tensors(path: Path) -> list[tuple[bytes, str]]:
    """Returns the raw bytes of a file's constants, each with its type where the entropy coder knows it."""
    kinds = {FLOAT: "float32", INT8: "int8", INT4: "int4"}
    file = TFLite.read(path)
    return [
        (np.asarray(file.model.buffers[t.buffer].data, np.uint8).tobytes(), kinds[t.type])
        for i, t in enumerate(file.graph.tensors)
        if t.type in kinds and file.is_constant(i)
    ]
