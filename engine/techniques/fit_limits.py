"""Fits a network to the run's limits on its device: channels go where most predicted milliseconds (or bytes)
are saved for least accuracy, then bits are chosen, and what is left is trained.

Yang et al., "NetAdapt" (arXiv 1804.03230), with the estimator's cost of each layer in the place of a table of
measured ones. Without limits it aims at half of the time that the network is predicted.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from engine.backends.protocol import Facts, Network, QuantSpec
from engine.judge.limits import LIMITS
from engine.techniques import prune_structured, ptq_int8, qat_int8
from engine.techniques.job import NotApplicable
from engine.techniques.shared.allocation import Group, fitted
from engine.techniques.shared.mixing import keeps, least_accuracy
from engine.techniques.shared.pricing import COSTS, MACS, Priced, groups_of, price, priced, ratios_of
from engine.techniques.technique import Technique
from engine.techniques.workbench import Making, Workbench

HALF = 0.5  # of what the network is predicted at: the aim where no limit asks for less
MILDER = 0.7  # the second aim, where half of it loses more than the tolerance
TIGHT = 0.75  # of each limit: predictions are off by more than that now and then
SHARE = 1 / 3  # of the technique's time, for each variant
FLOAT_SHARE = 0.6  # of a variant's training, before rounding is simulated
Bits = Literal["int8", "float32"]


@dataclass(frozen=True)
class Aim:
    """What figures are to come to, by the limit's name, and why these; the run's own limits among them, and
    whether they are all that is aimed at.
    """

    figures: dict[str, float]
    why: str
    limits: dict[str, float]
    is_asked: bool

    def over(self, found: Priced) -> float:
        """Returns the worst figure as a share of what it is to come to; 1 or less keeps the aim, infinity
        where one is not known.
        """
        return max(known(found, name) / most for name, most in self.figures.items())

    def times(self, share: float) -> "Aim":
        """Returns an aim of this share of each figure, a limit at most."""
        figures = {n: min(share * most, self.limits.get(n, np.inf)) for n, most in self.figures.items()}
        return replace(self, figures=figures)


def known(found: Priced, name: str) -> float:
    """Returns a figure, infinity where it is not known: what can't be predicted keeps no limit."""
    figure = found.figure(name)
    return np.inf if figure is None else figure


class Fitting:
    """What the technique's variants share, each found out when it is first asked for."""

    def __init__(self, bench: Workbench):
        self.bench = bench
        self._bases: dict[Bits, Priced] = {}

    def base(self, bits: Bits) -> Priced:
        """Returns what the uploaded network costs in these bits."""
        if bits not in self._bases:
            self._bases[bits] = price(self.bench, self.bench.network(), self.spec(bits))
        return self._bases[bits]

    def spec(self, bits: Bits) -> QuantSpec | None:
        """Returns how a network of these bits is written."""
        reduced = self.bench.needs_7_bits
        return QuantSpec("static_int8", reduced_range=reduced) if bits == "int8" else None

    @cached_property
    def groups(self) -> list[Group]:
        """The channels that go together."""
        return groups_of(self.bench)

    @cached_property
    def aim(self) -> Aim:
        """The run's limits on cost, where the uploaded network breaks one; else half of its time."""
        bits: Bits = "float32" if self.base("float32").figure("max_latency_ms") else "int8"
        base, limits = self.base(bits), self.bench.job.constraints.set_limits()
        kept = {n: limits[n] for n in COSTS if limits.get(n) and base.figure(n) is not None}
        asked = Aim(kept, "The run's limits, which the model as it was given breaks.", kept, True)
        if kept and asked.over(base) > 1:
            return asked
        met = "The model keeps the limits as it is, so more is aimed at. " if kept else ""
        if time := base.figure("max_latency_ms"):
            half, why = {"max_latency_ms": HALF * time}, "Half of the model's predicted time is aimed at."
        else:
            half = {MACS: HALF * (base.figure(MACS) or 1.0)}
            why = f"{base.estimate.why.rstrip('.')}: half of the model's MACs is aimed at."
        return Aim(kept | half, met + why, kept, False)

    def cheaper(self) -> Bits:
        """Returns the bits in which the uploaded network comes nearer to the aim."""
        return "int8" if self.gains() else "float32"

    def gains(self) -> bool:
        """Tells whether the network comes nearer to the aim in INT8 than in float on this device."""
        return MACS in self.aim.figures or self.aim.over(self.base("int8")) < self.aim.over(
            self.base("float32")
        )


def run(bench: Workbench) -> None:
    """Makes a variant in INT8, one in float, and one with room to the limits in the cheaper of the two."""
    fitting = Fitting(bench)
    for name, share in (("int8", 1.0), ("float", 1.0), ("tight", TIGHT)):
        with bench.variant(f"fit_limits@{name}") as making:
            making.progress(0.02, "predicting what layers cost")
            bits: Bits = fitting.cheaper() if name == "tight" else "int8" if name == "int8" else "float32"
            if name == "int8" and not fitting.gains():
                raise NotApplicable("INT8 is predicted to gain nothing on this device")
            if np.isinf(fitting.aim.over(fitting.base(bits))):
                why = fitting.base(bits).estimate.why.rstrip(".")
                raise NotApplicable(f"in {bits} it can't be predicted here: {why}")
            _make(bench, making, fitting, fitting.aim.times(share), bits)


def _make(bench: Workbench, making: Making, fitting: Fitting, aim: Aim, bits: Bits) -> None:
    """Fits, trains and writes one variant; to a milder aim where nobody asked for this one and it costs too
    much.
    """
    wanted = least_accuracy(bench)
    network = _narrowed(bench, making, fitting, aim, bits)
    reached = _accuracy(bench, network)
    if not aim.is_asked and not keeps(reached, wanted) and bench.has_time():
        making.step(
            "step_back",
            "Nobody asked for this little, and it lost more than the tolerance.",
            validation_accuracy=round(reached or 0.0, 5),
            tolerance=bench.job.tolerance,
        )
        aim = aim.times(MILDER / HALF)
        network = _narrowed(bench, making, fitting, aim, bits)
    if bits == "int8":
        network, spec = _in_int8(bench, making, fitting, network, aim)
    else:
        spec = None
    path = making.export(network, spec)
    found = priced(bench, path)
    if aim.over(found) > 1:
        raise NotApplicable(f"its file is predicted above the aim: {_said(aim, found)}")
    making.note(f"{aim.why} Predicted: {_said(aim, found)}.")
    if not keeps(making.validation, wanted) and wanted is not None:
        making.note(
            f"It loses {100 * (wanted[0] - (making.validation or 0.0)):.2f} pp of the validation images, more"
            f" than the {100 * bench.job.tolerance:.2f} pp that may be lost."
        )


def _narrowed(bench: Workbench, making: Making, fitting: Fitting, aim: Aim, bits: Bits) -> Network:
    """Returns the network with as many channels gone as the aim asks for, trained in float. Raises
    NotApplicable, with what was reached, where that is not enough.
    """
    base, spec, groups = fitting.base(bits), fitting.spec(bits), fitting.groups
    was = {name: known(base, name) for name in aim.figures}
    layers, multiple = bench.facts.layers, bench.job.channel_multiple

    def predicted(gone: np.ndarray) -> dict[str, float]:
        making.progress(0.1, f"predicting with up to {gone.max(initial=0.0):.0%} of the channels gone")
        left = bench.network()
        if gone.any():
            left = bench.backend.remove_channels(left, ratios_of(groups, gone), "l2", None, 0, multiple)
        cost = price(bench, left, spec)
        return {name: known(cost, name) / value for name, value in was.items()}

    gone, is_met = fitted(
        groups,
        {name: base.shares(name, layers) for name in was},
        {name: aim.figures[name] / value for name, value in was.items()},
        predicted,
        bench.has_time,
    )
    making.step(
        "fit",
        "Channels go where most of what is over the aim is saved for the least loss, layer by layer.",
        bits=bits,
        aim={name: round(value, 6) for name, value in aim.figures.items()},
        was={name: round(value, 6) for name, value in was.items()},
        is_met=is_met,
    )
    if not gone.any():
        if not is_met:
            raise NotApplicable(
                f"the limits can't be met: it is predicted at {_said(aim, base)}, and no channel can go"
            )
        return bench.network()
    network = _cut_and_trained(bench, making, ratios_of(groups, gone), bits)
    if not is_met:
        found = price(bench, network, spec)
        raise NotApplicable(
            f"the limits can't be met: with all channels gone that were found to go, in {bits}, it is"
            f" predicted at {_said(aim, found)} and gets {_accuracy(bench, network):.1%} of the validation"
            " images right"
        )
    return network


def _cut_and_trained(bench: Workbench, making: Making, ratios: dict[str, float], bits: Bits) -> Network:
    prune_structured.record(bench, making, ratios, "taylor")
    network = prune_structured.removed(bench, bench.network(), ratios, "taylor", making.seed)
    return making.train(
        network,
        SHARE * (FLOAT_SHARE if bits == "int8" else 1.0),
        "The channels that are left make up for those that went.",
        prune_structured.learning_rate(bench, network),
        teacher=bench.network(),
        mix=0.5,
    ).network


def _in_int8(
    bench: Workbench, making: Making, fitting: Fitting, network: Network, aim: Aim
) -> tuple[Network, QuantSpec]:
    """Returns what is written in INT8, and how: with layers in float where INT8 throughout loses more than
    the tolerance, that helps, and the aim allows it.
    """
    plain, wanted = fitting.spec("int8"), least_accuracy(bench)
    assert plain is not None
    trained = making.train(
        network,
        SHARE * (1 - FLOAT_SHARE),
        "Weights and activations learn with 8-bit rounding simulated.",
        qat_int8.LEARNING_RATE[8],
        teacher=bench.network(),
        mix=0.5,
        fake_bits=8,
        fake_activations=True,
        reduced_range=plain.reduced_range,
    )
    learned = replace(plain, grids=trained.grids, activations=trained.activations)
    reached = bench.trial(trained.network, learned)
    if wanted is None or keeps(reached, wanted) or not keeps(_accuracy(bench, network), wanted):
        return _stated(making, trained.network, learned)
    try:
        mixed = replace(plain, floats=ptq_int8.in_float(bench, making, network, plain, wanted))
    except NotApplicable:
        return _stated(making, trained.network, learned)
    if aim.over(price(bench, network, mixed)) <= 1:
        return _stated(making, network, mixed)
    making.step("step_back", "With these layers in float it is predicted above the aim.")
    return _stated(making, trained.network, learned)


def _stated(making: Making, network: Network, spec: QuantSpec) -> tuple[Network, QuantSpec]:
    making.step(
        "quantize_static",
        "Weights per channel and activations in 8 bits.",
        reduced_range=spec.reduced_range,
        float_layers=sorted(spec.floats),
    )
    return network, spec


def _accuracy(bench: Workbench, network: Network) -> float | None:
    return bench.validation_accuracy(lambda images: bench.backend.logits(network, images))


def _said(aim: Aim, found: Priced) -> str:
    """Returns the figures beside what they were to come to: "latency 1.3 ms (aim 1.2 ms)"."""
    return ", ".join(
        f"{'MACs' if name == MACS else LIMITS[name].label} {_shown(name, found.figure(name))}"
        f" (aim {_shown(name, most)})"
        for name, most in aim.figures.items()
    )


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value / 1e6:.3g} M" if name == MACS else LIMITS[name].with_unit(f"{value:.3g}")


def why_not(facts: Facts) -> str:
    """Asks what structured pruning asks: channels that can be followed."""
    return prune_structured.why_not(facts)


TECHNIQUE = Technique(
    id="fit_limits",
    title="Fitted to the limits",
    precision="int8",
    trains=True,
    weight=3,
    needs=("sensitivity",),
    text=(
        "Removes channels and bits where your device saves most for the least accuracy, until your limits are"
        " kept; without limits, down to half of the predicted time."
    ),
    variants=("fit_limits@int8", "fit_limits@float", "fit_limits@tight"),
    why_not=why_not,
    run=run,
    calibrates=True,
    searches=True,
    settings={
        "int8": "INT8",
        "float": "in float",
        "tight": f"with {1 - TIGHT:.0%} to spare",
    },
)
