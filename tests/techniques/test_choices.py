"""What techniques decide before they train: how much each layer loses, how boldly to train, how long."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine.backends.protocol import Facts, LayerInfo
from engine.techniques import budget, prune_structured, ptq_int4
from engine.techniques.job import NotApplicable
from engine.techniques.shared import narrowing, saturation
from engine.techniques.shared.allocation import Group, Shares, spread


def layer(name: str, kind: str = "conv", is_output: bool = False) -> LayerInfo:
    return LayerInfo(name=name, kind=kind, shape=(16, 16, 3, 3), macs=1, is_output=is_output)


def bench_of(locked: dict[str, str], groups: list[Group]) -> SimpleNamespace:
    """Returns what `layer_ratios` looks at: four layers, the last the output, and the loss of one."""
    layers = (layer("a"), layer("b"), layer("c"), layer("out", "dense", True))
    backend = SimpleNamespace(weights=lambda network: {n: np.zeros(count) for n, count in network.items()})
    return SimpleNamespace(
        facts=Facts("pytorch", layers, 0, 0, locked=locked),
        sensitivity=lambda change: {"c": SimpleNamespace(loss_increase=0.5)},
        backend=backend,
        groups=groups,
    )


@pytest.mark.parametrize("tried", [("a", "c"), ("a",)], ids=["all tried", "one not tried"])
def test_of_all_channels_that_can_go_the_ratio_goes(monkeypatch, tried):
    losses, places = {"a": 3.0, "c": 0.5}, {"a": np.eye(4)[0], "c": np.eye(4)[2]}
    groups = [Group((n,), 1 / 16, places[n], np.zeros(4), losses[n]) for n in tried]
    monkeypatch.setattr(prune_structured, "groups_of", lambda bench: list(bench.groups))
    bench = bench_of({"b": "its channels are padded"}, groups)
    ratios = prune_structured.layer_ratios(bench, dict.fromkeys("abc", 16), 0.5)
    assert set(ratios) == {"a", "c"} and ratios["a"] < 0.5 < ratios["c"]
    assert np.mean(list(ratios.values())) == pytest.approx(0.5)
    left = {name: round(16 * (1 - ratio)) for name, ratio in ratios.items()} | {"b": 16}
    further = prune_structured.layer_ratios(bench, left, 0.75)  # of the uploaded network, not of what is left
    assert sum(round(left[n] * (1 - ratio)) for n, ratio in further.items()) == 8
    assert all(0 <= ratio < 1 for ratio in further.values())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.94])
def test_as_many_channels_go_as_steps_allow(share):
    """By a twentieth of a percent: no step takes more than a tenth."""
    random = np.random.default_rng(0)
    channels = random.choice([128, 256, 1024], 30).astype(float) * random.integers(1, 4, 30)
    own = np.eye(30)
    groups = [Group((str(i),), 8 / 1024, own[i], own[i - 1], float(random.gamma(1))) for i in range(30)]
    macs = Shares(random.dirichlet(np.ones(30)), np.zeros(30))
    gone = spread(groups, channels, macs, share, np.zeros(30))
    assert gone @ channels / channels.sum() == pytest.approx(share, abs=1e-3)
    assert (spread(groups, channels, macs, (1 + share) / 2, gone) >= gone).all()


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (0.995, prune_structured.LEARNING_RATE),
        (0.99 - prune_structured.MUCH / 2, 7.7e-4),
        (0.60, prune_structured.BOLD_LEARNING_RATE),
    ],
)
def test_the_more_a_cut_cost_the_bolder_it_is_trained(right, expected):
    accuracy = {"whole": 0.99, "cut": right}
    bench = SimpleNamespace(
        network=lambda: "whole",
        backend=SimpleNamespace(logits=lambda network, images: network),
        validation_accuracy=lambda predict, most: accuracy[predict(None)],
    )
    assert prune_structured.learning_rate(bench, "cut") == pytest.approx(expected, rel=0.01)


def test_a_cut_that_saves_nothing_is_not_offered_and_one_that_saves_little_says_so():
    cost = {"whole": (1_000, 50), "same": (1_000, 50), "little": (990, 49), "half": (500, 20)}
    bench = SimpleNamespace(
        network=lambda: "whole",
        backend=SimpleNamespace(cost=cost.__getitem__),
        facts=Facts(
            "pytorch", (), 0, 0, locked={"a": "its channels are padded", "b": "its channels are padded"}
        ),
    )
    making = SimpleNamespace(notes=["kept"])
    making.note = making.notes.append
    with pytest.raises(NotApplicable, match="no channel of it can go: its channels are padded$"):
        prune_structured.note_gain(bench, making, "same")
    prune_structured.note_gain(bench, making, "little")
    assert making.notes[1:] == [
        "Removing channels saves only 1.0% of the multiplications and 2.0% of the weights: it is hardly"
        " faster or smaller than your model."
    ]
    prune_structured.note_gain(bench, making, "half")  # a later stage
    assert making.notes == ["kept"]


@pytest.mark.parametrize(("seconds", "images"), [(6, 1_000), (30, 20_000)])
def test_the_teacher_answers_each_image_once(seconds, images):
    """200 images a second for the teacher, 1,000 for training: its 10 s for all 2,000 images are paid once,
    not each epoch.
    """
    facts = Facts("pytorch", (), 100, 100, step_s=0.0, image_s=1e-3, evaluate_images_per_s=200)
    steps, batch = budget.plan(facts, (100, 100), (2_000, 8, 8, 1), seconds, unanswered=1.0)
    assert steps * batch == pytest.approx(images, rel=0.2)


@pytest.mark.parametrize(
    ("widths", "found"),
    [
        (1, [0.35]),
        (2, [0.35, 0.22]),
        (5, [0.35, 0.22, 0.14, 0.09, 0.06]),
        (9, [0.35, 0.22, 0.14, 0.09, 0.06]),
    ],
)
def test_a_search_that_is_out_of_time_keeps_what_it_found(monkeypatch, widths, found):
    """The first cut was made when widths were tried and is not made again."""
    tried, steps = [], []
    monkeypatch.setattr(narrowing, "_boldest", lambda bench, making, floor: (3, "cut"))
    monkeypatch.setattr(
        narrowing,
        "_at_width",
        lambda bench, making, start, width, floor, made: tried.append((width, made)) or width,
    )
    bench = SimpleNamespace(network=lambda: "whole", has_time=lambda: len(tried) < widths)
    making = SimpleNamespace(step=lambda what, why, **parameters: steps.append(what))
    assert narrowing.narrower(bench, making, 0.9) == ["whole", *found]
    assert tried[0] == (0.35, "cut") and all(made is None for _, made in tried[1:])
    assert steps == (["stop"] if widths < 5 else [])  # nothing is left to try after the narrowest


@pytest.mark.parametrize(
    ("saturates", "device", "host", "seven", "why"),
    [
        (False, False, False, False, "on every processor"),
        (True, True, False, False, "the device has"),
        (True, False, True, False, "this processor adds"),
        (True, False, False, True, "saturates at 16 bits"),
    ],
)
def test_weights_keep_to_7_bits_only_where_kernels_saturate(monkeypatch, saturates, device, host, seven, why):
    monkeypatch.setattr(saturation.host, "has_dot_product", lambda: host)
    found = saturation.range_of_weights(saturates, device)
    assert found[0] == seven and why in found[1]


@pytest.mark.parametrize("after, taken_back", [(0.5, True), (0.1, False), (0.0, False)])
def test_a_bias_correction_that_takes_the_answers_away_is_taken_back(after, taken_back):
    backend = SimpleNamespace(logits=lambda network, images: np.full((3, 4), network))
    told = ptq_int4.further(backend, 0.0, 0.1, after, None)
    assert ("from 0.01 to 0.25" in told) if taken_back else told == ""
