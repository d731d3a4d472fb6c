"""ONNX: graphs of any exporter, opened in PyTorch where that can follow them."""

from engine.formats.format import Format, Kind, Start
from engine.formats.protobuf import top_fields

FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}  # of ModelProto


def recognise(start: Start) -> str | None:
    """Returns "onnx" for a message with a graph; ONNX has no mark of its own."""
    fields = top_fields(start.path)
    return "onnx" if fields.get(7) == 2 and fields.get(1, 0) == 0 and set(fields) <= FIELDS else None


FORMAT = Format(
    "onnx",
    "ONNX",
    {
        "onnx": Kind(
            "ONNX",
            "pytorch",
            "engine.formats.onnx.check:check",
            "engine.formats.onnx.network:openings",
            "engine.formats.onnx.network:open_model",
        )
    },
    recognise,
)
