"""A checked file opened as a plain ONNX graph, for what works on the graph itself. Runs behind the wall."""

import tempfile
from pathlib import Path

import onnx

from engine.formats.onnx.plain import plain
from engine.formats.onnx.usual import prepared
from engine.formats.unchanged import unchanged
from engine.vocabulary import ModelFile


def open_plain(model: ModelFile) -> onnx.ModelProto:
    """Opens an ONNX file, or a TorchScript program exported to ONNX: `input` to `logits`, as
    formats/onnx/plain.py has it.

    Raises BadInput when the file was changed since it was checked, or the graph can't be run.
    """
    path = unchanged(model)
    if model.format == "torchscript":
        from engine.formats.torch.open_script import script_as_onnx

        with tempfile.TemporaryDirectory() as folder:
            return plain(*prepared(script_as_onnx(path, model, Path(folder, "script.onnx")), model))
    return plain(*prepared(path, model))
