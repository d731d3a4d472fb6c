"""TFLite files with smaller weights, written from the float one: INT8, packed INT4, FP16, sparse, dynamic
range.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from engine.backends.grid import Grid, nearest_grid, packed
from engine.backends.tflite.exported import Exported, Place
from engine.backends.tflite.file import HALF, HYBRID_VERSIONS, INT4, INT8, TFLite

INT4_VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}


def to_weights(exported: Exported, grids: dict[str, Grid]) -> None:
    """Stores these layers' weights as codes and scales, INT4 packed two to a byte.

    INT4 convolutions and dense layers read them as they are (their kernels round activations to 8 bits as
    they come); everything else has them widened by a DEQUANTIZE at load, depthwise and grouped INT4 because
    there is no kernel.
    """
    for layer, grid in grids.items():
        place = exported.places[layer]
        codes, axis = in_tflite_order(grid, place)
        reader = next(
            o for o in exported.file.graph.operators if len(o.inputs) > 1 and int(o.inputs[1]) == place.weight
        )
        grouped = place.kind == "CONV_2D" and codes.shape[-1] != int(
            exported.file.tensor(int(reader.inputs[0])).shape[-1]
        )
        if grid.bits == 4 and place.kind in INT4_VERSIONS and not grouped:
            _in_place(exported.file, place, codes, grid)
            exported.file.set_version(reader, INT4_VERSIONS[place.kind])
        else:
            _widened(exported.file, place, codes, grid, axis)


def _in_place(file: TFLite, place: Place, codes: np.ndarray, grid: Grid) -> None:
    file.tensor(place.weight).type = INT4
    file.store(place.weight, packed(codes))
    file.quantize_record(place.weight, grid.scales, np.zeros(len(grid.scales)))


def _widened(file: TFLite, place: Place, codes: np.ndarray, grid: Grid, axis: int) -> None:
    kind = INT4 if grid.bits == 4 else INT8
    small = file.add_like(place.weight, "_codes", kind)
    file.store(small, packed(codes) if grid.bits == 4 else codes)
    file.quantize_record(small, grid.scales, np.zeros(len(grid.scales)), axis)
    _insert_widening(file, "DEQUANTIZE", small, place.weight, version=6 if grid.bits == 4 else 5)


def _insert_widening(file: TFLite, op: str, small: int, wide: int, version: int) -> None:
    file.tensor(wide).buffer = 0
    file.graph.operators.insert(0, file.make_operator(op, [small], [wide], version))


def in_tflite_order(grid: Grid, place: Place) -> tuple[np.ndarray, int]:
    """Returns a grid's codes in the order of TFLite, and the axis of their channels."""
    if place.kind == "FULLY_CONNECTED":
        return place.columns_last(grid.codes), 0
    if place.kind == "DEPTHWISE_CONV_2D":
        return np.ascontiguousarray(grid.codes[:, 0].transpose(1, 2, 0)[None]), 3
    return np.ascontiguousarray(grid.codes.transpose(0, 2, 3, 1)), 0


def to_fp16(exported: Exported) -> None:
    """Stores every layer's weights as float16, widened at load; values beyond float16's range are clipped to
    it.
    """
    file = exported.file
    for place in (*exported.places.values(), *exported.affine.values()):
        half = np.clip(file.values(place.weight), -65504, 65504).astype(np.float16)
        small = file.add_like(place.weight, "_half", HALF)
        file.store(small, half)
        _insert_widening(file, "DEQUANTIZE", small, place.weight, version=3)


def to_dynamic(exported: Exported) -> None:
    """Stores weights as INT8 per channel for the hybrid kernels, which quantize activations as they come."""
    file = exported.file
    for place in exported.places.values():
        weight = file.values(place.weight)
        axis = 3 if place.kind == "DEPTHWISE_CONV_2D" else 0
        codes, scales = int8_codes(weight, axis)
        file.tensor(place.weight).type = INT8
        file.store(place.weight, codes)
        file.quantize_record(place.weight, scales, np.zeros(len(scales)), axis)
        operator = file.graph.operators[place.operator]
        file.set_version(operator, HYBRID_VERSIONS[place.kind])
        if place.kind == "FULLY_CONNECTED":
            operator.builtinOptions.asymmetricQuantizeInputs = True


def int8_codes(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a constant to INT8 with a scale per channel along `axis`; returns codes (same shape) and
    scales.
    """
    grid = nearest_grid(np.moveaxis(weight, axis, 0), 8)
    return np.ascontiguousarray(np.moveaxis(grid.codes, 0, axis)), grid.scales


def to_sparse(exported: Exported) -> None:
    """Stores weights with many zeros sparsely, where that takes fewer bytes, widened at load."""
    file = exported.file
    for place in exported.places.values():
        weight = file.values(place.weight)
        record, values = _compressed_rows(weight)
        if record is None:
            continue
        small = file.add_like(place.weight, "_sparse", file.tensor(place.weight).type)
        file.store(small, values)
        file.tensor(small).sparsity = record
        _insert_widening(file, "DENSIFY", small, place.weight, version=1)


def _compressed_rows(weight: np.ndarray) -> tuple:
    """Returns the sparsity record and the values that are not zero, rows being all dimensions but the last;
    (None, None) where it takes as many bytes as the dense tensor."""
    rows = weight.reshape(-1, weight.shape[-1])
    at, columns = np.nonzero(rows)
    if not len(at):
        at, columns = np.zeros(1, int), np.zeros(1, int)  # the runtime takes an empty buffer for no constant
    segments = np.concatenate([[0], np.cumsum(np.bincount(at, minlength=len(rows)))])
    small_segments, small_columns = _narrowest(segments), _narrowest(columns)
    if 4 * len(columns) + small_segments.nbytes + small_columns.nbytes + 200 >= weight.nbytes:
        return None, None
    record = schema.SparsityParametersT()
    record.traversalOrder = np.arange(weight.ndim, dtype=np.int32)
    record.blockMap = np.array([], np.int32)
    record.dimMetadata = []
    for size in weight.shape[:-1]:
        dense = schema.DimensionMetadataT()
        dense.format, dense.denseSize = schema.DimensionType.DENSE, int(size)
        record.dimMetadata.append(dense)
    last = schema.DimensionMetadataT()
    last.format, last.denseSize = schema.DimensionType.SPARSE_CSR, 0
    last.arraySegmentsType, last.arraySegments = _vector(small_segments)
    last.arrayIndicesType, last.arrayIndices = _vector(small_columns)
    record.dimMetadata.append(last)
    return record, rows[at, columns]


def _narrowest(numbers: np.ndarray) -> np.ndarray:
    highest = int(numbers.max(initial=0))
    return numbers.astype(np.uint8 if highest < 2**8 else np.uint16 if highest < 2**16 else np.int32)


def _vector(numbers: np.ndarray) -> tuple:
    kind = {np.uint8: "Uint8Vector", np.uint16: "Uint16Vector", np.int32: "Int32Vector"}[numbers.dtype.type]
    made = getattr(schema, f"{kind}T")()
    made.values = numbers
    return getattr(schema.SparseIndexVector, kind), made
