"""A SavedModel as a ZIP: its operators are checked one by one, then TensorFlow's converter makes TFLite of
it.

The graph is walked as bare protobuf, so that no TensorFlow is imported for the check; operators that read or
write files (ReadFile, WriteFile, SaveV2 outside the saver) or run code (PyFunc) are on no list.
"""

import math
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import BadInput, shortened
from engine.formats.protobuf import fields, number
from engine.formats.tflite import check as tflite_check
from engine.formats.tflite import open as tflite_open
from engine.store import zips as archives

ADVICE = "save the Keras model itself with `model.save('model.keras')`."
MAX_GRAPH, MAX_OPERATORS, MAX_VALUES = 50_000_000, 200_000, 300_000_000
OPERATORS = set(
    """
Placeholder Const Identity IdentityN NoOp VarHandleOp ReadVariableOp AssignVariableOp VarIsInitializedOp
StatefulPartitionedCall
PartitionedCall Conv2D DepthwiseConv2dNative BiasAdd MatMul BatchMatMulV2 Relu Relu6 LeakyRelu Elu Selu
Sigmoid Tanh Softmax LogSoftmax
Softplus MaxPool AvgPool MaxPoolV2 Mean Sum Max Min Prod Add AddV2 AddN Sub Mul RealDiv DivNoNan Maximum
Minimum Square Sqrt Rsqrt Exp
Log Pow Neg Abs Reshape Squeeze ExpandDims Transpose Pad PadV2 MirrorPad ConcatV2 Pack Unpack Split Shape
StridedSlice Slice GatherV2
Cast FusedBatchNormV3 FusedBatchNormV2 FusedBatchNorm ResizeBilinear ResizeNearestNeighbor SquaredDifference
Erf ZerosLike
OnesLike StopGradient Conv2DBackpropInput SpaceToBatchND BatchToSpaceND ArgMax Equal NotEqual Less Greater
LessEqual GreaterEqual
LogicalAnd LogicalOr LogicalNot Select SelectV2 Rank Size PreventGradient DisableCopyOnRead Clip ClipByValue
Round Floor
SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StringJoin StaticRegexFullMatch
""".split()
)
# of functions that only training calls (dropout, noise, augmentation): they compute, and touch nothing else
TRAINING = set(
    """
RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal StatelessRandomUniformV2
StatelessRandomUniformIntV2 StatelessRandomUniformFullIntV2 StatelessRandomNormalV2
StatelessRandomGetKeyCounter
StatelessRandomGetAlg StatelessRandomGetKeyCounterAlg RngReadAndSkip Bitcast Sin Cos Fill ReverseV2
ImageProjectiveTransformV3 AdjustContrastv2 AdjustHue AdjustSaturation
""".split()
)


def check(path: Path) -> None:
    """Checks the archive, its entries, and every operator of the graph and its functions. Raises BadInput."""
    with archives.open_checked(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        graphs = [name for name in names if re.search(r"(^|/)saved_model\.pb$", name)]
        if len(graphs) != 1:
            raise BadInput(f"The ZIP holds {len(graphs)} SavedModels and one is taken: pack one folder.")
        root = graphs[0].removesuffix("saved_model.pb")
        allowed = re.compile(
            re.escape(root) + r"(saved_model\.pb|keras_metadata\.pb|fingerprint\.pb|variables/checkpoint|"
            r"variables/variables\.(index|data-\d+-of-\d+))$"
        )
        for name in names:
            if not allowed.match(name):
                raise BadInput(
                    f"The SavedModel holds '{name[:60]}', which a classifier does not need: pack the folder"
                    f" without it, or {ADVICE}"
                )
        graph = archives.read_entry(archive, graphs[0], MAX_GRAPH)
    try:
        nodes = list(_nodes(graph))
        used = {
            (name.decode("utf-8", "replace"), inside) for node, inside in nodes for name in fields(node, 2)
        }
        _check_shapes([node for node, _ in nodes])
    except (IndexError, ValueError):
        raise BadInput(f"The graph of the SavedModel is damaged: {ADVICE}") from None
    if not used:
        raise BadInput(f"The SavedModel has no operators: {ADVICE}")
    for name in sorted(n for n, inside in used if n not in OPERATORS and not (inside and n in TRAINING)):
        raise BadInput(
            f"The SavedModel uses the operator '{name[:60]}', which is not on the list of what is opened:"
            f" {ADVICE}"
        )


def to_tflite(path: Path, folder: Path) -> Path:
    """Unpacks a checked SavedModel into `folder` and converts it. Raises BadInput with the converter's
    reason.
    """
    with archives.open_checked(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                target = folder / "model" / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                archives.unpack_entry(archive, entry.filename, target)
    root = next((folder / "model").rglob("saved_model.pb")).parent
    import tensorflow as tf

    try:
        data = tf.lite.TFLiteConverter.from_saved_model(str(root)).convert()
    except Exception as error:  # the converter's classes of errors share no root
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BadInput(
            f"TensorFlow can't convert the SavedModel ({shortened(reason, 140)}): {ADVICE}"
        ) from None
    (folder / "model.tflite").write_bytes(data)
    return folder / "model.tflite"


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list:
    """Returns the one way to open it: as the TFLite file that it becomes."""
    folder = Path(tempfile.mkdtemp())  # in the child's own temporary home, which goes with it
    converted = to_tflite(path, folder)
    tflite_check.check(converted)
    return tflite_open.openings(converted, "tflite", architecture, size)


def _nodes(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yields every node, and whether it stands in a function: SavedModel.meta_graphs[].graph_def.node[] and
    .library.function[].node_def[].
    """
    count = 0
    for meta in fields(data, 2):
        for graph in fields(meta, 2):
            nodes = [(node, False) for node in fields(graph, 1)]
            for library in fields(graph, 2):
                for function in fields(library, 1):
                    nodes += [(node, True) for node in fields(function, 3)]
            for node in nodes:
                count += 1
                if count > MAX_OPERATORS:
                    raise BadInput(
                        f"The SavedModel has more than {MAX_OPERATORS:,} operators: choose a smaller model."
                    )
                yield node


def _check_shapes(nodes: list[bytes]) -> None:
    """Adds up what constants and variables say of their sizes (AttrValue.tensor.tensor_shape and
    AttrValue.shape): a constant may state one number for millions. Raises BadInput."""
    total = 0
    for node in nodes:
        for entry in fields(node, 5):
            for value in fields(entry, 2):
                shapes = [
                    *fields(value, 7),
                    *(shape for tensor in fields(value, 8) for shape in fields(tensor, 2)),
                ]
                for shape in shapes:
                    total += math.prod(max(number(dim, 1), 1) for dim in fields(shape, 2))
    if total > MAX_VALUES:
        raise BadInput(
            f"The constants and variables of the SavedModel hold {total:,} numbers, more than an edge"
            f" device's classifier can have: {ADVICE}"
        )
