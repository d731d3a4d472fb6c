"""Limits are met or it is said that they can't be: what goes, what it is predicted at, and what is told."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine.backends import backend_for
from engine.datasets import Part
from engine.judge.limits import check
from engine.techniques import fit_limits
from engine.techniques.job import Data, Job
from engine.techniques.shared import pricing
from engine.techniques.shared.allocation import Group, Shares, all_that_may_go, allocated, fitted
from engine.techniques.workbench import Workbench
from engine.vocabulary import Constraints, Preprocessing, Variant
from tests.techniques.test_mixed import IMAGES

LIMITS = (1.1, 0.9, 0.75, 0.5, 0.3, 0.15, 0.05)


def a_chain(seed: int) -> tuple[list[Group], dict[str, Shares]]:
    """Returns groups of channels and a figure of a network of layers that follow each other."""
    random, count = np.random.default_rng(seed), 6
    place = np.eye(count)
    groups = [
        Group((str(i),), 1 / random.choice([4, 8, 32]), place[i], place[i + 1], float(random.gamma(1)))
        for i in range(count - 1)
    ]
    own = random.dirichlet(np.ones(count)) * 0.8
    return groups, {"ms": Shares(own, 0.1 * own)}


@pytest.mark.parametrize("seed", range(5))
def test_a_met_limit_stays_met_when_it_is_loosened(seed):
    groups, shares = a_chain(seed)

    def predicted(gone: np.ndarray) -> dict[str, float]:  # never quite what the shares say
        return {"ms": 0.05 + 0.95 * float(shares["ms"].left(groups, gone)) ** (1.4 if seed % 2 else 0.8)}

    before, was_met = None, True
    for most in LIMITS:
        gone, is_met = fitted(groups, shares, {"ms": most}, predicted)
        assert is_met == (predicted(gone)["ms"] <= most) and gone.max() <= 0.9
        assert was_met or not is_met
        assert is_met or np.array_equal(gone, all_that_may_go(groups))
        assert gone.any() or most >= 1
        in_haste, hastily = fitted(groups, shares, {"ms": most}, predicted, lambda: False)
        assert hastily == is_met and in_haste.sum() >= gone.sum() - 1e-9
        planned = allocated(groups, shares, {"ms": most})
        if planned is not None and before is not None:
            assert (planned >= before - 1e-9).all()  # of a tighter limit nothing stays that went before
        before, was_met = planned, is_met


def test_what_costs_most_for_the_least_loss_goes_first():
    place = np.eye(3)
    groups = [Group((str(i),), 1 / 8, place[i], place[2] * 0, loss) for i, loss in enumerate([1.0, 1.0])]
    shares = {"ms": Shares(np.array([0.6, 0.2, 0.1]), np.zeros(3))}
    dear = allocated(groups, shares, {"ms": 0.9})
    assert dear[0] > 0 and dear[1] == 0
    fragile = [Group(("0",), 1 / 8, place[0], place[2] * 0, 100.0), groups[1]]
    spared = allocated(fragile, shares, {"ms": 0.9})
    assert spared[0] < dear[0] and spared[1] > 0


def pytorch_network():
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32 * 16, 10)).eval().requires_grad_(False)


def keras_network():
    import keras
    from keras import layers

    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for width in (16, 32):
        x = layers.Conv2D(width, 3, activation="relu")(x)
    return graph_of(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x))))


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """Returns the function that makes a place of work for a small network of random weights, its own answers
    the labels.
    """
    made = {}

    def bench(framework: str, messages: list, **target) -> Workbench:
        if framework not in made:
            folder = tmp_path_factory.mktemp(framework)
            (folder / "cache").mkdir()
            layout = "NCHW" if framework == "pytorch" else "NHWC"
            how = Preprocessing(height=8, width=8, color="rgb", layout=layout, mean=[0.5] * 3, std=[0.25] * 3)
            backend = backend_for(framework, how, folder / "cache")
            network = pytorch_network() if framework == "pytorch" else keras_network()
            part = Part(IMAGES, backend.logits(network, IMAGES).argmax(axis=1))
            made[framework] = backend, network, part, backend.facts(network), folder
        backend, network, part, facts, folder = made[framework]
        model = SimpleNamespace(classes=["x"] * 10)
        job = Job("fit_limits", model, facts, folder, 0, 0.1, **({"device": "raspberry_pi_4"} | target))
        found = Workbench(job, backend, Data(part, part, part), messages.append)
        found._network = network
        return found

    return bench


def variants(messages: list) -> dict[str, dict]:
    return {m["variant"]["id"]: m["variant"] for m in messages if m["kind"] == "variant_made"}


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_what_is_offered_within_the_limits_is_predicted_within_them(benches, framework):
    messages: list = []
    bench = benches(framework, messages, tolerance=1.0)
    was = pricing.price(bench, bench.network(), None)
    limits = Constraints(max_latency_ms=0.8 * was.figure("max_latency_ms"), max_size_mb=10)
    bench = benches(framework, messages, tolerance=1.0, constraints=limits)
    fit_limits.run(bench)
    for name in fit_limits.TECHNIQUE.variants:
        made = variants(messages)[name]
        assert (made["status"], made["reason"]) == ("done", "")
        found = pricing.priced(bench, bench.folder / made["artifacts"][0]["path"])
        size = made["artifacts"][0]["bytes"]
        told = Variant(**made).model_copy(
            update={"usable": True, "size_bytes": size, "estimates": found.variant.estimates}
        )
        assert check(told, limits, "raspberry_pi_4") == ("yes", {})
        assert any("which the model as it was given breaks" in note for note in made["notes"])


@pytest.mark.slow
def test_a_limit_that_no_cut_can_meet_is_said_in_one_sentence(benches):
    messages: list = []
    fit_limits.run(benches("pytorch", messages, constraints=Constraints(max_latency_ms=1e-4)))
    for made in variants(messages).values():
        assert made["status"] == "skipped" and not made["artifacts"]
        assert "all channels gone that were found to go" in made["reason"] and "(aim " in made["reason"]
        assert "of the validation images right" in made["reason"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"constraints": Constraints(max_latency_ms=1e4)}, "The model keeps the limits as it is"),
        ({"constraints": Constraints(max_size_mb=0)}, "Half of the model's predicted time"),
        ({"device": "microcontroller"}, "half of the model's MACs is aimed at"),
    ],
)
def test_without_a_limit_that_asks_for_less_half_is_aimed_at(benches, target, told):
    messages: list = []
    bench = benches("pytorch", messages, **target)
    aim = fit_limits.Fitting(bench).aim
    assert told in aim.why and not aim.is_asked
    name = "macs" if "MACs" in told else "max_latency_ms"
    assert aim.figures[name] == pytest.approx(0.5 * pricing.price(bench, bench.network(), None).figure(name))
    limits = bench.job.constraints.set_limits()
    loose = aim.times(1e9).figures
    assert all(loose[n] <= limits[n] for n in loose.keys() & limits)  # a limit is never aimed beyond


def test_layers_add_up_to_what_is_predicted(benches):
    bench = benches("pytorch", [])
    layers, groups = bench.facts.layers, pricing.groups_of(bench)
    found = pricing.price(bench, bench.network(), None)
    assert [group.layers for group in groups] == [("2",), ("0",)]
    for name in (*pricing.COSTS, pricing.MACS):
        shares = found.shares(name, layers)
        assert (shares.own > 0).all() and shares.own.sum() + shares.after.sum() <= 1 + 1e-9
    gone = np.array([0.5, 0.25])
    cut = bench.backend.remove_channels(
        bench.network(), pricing.ratios_of(groups, gone), "l2", None, 0, bench.job.channel_multiple
    )
    left = pricing.price(bench, cut, None)
    for name in (pricing.MACS, "max_size_mb"):
        expected = found.shares(name, layers).left(groups, gone)
        assert left.figure(name) / found.figure(name) == pytest.approx(expected, abs=0.05)
