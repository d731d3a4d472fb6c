"""Torch networks to float TFLite by LiteRT Torch: converted once, afterwards only the weights are written
anew, of other widths where channels were removed.

The one conversion is done with made-up weights, all different, so that every weight's place in the file is
found by its bytes. The converter takes seconds to import, so only a process that converts does it.
"""

import copy
import hashlib
import json
import re
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from engine.backends.tflite.exported import Exported, Place, found, free_batch, rename, write
from engine.backends.tflite.file import TFLite
from engine.backends.tflite.plain import plain
from engine.backends.tflite.resized import resize
from engine.backends.torch.training import WEIGHTED
from engine.device.model import LiteRT
from engine.errors import EdgewiseError, shortened
from engine.vocabulary import Preprocessing

# what a layer's text says of its widths and its bias
SIZES = re.compile(r"(?<=Conv2d\()\d+, \d+|(in|out)_features=\d+|groups=\d+|, bias=(True|False)")
MOST_DIFFERENCE = 1e-3  # of an answer, relative to the largest: kernels add in another order, no more


def export(folded: nn.Module, preprocessing: Preprocessing, cache: Path) -> Exported:
    """Returns the float TFLite file of a network whose BatchNorm is folded: images channels last in, a batch
    of one.

    Raises EdgewiseError where the converter can't follow the network, or its file answers otherwise.
    """
    channels = 1 if preprocessing.color == "grey" else 3
    example = torch.rand(
        (1, channels, preprocessing.height, preprocessing.width), generator=torch.Generator().manual_seed(0)
    )
    family, widths = _family(folded, example), _widths(folded)
    kept = cache / f"graph-{family}-{widths}.tflite"
    if kept.exists():
        return _filled(kept, folded)
    relatives = sorted(cache.glob(f"graph-{family}-*.tflite"))
    return (relatives and _resized(relatives[0], folded, example)) or _new(folded, example, kept)


def _layers(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: module for name, module in network.named_modules() if isinstance(module, WEIGHTED)}


def _family(network: nn.Module, example: torch.Tensor) -> str:
    """Returns a hash of a network's code and of those values that are not written anew, the same for networks
    whose layers have other values, other widths, or no bias: in the file every layer has one.
    """
    code = network.code if isinstance(network, fx.GraphModule) else ""
    digest = hashlib.sha256(repr((code, SIZES.sub("", str(network)), tuple(example.shape))).encode())
    own = {f"{name}.{which}" for name in _layers(network) for which in ("weight", "bias")}
    for key, value in network.state_dict().items():
        if key not in own:
            digest.update(f"{key} {tuple(value.shape)}".encode() + value.detach().numpy().tobytes())
    return digest.hexdigest()[:24]


def _widths(network: nn.Module) -> str:
    shapes = {name: tuple(module.weight.shape) for name, module in _layers(network).items()}
    return hashlib.sha256(repr(shapes).encode()).hexdigest()[:12]


def _filled(kept: Path, network: nn.Module) -> Exported:
    """Returns a kept file with this network's weights, whose shapes may be others."""
    plan = json.loads(kept.with_suffix(".places.json").read_text())
    places = {name: Place(*row) for name, row in plan.items()}
    file = TFLite.read(kept)
    for name, module in _layers(network).items():
        weight, place = module.weight.detach().numpy(), places[name]
        bias = np.zeros(len(weight), np.float32) if module.bias is None else module.bias.detach().numpy()
        ordered = place.columns_last(weight) if weight.ndim == 2 else stored_order(place.kind, weight)
        write(file, place, ordered, bias if place.bias >= 0 else None)
    return Exported(file, places, {})


def _resized(relative: Path, network: nn.Module, example: torch.Tensor) -> Exported | None:
    """Makes a file of other widths from one that was converted; None where that can't be done. It takes about
    as long as to read it, so it is not kept.
    """
    made = _filled(relative, network)
    try:
        resize(made.file)
        _compare(made.file, network, example)
    except (EdgewiseError, ValueError, RuntimeError):  # NumPy's and LiteRT's words for shapes that don't fit
        return None
    return made


def _new(network: nn.Module, example: torch.Tensor, kept: Path) -> Exported:
    """Converts a network with made-up weights, keeps the file, and returns it with the network's own."""
    made_up = copy.deepcopy(network).eval()
    random = np.random.default_rng(0)
    stored: dict[str, tuple[np.ndarray, ...]] = {}
    for name, module in _layers(made_up).items():
        shape = tuple(module.weight.shape)
        stored[name] = _made_up(random, shape), _made_up(random, shape[:1])
        module.weight, module.bias = (
            nn.Parameter(torch.from_numpy(values), requires_grad=False) for values in stored[name]
        )
    file = TFLite(_converted(made_up, example))
    free_batch(file)
    flattened = plain(file)
    places: dict[str, Place] = {}
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):  # which of the two holds a layer is the converter's choice
        lacking = {name: values for name, values in stored.items() if name not in places}
        places |= found(file, {n: (stored_order(kind, w), b) for n, (w, b) in lacking.items()})
    if missing := [name for name in stored if name not in places]:
        raise EdgewiseError(
            f"the converter to TFLite changed the weights of {', '.join(missing[:3])}, so they can't be"
            " written into the file"
        )
    places = {
        name: replace(place, positions=flattened.get(place.weight, 1)) for name, place in places.items()
    }
    rename(file, places)
    _keep(file, places, kept)
    made = _filled(kept, network)
    try:
        _compare(made.file, network, example)
    except Exception:
        kept.unlink()
        raise
    return made


def _keep(file: TFLite, places: dict[str, Place], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    plan = {name: list(vars(place).values()) for name, place in places.items()}
    target.with_suffix(".places.json").write_text(json.dumps(plan))
    partial = target.with_suffix(".partial")
    partial.write_bytes(file.bytes(compact=False))  # the places refer to the tensors as they are now
    partial.replace(target)


def _made_up(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.uniform(0.05, 0.1, shape).astype(np.float32)


def _converted(network: nn.Module, example: torch.Tensor) -> bytes:
    try:
        import litert_torch
    except ImportError:
        raise EdgewiseError(
            "LiteRT Torch is not installed (`pip install -r requirements/litert.txt`)"
        ) from None
    litert_torch.config.show_progress = False
    try:
        images_last = litert_torch.to_channel_last_io(network, args=[0]).eval()
        made = litert_torch.convert(images_last, (example.permute(0, 2, 3, 1).contiguous(),))
        return bytes(made.model_content())
    except Exception as error:  # of any kind: the converter is a compiler of many passes
        traceback.print_exception(error)
        raise EdgewiseError(
            f"LiteRT Torch can't convert it ({type(error).__name__}: {shortened(error, 120)})"
        ) from None


def _compare(file: TFLite, network: nn.Module, example: torch.Tensor) -> None:
    """Raises EdgewiseError where the file answers otherwise than the network does."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "model.tflite"
        path.write_bytes(file.bytes(compact=False))
        answers = LiteRT(path).predict(example.permute(0, 2, 3, 1).numpy())
        wanted = network(example).flatten(1).numpy()
    most = MOST_DIFFERENCE * np.abs(wanted).max()
    if answers.shape != wanted.shape or np.abs(answers - wanted).max() > most:
        raise EdgewiseError("the file that LiteRT Torch makes of it answers otherwise than the network")


def stored_order(kind: str, weight: np.ndarray) -> np.ndarray:
    """Turns a weight, output channel first, into the order of a TFLite operator."""
    if weight.ndim == 2:
        return weight
    if kind == "DEPTHWISE_CONV_2D":
        return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)[None])
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1))
