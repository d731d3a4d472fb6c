"""TorchScript programs: as the network that their weights fit where it gives the very scores, else by way of
ONNX. Runs behind the wall.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.onnx import network as onnx_network
from engine.formats.onnx.written import why_not_written
from engine.formats.opening import Opening
from engine.formats.torch import architectures, checkpoint, rows
from engine.formats.torch import script as torchscript
from engine.formats.torch.checkpoint import WeightSet
from engine.formats.torch.fill import AS_ONNX
from engine.formats.torch.open import facts_of, first_inputs, opening_of, predict_with, sides
from engine.vocabulary import ModelFile


def _weights_of(script: nn.Module) -> dict[str, np.ndarray]:
    return checkpoint.split({key: value.numpy() for key, value in script.state_dict().items()})[0].weights


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the ways to open a program, several where its input is a row. Raises BadInput where it takes no
    image.
    """
    script = torchscript.load(path)
    weights = _weights_of(script)
    channels = next((value.shape[1] for value in weights.values() if value.ndim == 4), 1)
    for given in dict.fromkeys((channels, 3, 1)):  # what a program cuts up first, it reads in more channels
        side = torchscript.image_size(script, given, size)
        if side is not None:
            return [_opening(script, weights, given, side, "")]
    found = [
        _opening(rows.FRONTS[front][0](script), weights, channels, side, front)
        for front, channels, side in rows.fronts(script, first_inputs(weights), sides(size))
    ]
    if not found:
        raise BadInput(
            f"The TorchScript program takes no square image and gives no row of scores: {torchscript.ADVICE}"
        )
    return found


def _opening(
    network: nn.Module, weights: dict[str, np.ndarray], channels: int, side: int, front: str
) -> Opening:
    """Opens a program, with what stands in front of it; as the network that its weights fit where it gives
    the very scores of one.
    """
    with torch.inference_mode():
        classes = network(torch.zeros(2, channels, side, side)).shape[1]
    for candidate in architectures.candidates(weights, side):
        for name in (candidate.architecture, *architectures.variations(candidate.architecture, weights)):
            if torchscript.same_answers(network, architectures.build(name, weights), channels, side):
                made = replace(candidate, architecture=name, size=side, channels=channels)
                notes = (rows.note(front),) if front else ()
                return opening_of(made, WeightSet("", weights, notes), (), ("", notes))
    warning = "The program's weights fit no network that is known here: only post-training techniques apply."
    why = why_not_written(network, torch.zeros(2, channels, side, side))
    if why:
        warning = f"Nothing can be made of the program here, because {why}: {AS_ONNX}"
    return Opening(
        front or None,
        side,
        side,
        channels,
        classes,
        predict_with(network),
        facts=facts_of(
            weights,
            reach="inspect" if why else "post_training",
            warnings=[warning],
            evidence=[rows.note(front)] if front else [],
        ),
    )


def open_script(path: Path, model: ModelFile) -> nn.Module:
    """Opens a checked program: as the network that its weights fit, else by way of ONNX. Raises BadInput."""
    torchscript.check(path)
    script = torchscript.load(path)
    if model.architecture and model.architecture not in rows.FRONTS:
        return architectures.build(model.architecture, _weights_of(script))
    with tempfile.TemporaryDirectory() as folder:
        return onnx_network.open_model(script_as_onnx(path, model, Path(folder, "script.onnx")), model)


def script_as_onnx(path: Path, model: ModelFile, target: Path) -> Path:
    """Writes a checked TorchScript program as ONNX, its batch free; returns `target`. Raises BadInput when
    torch can't.
    """
    torchscript.check(path)
    height, width, channels = model.input_shape
    try:
        script: nn.Module = torchscript.load(path)
        if model.architecture in rows.FRONTS:
            front = rows.FRONTS[model.architecture][0](script)
            script = torch.jit.trace(front, torch.rand(2, channels, height, width))
        torch.onnx.export(
            script,
            (torch.rand(2, channels, height, width),),
            str(target),
            dynamo=False,
            input_names=["input"],
            output_names=["scores"],
            dynamic_axes={"input": {0: "batch"}, "scores": {0: "batch"}},
        )
    except Exception as error:  # the exporter's many ways to fail each mean the same here
        raise BadInput(
            f"The TorchScript program can't be exported to ONNX ({type(error).__name__}): {AS_ONNX}"
        ) from None
    return target
