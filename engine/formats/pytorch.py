"""PyTorch's formats opened as one kind of thing: an `nn.Module` in eval mode, float32, on the CPU, channels first.

Runs behind the wall. Weights never meet torch.load: torchfile.py reads them without running anything.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from engine.errors import BadInput
from engine.experiment import ModelFile
from engine.formats import architectures, torchfile
from engine.formats import safetensors as safetensors_format

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module", "ema",
            "model_state", "net_state_dict")
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
