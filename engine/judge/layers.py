"""What each layer of a variant is and costs, beside what it was in the baseline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.vocabulary import LayerSensitivity
from estimator.memory import BITS
from estimator.types import Layer, LayerCost, Profile

FUSED = "nothing"  # as the estimator calls what costs no time of its own


@dataclass(frozen=True)
class LayerRow:
    """One layer of a variant; what ends in `_before` is the baseline's, None where it has no such layer.

    Attributes:
        name, op: As in the variant's file.
        bytes, parameters, macs: Of its weights and its work for one image.
        bits, channels: Of a stored weight; of what it gives. None where it has none.
        ms, low_ms, high_ms: Its part of the predicted latency; None where nothing is predicted.
        bound: What most of its time is for: compute, memory, overhead, or nothing.
        sensitivity: Accuracy lost on validation images, in pp, when it alone is changed, by change.
    """

    name: str
    op: str
    bytes: int
    parameters: int
    macs: int
    bits: int | None
    channels: int | None
    ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    bound: str = FUSED
    bytes_before: int | None = None
    macs_before: int | None = None
    bits_before: int | None = None
    channels_before: int | None = None
    ms_before: float | None = None
    sensitivity: dict[str, float] = field(default_factory=dict)


def layer_map(
    ours: Profile,
    theirs: Profile,
    our_costs: Sequence[LayerCost],
    their_costs: Sequence[LayerCost],
    sensitivity: Sequence[LayerSensitivity] = (),
) -> list[LayerRow]:
    """Returns the layers of a variant (`ours`) in execution order beside those of the baseline (`theirs`),
    then what an inference costs by itself, where that is predicted.
    """
    pairs = matched(ours, theirs)
    costs, before = ({cost.name: cost for cost in found} for found in (our_costs, their_costs))
    losses: dict[str, dict[str, float]] = defaultdict(dict)
    for row in sensitivity:
        losses[row.layer][row.change] = row.accuracy_drop_pp
    rows = []
    for layer in ours.layers:
        other, cost = pairs.get(layer.name), costs.get(layer.name)
        was = before.get(other.name) if other else None
        rows.append(
            LayerRow(
                name=layer.name,
                op=layer.op,
                bytes=layer.weight_bytes,
                parameters=layer.parameters,
                macs=layer.macs,
                bits=_bits(layer),
                channels=_channels(layer, ours.format),
                ms=cost.ms if cost else None,
                low_ms=cost.low_ms if cost else None,
                high_ms=cost.high_ms if cost else None,
                bound=cost.bound if cost else FUSED,
                bytes_before=other.weight_bytes if other else None,
                macs_before=other.macs if other else None,
                bits_before=_bits(other) if other else None,
                channels_before=_channels(other, theirs.format) if other else None,
                ms_before=was.ms if was else None,
                sensitivity=losses.get(_known_as(layer.name, losses) or "", {}),
            )
        )
    for cost in our_costs:
        if not cost.op:  # no layer: what an inference costs whatever it holds
            was = before.get(cost.name)
            ends = (cost.ms, cost.low_ms, cost.high_ms, cost.bound)
            rows.append(
                LayerRow(cost.name, "", 0, 0, 0, None, None, *ends, ms_before=was.ms if was else None)
            )
    return rows


def matched(ours: Profile, theirs: Profile) -> dict[str, Layer]:
    """Returns the baseline's layer of each of a variant's, by the variant's names: the one of the same name
    and family; of layers with weights, where as many are left in both, the one in the same place.
    """
    by_name = {layer.name: layer for layer in theirs.layers}
    found = {
        layer.name: other
        for layer in ours.layers
        if (other := by_name.get(layer.name)) is not None and bool(other.macs) == bool(layer.macs)
    }
    taken = {other.name for other in found.values()}
    left = [layer for layer in ours.layers if layer.macs and layer.name not in found]
    others = [layer for layer in theirs.layers if layer.macs and layer.name not in taken]
    if [layer.kind for layer in left] == [layer.kind for layer in others]:
        found |= {layer.name: other for layer, other in zip(left, others, strict=True)}
    return found


def _bits(layer: Layer) -> int | None:
    return BITS[layer.precision] if layer.parameters else None


def _channels(layer: Layer, format: str) -> int | None:
    """Returns how many channels a layer with weights gives; they come first in ONNX and last in TFLite."""
    shape = layer.output_shape
    if not layer.macs or len(shape) < 2:
        return None
    return shape[1] if format == "onnx" and len(shape) == 4 else shape[-1]


def _known_as(name: str, framework_names: dict[str, dict[str, float]]) -> str | None:
    """Returns what the framework calls the layer that became an operator: `features.0` of
    `/features/0/Conv`; the longest where several fit.
    """
    place = f"/{name.strip('/')}/".replace(".", "/")
    fits = [known for known in framework_names if f"/{known.replace('.', '/')}/" in place]
    return max(fits, key=len, default=None)
