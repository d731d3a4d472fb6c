"""Attention as two dense layers, where PyTorch keeps it as one: techniques know layers, and the exporter has
no operator for what it is run with.
"""

import copy
from typing import Any

import torch
from torch import nn

TOLERANCE = 1e-4


class SelfAttention(nn.Module):
    """What `nn.MultiheadAttention` does for a sequence with itself: float32 [n, tokens, width] (tokens first
    where it is not `batch_first`) in, the same and None for the weights out.
    """

    def __init__(self, own: nn.MultiheadAttention):
        super().__init__()
        width, biased = own.embed_dim, own.in_proj_bias is not None
        self.heads, self.batch_first, self.dropout = own.num_heads, own.batch_first, own.dropout
        self.inner, self.outer = nn.Linear(width, 3 * width, biased), nn.Linear(width, width, biased)
        self.inner.weight, self.inner.bias = own.in_proj_weight, own.in_proj_bias
        self.outer.weight, self.outer.bias = own.out_proj.weight, own.out_proj.bias

    def forward(self, query: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        x = query if self.batch_first else query.transpose(0, 1)
        parts = self.inner(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        share = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], dropout_p=share)
        out = self.outer(mixed.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), None


def apart(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Returns the network with its self-attention in layers; itself where there is none, or where the scores
    of the example [n, channels, height, width] would be others.
    """
    attention = {n: m for n, m in network.named_modules() if isinstance(m, nn.MultiheadAttention)}
    if not attention:
        return network
    plain: dict[nn.Module, bool] = {}

    def look(module: nn.Module, given: tuple, named: dict) -> None:
        plain[module] = plain.get(module, True) and _is_of_itself(given, named)

    handles = [m.register_forward_pre_hook(look, with_kwargs=True) for m in attention.values()]
    with torch.inference_mode():
        wanted = network(example)
    for handle in handles:
        handle.remove()
    taken = {name: own for name, own in attention.items() if plain.get(own) and _has_no_more(own)}
    if not taken:
        return network
    made = copy.deepcopy(network)
    for name, own in taken.items():
        made.set_submodule(name, SelfAttention(own).eval())
    try:
        with torch.inference_mode():
            same = torch.allclose(made(example), wanted, rtol=TOLERANCE, atol=TOLERANCE)
    except Exception:  # it reads something of the layer that these two have not
        same = False
    return made if same else network


def _has_no_more(own: nn.MultiheadAttention) -> bool:
    """Tells whether the two layers are all that it has."""
    return own.in_proj_weight is not None and own.bias_k is None and not own.add_zero_attn


def _is_of_itself(given: tuple, named: dict) -> bool:
    words = ("query", "key", "value")
    called = dict(zip(words, given, strict=False)) | named
    masked = any(called.get(word) is not None for word in ("key_padding_mask", "attn_mask"))
    query = called["query"]
    one = all(called.get(word) is query for word in words)
    return one and query.dim() == 3 and not masked and len(given) <= len(words)
