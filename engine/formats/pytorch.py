"""PyTorch's formats opened as one kind of thing: an `nn.Module` in eval mode, float32, on the CPU, channels first.

Runs behind the wall. Weights never meet torch.load: torchfile.py reads them without running anything.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput
from engine.experiment import ModelFile
from engine.formats import architectures, torchfile
from engine.formats import safetensors as safetensors_format
from engine.formats.architectures import Candidate
from engine.formats.preprocessing import Opening

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module", "ema",
            "model_state", "net_state_dict")
AS_ONNX = "export the whole network with `torch.onnx.export(model.eval(), example, 'model.onnx', external_data=False)`."
NOT_CLASSIFIERS = (
    (r"rpn\.|roi_heads|bbox|anchor|detect|yolo", "an object detector"),
    (r"embed_tokens|token_embd|word_embeddings|lm_head|wte\.|self_attn\.q_proj", "a language model"),
    (r"weight_ih_l0|weight_hh_l0|lstm|gru\.", "a recurrent network for text or series"),
    (r"decoder|up\d|upconv|segmentation|aux_classifier", "a segmentation network or an autoencoder"),
    (r"mel|wav2vec|spectro", "a network for sound"))
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "_model.")


def open_network(model: ModelFile) -> nn.Module:
    """Opens a checked model file: float32 [n, channels, height, width] in, [n, classes] out.

    Raises BadInput when the file was changed since it was checked, or no longer fits its architecture.
    """
    path = Path(model.path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != model.sha256:
        raise BadInput(f"The file of {model.name} was changed since it was checked: add it again.")
    if model.format in ("safetensors", "state_dict"):
        return architectures.build(model.architecture or "", read_weights(path, model.format))
    raise BadInput(f"A file of format {model.format} is no PyTorch model: open it with the Keras backend.")


def openings(path: Path, format: str, architecture: str | None, size: int | None) -> list[Opening]:
    """Returns the ways to open a PyTorch file: one, or one for each network that its bare weights fit.

    `size` is the side in pixels of the data set's images. Raises BadInput when nothing fits.
    """
    weights = read_weights(path, format)
    if architecture:
        network = architectures.build(architecture, weights)
        found = [c for c in architectures.candidates(weights, size) if c.architecture == architecture]
        if found or not architecture.startswith("chain:"):
            return [_opening(found[0], weights, network)] if found else []
    found = architectures.candidates(weights, size)
    if not found:
        raise unmatched(weights)
    return [_opening(candidate, weights) for candidate in found]


def _opening(candidate: Candidate, weights: Mapping[str, np.ndarray]) -> Opening:
    network: list[nn.Module] = []

    def predict(x: np.ndarray) -> np.ndarray:
        if not network:
            network.append(architectures.build(candidate.architecture, weights))
        with torch.inference_mode():
            return network[0](torch.from_numpy(x)).numpy()

    def variations() -> list[Opening]:
        return [_opening(replace(candidate, architecture=name), weights)
                for name in architectures.variations(candidate.architecture)]

    return Opening(candidate.architecture, candidate.size, candidate.size, candidate.channels, candidate.classes, predict,
                   variations=variations, facts={
                       "framework": "pytorch", "layers": sum(value.ndim in (2, 4) for value in weights.values()),
                       "parameters": sum(value.size for key, value in weights.items() if "running_" not in key)})


def unmatched(weights: Mapping[str, np.ndarray]) -> BadInput:
    """Returns the refusal of weights that fit no known network, saying what they look like."""
    names = " ".join(weights).lower()
    for words, kind in NOT_CLASSIFIERS:
        if re.search(words, names):
            return BadInput(f"The weights look like those of {kind}, and Edgewise fits image classifiers: {AS_ONNX}")
    if any(value.ndim == 3 for value in weights.values()):
        return BadInput(f"The weights have one-dimensional convolutions, as for sound or series, not images: {AS_ONNX}")
    first = ", ".join(list(weights)[:3])
    return BadInput(f"The weights fit no network that is known here (they begin with {first[:120]}): choose the architecture "
                    f"by hand, or {AS_ONNX}")


def read_weights(path: Path, format: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a safetensors file or state dict: float32 (integers as they are), without wrappers,
    common prefixes or "num_batches_tracked". Raises BadInput when there are none."""
    if format == "safetensors":
        safetensors_format.check(path)
        from safetensors.torch import load_file

        loaded = {name: value.float().numpy() if value.is_floating_point() else value.numpy()
                  for name, value in load_file(path).items()}
        return clean(loaded)
    return clean({name: tensor.array() for name, tensor in find_state(torchfile.read(path).value).items()})


def find_state(value: Any) -> Mapping[str, torchfile.Tensor]:
    """Returns the state dict inside a checkpoint. Raises BadInput when there is none."""
    for _ in range(4):
        if not isinstance(value, dict):
            break
        tensors = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, torchfile.Tensor)}
        if tensors and len(tensors) >= len(value) / 2:
            return tensors
        inner = [value[key] for key in WRAPPERS if isinstance(value.get(key), dict | torchfile.Record)]
        if not inner:
            break
        value = inner[0]
    raise BadInput("The file holds no weights that could be found: save them with "
                   f"{torchfile.SAVE_WEIGHTS} and upload that file.")


def clean(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drops counters and the prefixes that wrappers such as DataParallel put before every name."""
    tensors = {key: value for key, value in tensors.items() if not key.endswith(("num_batches_tracked", "total_ops", "total_params"))}
    while prefix := next((p for p in PREFIXES if tensors and all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    for key, value in tensors.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadInput(f"The weights of '{key[:60]}' hold values that are not finite: train or save the model again.")
    return tensors
