"""PyTorch's formats opened as one kind of thing: an `nn.Module` in eval mode, float32, on the CPU, channels
first.

Runs behind the wall. Weights never meet torch.load: torchfile.py reads them without running anything.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.formats.opening import Opening
from engine.formats.torch import architectures, checkpoint, norms, rows
from engine.formats.torch import check as torchfile
from engine.formats.torch import modules as torch_modules
from engine.formats.torch import pickle as torch_pickle
from engine.formats.torch import safetensors as safetensors_format
from engine.formats.torch.checkpoint import WeightSet
from engine.formats.torch.fill import AS_ONNX
from engine.formats.torch.name import Candidate
from engine.vocabulary import ModelFile

LEFT_OPEN = "how its layers are connected (strides, pooling, shortcuts, activations)"
USUAL_SIDES = (64, 32, 28, 96, 128, 224)  # tried on pictures where a file knows no image size
NOT_CLASSIFIERS = (
    (r"rpn\.|roi_heads|bbox|anchor|detect|yolo", "an object detector"),
    (r"embed_tokens|token_embd|word_embeddings|lm_head|wte\.|self_attn\.q_proj", "a language model"),
    (r"weight_ih_l0|weight_hh_l0|lstm|gru\.", "a recurrent network for text or series"),
    (r"decoder|up\d|upconv|segmentation|aux_classifier", "a segmentation network or an autoencoder"),
    (r"(^|[ ._])mel[._]|wav2vec|spectrogram", "a network for sound"),
)


def open_weights(path: Path, model: ModelFile) -> nn.Module:
    """Builds the network that bare weights belong to. Raises BadInput where they no longer fit it."""
    return _build(model.architecture or "", read_sets(path, model.format))


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the ways to open a PyTorch file: one, or one for each network that its bare weights fit.

    `size` is the side in pixels of the data set's images. Raises BadInput when nothing fits.
    """
    stated = safetensors_format.stated_size(path) if format == "safetensors" else None
    size = stated[0] if stated else size
    if format == "torch_module":
        found = _module_openings(path, architecture, size)
        if found:
            return found
    sets = read_sets(path, format)
    sizes = [] if stated else [(side, side) for side in other_sizes(size)]
    found = []
    for one in sets:
        fitting = _fitting(one, sets, architecture, size)
        guess = LEFT_OPEN if any(set(c.architecture) & {",", ":"} for c in fitting) else ""
        ending, notes = _which(one, sets)
        if first_inputs(one.weights) and guess:
            notes = (
                *notes,
                "Each picture is flattened into one row of numbers in front of the dense layers.",
            )
        found += [opening_of(candidate, one, sizes, (ending, notes), guess) for candidate in fitting]
    if not found:
        raise unmatched(sets[0].weights)
    return found


def _fitting(
    one: WeightSet, sets: Sequence[WeightSet], architecture: str | None, size: int | None
) -> list[Candidate]:
    """Returns the networks that one set of weights fits: those found, or the one that was named."""
    if architecture is None:
        return architectures.candidates(one.weights, size)
    name, chosen = checkpoint.chosen(architecture, sets)
    if chosen is not one:
        return []
    name = architectures.full_name(name)
    architectures.build(name, one.weights)  # says why when it doesn't fit
    fitting = [c for c in architectures.candidates(one.weights, size) if c.architecture == name]
    return fitting or architectures.named(name, one.weights, size)


def _which(one: WeightSet, sets: Sequence[WeightSet]) -> tuple[str, tuple[str, ...]]:
    """Returns what stands behind the network's name to choose this set, and what to say of it."""
    if len(sets) == 1:
        return "", one.notes
    names = " and ".join(other.name for other in sets)
    return (
        f",weights={one.name}",
        (*one.notes, f"The file holds {len(sets)} sets of weights, {names}: {one.name} was taken."),
    )


def _build(architecture: str, sets: Sequence[WeightSet]) -> nn.Module:
    name, one = checkpoint.chosen(architecture, sets)
    return architectures.build(name, one.weights)


def other_sizes(size: int | None) -> list[int]:
    """Returns the usual sides of images that are worth a trial where neither file nor pictures settle it."""
    return [side for side in USUAL_SIDES if side != size]


def facts_of(weights: Mapping[str, Any], **more: Any) -> dict:
    return {
        "layers": sum(len(value.shape) in (2, 4) for value in weights.values()),
        "parameters": int(
            sum(
                np.prod(value.shape)
                for key, value in weights.items()
                if "running_" not in key and not key.endswith("num_batches_tracked")
            )
        ),
        **more,
    }


def _module_openings(path: Path, architecture: str | None, size: int | None) -> list[Opening]:
    """Opens a pickled module of known classes, or of a user's class whose layers run in their order."""
    record = torch_modules.find(torchfile.read(path).value)
    known = torch_modules.is_known(record) and not record.kind.endswith(("ModuleList", "ModuleDict"))
    network = torch_modules.rebuild(record) if known else torch_modules.rebuild_in_order(record)
    one = WeightSet("", _weights_of(record))
    fits_known = [] if known else architectures.candidates(one.weights, size)
    if (
        network is None
        or architecture not in (None, torch_modules.IN_ORDER, *rows.FRONTS)
        or (fits_known and not fits_known[0].architecture.startswith("chain:"))
    ):
        return []
    kind, of_torchvision = record.kind, torch_modules.of_torchvision(record)
    del record  # the network has weights of its own by now
    try:
        front, side, channels, classes = _try_sizes(network, size or (224 if of_torchvision else None))
    except BadInput:
        if fits_known:  # not in the order of registration, perhaps in another
            return []
        raise
    facts = facts_of(
        network.state_dict(),
        open_size=True,
        of_torchvision=of_torchvision,
        strangeness=lambda x: norms.strangeness(network, x),
    )
    if known and front:
        fitting = ("as_row", "as_row_of_pixels") if channels == 3 else (front,)
        return [_fronted(network, name, channels, side, classes, facts) for name in fitting]
    if not known:
        facts |= {
            "warnings": [
                f"The code of the class '{kind[:80]}' is not in the file: its layers are run in the order "
                "in which they were registered."
            ],
            "guess": f"how the class '{kind[:80]}' runs its layers",
        }
    opening = Opening(
        None if known else torch_modules.IN_ORDER,
        side,
        side,
        channels,
        classes,
        predict_with(network),
        sizes=lambda: at_sizes(opening, [(other, other) for other in other_sizes(side)], network),
        facts=facts,
    )
    if architecture or known:
        return [opening]
    return [opening, *(opening_of(candidate, one, (), ("", ()), LEFT_OPEN) for candidate in fits_known)]


def _fronted(network: nn.Module, front: str, channels: int, side: int, classes: int, facts: dict) -> Opening:
    made = rows.FRONTS[front][0](network)
    facts = {**facts, "evidence": [rows.note(front)], "open_size": False}
    return Opening(front, side, side, channels, classes, predict_with(made), facts=facts)


def open_module(path: Path, model: ModelFile) -> nn.Module:
    """Rebuilds a checked whole module from its layers. Raises BadInput where they can't be run."""
    record, architecture = torch_modules.find(torchfile.read(path).value), model.architecture
    if architecture == torch_modules.IN_ORDER:
        network = torch_modules.rebuild_in_order(record)
        if network is None:
            raise BadInput(
                f"The layers can't be run in their order: save the weights with {torch_pickle.SAVE_WEIGHTS}."
            )
        return network
    if architecture in rows.FRONTS:
        return rows.FRONTS[architecture][0](torch_modules.rebuild(record))
    if architecture:
        return architectures.build(architecture, _weights_of(record))
    return torch_modules.rebuild(record)


def _weights_of(record: torch_pickle.Record) -> dict[str, np.ndarray]:
    return checkpoint.split(torch_modules.state_of(record))[0].weights


def first_inputs(weights: Mapping[str, Any]) -> int | None:
    """Returns how many numbers the first dense layer takes; None where there are convolutions too."""
    if any(len(value.shape) == 4 for value in weights.values()):
        return None
    return next((int(value.shape[1]) for value in weights.values() if len(value.shape) == 2), None)


def sides(size: int | None) -> list[int]:
    return list(dict.fromkeys(filter(None, (size, *torch_modules.SIDES))))


def _try_sizes(network: nn.Module, size: int | None) -> tuple[str, int, int, int]:
    """Returns the front ("" for none), side, channels and classes of a network, found by running it. Raises
    BadInput when no image fits.
    """
    stem = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    for side in dict.fromkeys(filter(None, (size, *torch_modules.SIDES))):
        for channels in (stem.in_channels,) if stem else (1, 3):
            try:
                torch_modules.check_growth(network, channels, side)
                with torch.inference_mode():
                    scores = network(torch.zeros(1, channels, side, side))
            except BadInput:
                raise
            except Exception:  # a user's own layers may object to a wrong size in any way
                continue
            if isinstance(scores, torch.Tensor) and scores.ndim == 2:
                return "", side, channels, scores.shape[1]
    inputs = first_inputs(dict(network.named_parameters()))
    for front, channels, side in rows.fronts(network, inputs, sides(size)):
        with torch.inference_mode():
            scores = rows.FRONTS[front][0](network)(torch.zeros(1, channels, side, side))
        return front, side, channels, scores.shape[1]
    raise BadInput(
        "The network takes no square image of a usual size or gives no row of scores, so it is no image "
        f"classifier that is known here: {AS_ONNX}"
    )


def predict_with(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(x)).numpy()

    return predict


def opening_of(
    candidate: Candidate,
    one: WeightSet,
    sizes: Sequence[tuple[int, int]] = (),
    which: tuple[str, tuple[str, ...]] = ("", ()),
    guess: str = "",
) -> Opening:
    """Returns a network with these weights as an opening; its variations leave open what the weights do.

    sizes: Of images (height, width) that are worth a trial. which: the end of its name, and what to say.
    guess: what the weights leave open.
    """
    network: list[nn.Module] = []
    ending, notes = which

    def made() -> nn.Module:
        if not network:
            network.append(architectures.build(candidate.architecture, one.weights))
        return network[0]

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return made()(torch.from_numpy(x)).numpy()

    def strangeness(x: np.ndarray) -> list[float]:
        return norms.strangeness(made(), x)

    def variations() -> list[Opening]:
        return [
            opening_of(replace(candidate, architecture=name), one, (), which, guess)
            for name in architectures.variations(candidate.architecture, one.weights)
        ]

    opening = Opening(
        candidate.architecture + ending,
        candidate.size,
        candidate.size,
        candidate.channels,
        candidate.classes,
        predict,
        variations=variations,
        sizes=lambda: at_sizes(opening, sizes, made()) if sizes else [],
        facts=facts_of(
            one.weights,
            evidence=list(notes),
            guess=guess,
            open_size=bool(sizes),
            strangeness=strangeness,
        ),
    )
    return opening


def at_sizes(opening: Opening, sizes: Sequence[tuple[int, int]], network: nn.Module) -> list[Opening]:
    """Returns an opening at other image sizes (height, width): those at which its network runs at all."""
    found = []
    for height, width in sizes:
        try:
            torch_modules.check_growth(network, opening.channels, height, width)
        except Exception:  # a network may object to a size in any way
            continue
        found.append(replace(opening, height=height, width=width, variations=tuple, sizes=tuple))
    return found


def unmatched(weights: Mapping[str, np.ndarray]) -> BadInput:
    """Returns the refusal of weights that fit no known network, saying what they look like."""
    names = " ".join(weights).lower()
    # a vision transformer has the names of a language model
    sees = re.search(r"patch|pixel|vision|(^|[ ._])vit|conv_proj", names)
    for words, kind in NOT_CLASSIFIERS:
        if re.search(words, names) and not (sees and kind == "a language model"):
            return BadInput(
                f"The weights look like those of {kind}, and Edgewise fits image classifiers: {AS_ONNX}"
            )
    if not sees and any(value.ndim == 3 and key.endswith("weight") for key, value in weights.items()):
        return BadInput(
            f"The weights have one-dimensional convolutions, as for sound or series, not images: {AS_ONNX}"
        )
    first = ", ".join(name for name in list(weights)[:3] if len(name) <= 60) or "long names"
    return BadInput(
        f"The weights fit no network that is known here (they begin with {first}): name the architecture"
        f" (--architecture NAME, or the field of the page), or {AS_ONNX}"
    )


def read_weights(path: Path, format: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a file's first set of weights; see `read_sets`."""
    return read_sets(path, format)[0].weights


def read_sets(path: Path, format: str) -> list[WeightSet]:
    """Returns the sets of weights in a safetensors file, state dict or module: float32 (integers as they
    are). Raises BadInput when there are none.
    """
    if format == "safetensors":
        safetensors_format.check(path)
        from safetensors.torch import load_file

        return checkpoint.named(
            checkpoint.split(
                {
                    name: value.float().numpy() if value.is_floating_point() else value.numpy()
                    for name, value in load_file(path).items()
                }
            )
        )
    value = torchfile.read(path).value
    if format == "torch_module":
        return [WeightSet("", _weights_of(torch_modules.find(value)))]
    return checkpoint.sets_in(value)
