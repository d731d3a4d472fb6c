"""TorchScript: a program with its weights. Taken on the user's own machine only, and only from a list of
operators.
"""

import io
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from engine.errors import BadInput, shortened
from engine.formats.torch import pickle as torch_pickle
from engine.host import is_public
from engine.store import zips as archives

ADVICE = "export the network with `torch.onnx.export(model, example, 'model.onnx', dynamo=False)`."
OPERATORS = set(
    """
_convolution conv2d conv_transpose2d batch_norm layer_norm group_norm instance_norm linear addmm matmul bmm mm
baddbmm
relu relu_ relu6 hardtanh hardtanh_ sigmoid sigmoid_ tanh tanh_ silu silu_ gelu elu elu_ leaky_relu
leaky_relu_ hardswish
hardswish_ hardsigmoid hardsigmoid_ mish mish_ prelu softplus selu softmax log_softmax clamp clamp_ max_pool2d
max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d dropout dropout_ feature_dropout
alpha_dropout
flatten view reshape permute transpose t contiguous squeeze unsqueeze cat chunk split stack select slice
narrow add add_
sub sub_ mul mul_ div div_ rsub neg pow sqrt rsqrt abs exp mean sum max min pad constant_pad_nd size dim len
to
type_as detach clone eq ne lt gt le ge __is__ __isnot__ __not__ is_floating_point format int float bool list
append
unchecked_cast warn floordiv floor_divide upsample_nearest2d upsample_bilinear2d channel_shuffle pixel_shuffle
scaled_dot_product_attention unbind expand expand_as einsum native_batch_norm norm linalg_vector_norm var
tensor
numel item ones_like zeros_like RaiseException
sin cos tan atan log log1p expm1 erf square reciprocal floor ceil round maximum minimum amax amin cumsum
cumprod logsumexp log_sigmoid softsign std var_mean where masked_fill tril triu flip roll swapaxes movedim
pixel_unshuffle affine_grid_generator grid_sampler logical_and logical_or logical_not
__getitem__ __contains__ NumToTensor ScalarImplicit IntImplicit FloatImplicit
device dtype
""".split()
)
CONSTANTS = {
    "float32",
    "float",
    "int64",
    "long",
    "strided",
    "Tensor",
    "nn",
    "jit",
    "device",
    "contiguous_format",
}


def check(path: Path) -> None:
    """Checks the container, what its pickles name and every operator of its code. Raises BadInput."""
    if is_public():
        raise BadInput(f"A TorchScript file is a program, and this public server runs none: {ADVICE}")
    with archives.open_checked(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                _check_pickle(archives.read_entry(archive, name, torch_pickle.MAX_PICKLE))
            elif name.endswith(".py") and "/code/" in f"/{name}":
                _check_code(archives.read_entry(archive, name, 20_000_000).decode("utf-8", "replace"))


def _check_pickle(data: bytes) -> None:
    if any(opcode.name == "STACK_GLOBAL" for opcode, _, _ in torch_pickle.opcodes(io.BytesIO(data))):
        raise BadInput(
            "A pickle of the TorchScript file builds its names as it runs, which PyTorch never does:"
            f" {ADVICE}"
        )
    for name in torch_pickle.globals_of(data):
        if not (
            name.startswith(("__torch__.", "torch._utils._rebuild_", "torch.jit._pickle."))
            or name == "collections.OrderedDict"
            or name.removeprefix("torch.") in torch_pickle.STORAGES
        ):
            raise BadInput(
                f"The TorchScript file asks to load '{name[:80]}', which is on no allow-list: {ADVICE}"
            )


def _check_code(code: str) -> None:
    code = _bare(code)
    if re.search(r"(^|:)[ \t]*(while|for)\b", code, re.M):
        raise BadInput(f"The TorchScript program has loops, which may never end: {ADVICE}")
    if "__setstate__" in code:
        raise BadInput(f"The TorchScript program runs code of its own as it is opened: {ADVICE}")
    if re.search(r"(?<![\w.])(torch|ops|ops\.\w+)(?![\w.])", code):
        raise BadInput(f"The TorchScript program gives torch's operators other names: {ADVICE}")
    used = re.findall(r"(?<![\w.])torch\.(\w+)", code) + re.findall(r"\bops\.(?:aten|prim)\.(\w+)", code)
    for name in re.findall(r"(?<![\w.])ops\.(\w+)", code):
        if name not in ("aten", "prim"):
            raise BadInput(
                f"The TorchScript program uses operators of '{name[:40]}', which are not torch's own:"
                f" {ADVICE}"
            )
    for name in used:
        if name not in OPERATORS and name not in CONSTANTS:
            raise _not_needed(name)


def _bare(code: str) -> str:
    """Returns the program without the insides of its strings and without spaces around dots.

    Raises BadInput for quotes that torch never writes, and that could hide code from the patterns.
    """
    code = re.sub(r'"(?:[^"\\\n]|\\.)*"', "text", code)
    if '"' in code or "'" in code or "#" in code:
        raise BadInput(f"The TorchScript program is not written as torch writes one: {ADVICE}")
    return re.sub(r"\s*\.\s*", ".", code)


def _not_needed(name: str) -> BadInput:
    return BadInput(
        f"The TorchScript program uses torch.{name[:40]}, which is not one of those that Edgewise runs:"
        f" {ADVICE}"
    )


def _check_graph(graph: torch.Graph | torch.Block) -> None:
    """Checks what the program has become once torch has read it, whatever its text looked like."""
    for node in graph.nodes():
        library, _, name = node.kind().partition("::")
        if library not in ("aten", "prim") or name in ("Loop", "fork", "PythonOp", "CallFunction"):
            raise _not_needed(name)
        if library == "aten" and name not in OPERATORS and name.lower() not in OPERATORS:
            raise _not_needed(name)
        for block in node.blocks():
            _check_graph(block)


def load(path: Path) -> torch.jit.ScriptModule:
    """Opens a checked program, on the CPU, in eval mode. Raises BadInput when torch can't, or what it made
    of the text is more than the list allows.
    """
    try:
        script = torch.jit.load(str(path), map_location="cpu").float().eval()
        _check_graph(script.inlined_graph)
        return script
    except BadInput:
        raise
    except Exception as error:  # what C++ throws at damage comes through as any class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BadInput(f"The TorchScript file can't be opened ({shortened(reason, 120)}): {ADVICE}") from None


def image_size(script: nn.Module, channels: int, size: int | None) -> int | None:
    """Returns the side of the square images that the program takes, found by trying; None: none worked."""
    for side in dict.fromkeys(filter(None, (size, 28, 32, 224, 64, 96, 128, 160, 48))):
        try:
            with torch.inference_mode():
                scores = script(torch.zeros(2, channels, side, side))
        except Exception:  # of a wrong size, or of a damaged program
            continue
        if isinstance(scores, torch.Tensor) and scores.ndim == 2:
            return side
    return None


def same_answers(script: nn.Module, network: nn.Module, channels: int, size: int) -> bool:
    """Tells whether a network made of the program's weights gives the program's scores, on random images."""
    images = torch.from_numpy(np.random.default_rng(0).random((4, channels, size, size), np.float32))
    with torch.inference_mode():
        try:
            return torch.allclose(script(images), network(images), rtol=1e-3, atol=1e-4)
        except Exception:  # the program's own, whatever it is
            return False
