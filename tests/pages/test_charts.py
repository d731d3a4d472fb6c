"""The trade-off chart: what is joined, what is labelled, what is drawn, and what is said instead."""

import itertools
import math
from dataclasses import replace

import pytest
import seed

from engine.judge.layers import LayerRow
from engine.judge.pruning import paired_ends, study
from pages.parts import charts, latencies
from pages.parts.charts import labels


@pytest.fixture
def draw(home):
    """Draws the handmade variants on one axis with some limits."""

    def drawn(x="size", y="accuracy", limits=None, names=("baseline", "hybrid"), found=None, at=seed.DEVICE):
        axes = charts.axes(seed.DEVICE, at)
        return charts.trade_off(
            found or seed.variants(), axes[x], axes[y], at, limits or {}, "hybrid", list(names)
        )

    return drawn


def trace(figure, name):
    """Returns the trace of that legend, or None."""
    return next((trace for trace in figure.data if trace.name == name), None)


def test_front_joins_admissible_points_only(draw):
    figure, _, _ = draw()
    rejected = {row[1] / 1e6 for row in seed.FIGURES if seed.variant(*row).admissible == "no"}
    front = trace(figure, "best trade-offs")
    assert len(front.x) > 1 and not rejected & set(front.x)
    assert list(front.x) == sorted(front.x) and list(front.y) == sorted(front.y)


def test_rejected_stay_as_crosses_and_baseline_is_distinct(draw):
    figure, _, _ = draw()
    symbols = {found.name: found.marker.symbol for found in figure.data if found.mode == "markers"}
    assert symbols["misses a limit"].startswith("x")
    assert len(set(symbols.values())) == len(symbols)


def test_limits_are_lines_with_their_figures(draw):
    figure, _, _ = draw(limits={"max_accuracy_drop_pp": 0.8, "max_size_mb": 0.5})
    assert len(figure.layout.shapes) == 2
    texts = [note.text for note in figure.layout.annotations]
    assert "≤ 0.5\u00a0MB" in texts and "drop ≤ 0.8\u00a0pp" in texts


def test_far_limit_does_not_stretch_the_axis(draw):
    figure, _, notes = draw(limits={"max_size_mb": 500})
    assert figure.layout.xaxis.range[1] < math.log10(5)
    assert any("outside the chart" in note for note in notes)


def test_collapsed_variant_does_not_flatten_the_others(draw):
    collapsed = [*seed.variants(), seed.variant("distill@bad", 100000, 0.5, 0.1, 89)]
    figure, alt, notes = draw(found=collapsed)
    assert figure.layout.yaxis.range[0] > 80
    assert any("not drawn" in note for note in notes) and "distill@bad" in alt


def test_labels_do_not_overlap(draw):
    figure, _, _ = draw(names=("baseline", "ptq_int8", "ptq_int4@mixed", "prune_structured@0.5", "hybrid"))
    boxes = []
    (x0, x1), (y0, y1) = figure.layout.xaxis.range, figure.layout.yaxis.range
    for note in figure.layout.annotations:
        x = (note.x - x0) / (x1 - x0) * labels.PHONE[0] + note.ax
        y = (y1 - note.y) / (y1 - y0) * labels.PHONE[1] + note.ay
        boxes.append(labels.box(x, y, 7 * len(note.text), 15))
    assert len(boxes) == 5
    for i, box in enumerate(boxes):
        assert sum(labels.covered(box, [other]) for other in boxes[i + 1 :]) < 60


@pytest.mark.parametrize("axis", charts.axes(seed.DEVICE, seed.DEVICE))
def test_every_axis_draws_both_ways(draw, axis):
    found = [
        v.model_copy(update={"calibration_error": 0.01 * i, "robust_drop_pp": 0.7 * i})
        for i, v in enumerate(seed.variants())
    ]
    for sides in ({"x": axis}, {"y": axis, "x": "latency"}):
        figure, alt, _ = draw(found=found, **sides)
        assert figure.data and alt.startswith("Scatter plot") and "for 9 variants" in alt


@pytest.mark.parametrize(("x", "y"), [*itertools.permutations(["size", "latency", "accuracy", "recall"], 2)])
def test_nothing_admissible_beats_the_front(x, y):
    axes = charts.axes(seed.DEVICE, seed.DEVICE)
    points = charts.points_of(seed.variants(), axes[x], axes[y], "hybrid")
    front = charts.front(points, axes[x], axes[y])
    signs = [-1 if axes[name].more_is_better else 1 for name in (x, y)]
    costs = {p.variant.id: (signs[0] * p.x, signs[1] * p.y) for p in points}
    kept = [costs[p.variant.id] for p in points if p.variant.admissible == "yes"]
    for point in front:
        ours = costs[point.variant.id]
        assert not any(a <= ours[0] and b <= ours[1] and (a, b) != ours for a, b in kept)
    assert {min(kept)[0], min(kept, key=lambda c: c[1])[1]} <= {v for p in front for v in costs[p.variant.id]}


def test_limits_are_about_the_run_s_device_only(draw):
    limits = {"max_latency_ms": 2.0, "min_accuracy": 0.98}
    words = [note.text for note in draw(x="latency", limits=limits)[0].layout.annotations]
    assert "≤ 2\u00a0ms" in words and "≥ 98\u00a0%" in words
    elsewhere = [
        v.model_copy(update={"estimates": dict.fromkeys(["rk3588"], *v.estimates.values())})
        for v in seed.variants()
    ]
    words = [
        n.text for n in draw(x="latency", limits=limits, found=elsewhere, at="rk3588")[0].layout.annotations
    ]
    assert "≤ 2\u00a0ms" not in words


def test_the_latency_table_sorts_by_numbers_and_says_in_words_what_breaks_the_limit(home):
    done = [v for v in seed.variants() if v.status == "done"]
    styled = latencies.table(done, [seed.DEVICE, "rk3588"], 2.0)
    assert styled.data["Raspberry Pi 4"].tolist() == [v.estimates[seed.DEVICE].latency_ms for v in done]
    cells = [[cell["display_value"] for cell in row] for row in styled._translate(False, False)["body"]]
    said = {row[1]: row[2:] for row in cells}
    assert said["baseline"] == ["✗ 5.24 (4.32–6.42)", "–"] and said["hybrid"][0] == "✓ 1.44 (1.19–1.76)"


def test_the_latency_table_judges_as_the_run_does_and_keeps_equal_figures_apart(home):
    first = next(v for v in seed.variants() if v.id == "baseline")
    found = first.estimates[seed.DEVICE]
    wider = found.model_copy(update={"high_ms": 2 * found.high_ms})
    done = [first, first.model_copy(update={"id": "other", "estimates": {seed.DEVICE: wider}})]
    for cautious, signs in ((False, "✓✓"), (True, "✓✗")):
        styled = latencies.table(done, [seed.DEVICE], found.high_ms, cautious)
        cells = [row[-1]["display_value"] for row in styled._translate(False, False)["body"]]
        assert "".join(cell[0] for cell in cells) == signs and cells[0][2:] != cells[1][2:]


def test_layers_whose_names_begin_alike_have_a_bar_each(home):
    names = [f"/{'features/' * 6}{n}/Conv" for n in range(3)]
    rows = [
        LayerRow(name, "Conv", 1, 1, 1, 32, 4, ms=1.0 + n, bound="compute") for n, name in enumerate(names)
    ]
    figure, alt, left = charts.costs([*rows, replace(rows[0], name="free", ms=None)])
    assert list(trace(figure, "bound by compute").y) == ["0", "1", "2"] and left == 0
    shown = figure.layout.yaxis.ticktext
    assert len(set(shown)) == 3 and all(len(name) <= 40 and name.startswith("…") for name in shown)
    assert list(figure.layout.yaxis.categoryarray) == ["2", "1", "0"], "the first layer stands on top"
    assert names[2] in alt


def test_no_figures_is_said(draw):
    _, _, notes = draw(found=seed.variants()[-2:])
    assert notes == ["No finished variant has both figures yet."]


def test_one_point_draws(draw):
    figure, _, _ = draw(found=seed.variants()[:1])
    assert all(math.isfinite(end) for end in [*figure.layout.xaxis.range, *figure.layout.yaxis.range])


def test_the_worst_class_is_named_where_another_has_no_test_images(home):
    figure, alt = charts.recall(["cat", "dog", "bird"], [0.9, None, 0.4], [0.8, None, None])
    assert "The worst is bird with 40.0 %, the best cat with 90.0 %" in alt
    ours = trace(figure, "this variant")
    assert dict(zip(ours.y, ours.x, strict=True)) == {"cat": 90, "bird": 40}
    theirs = trace(figure, "your model")
    assert dict(zip(theirs.y, theirs.x, strict=True)) == {"cat": 80}


def test_the_pruning_study_has_a_line_a_way_with_paired_intervals_and_the_baseline(home):
    axis = replace(
        charts.axes(seed.DEVICE, seed.DEVICE)["accuracy"], ends=lambda v: paired_ends(v, seed.variants()[0])
    )
    step = seed.variant("prune_unstructured@0.7,iterative", 900_000, 1.3, 0.98, 1.4)
    other = seed.variant("prune_structured@made-up", 900_000, 1.3, 0.98, 1.4)
    found = study([other, step, *seed.variants()])
    assert [one.share for one in found] == [0.7, 0.3, 0.5, 0.7]
    figure, alt, _ = charts.pruning(found, seed.variants()[0], axis, {"max_accuracy_drop_pp": 0.8})
    line = trace(figure, "channels, at once")
    assert len(line.x) == 3 and [*line.y] == [100 * v.accuracy for v in seed.variants()[4:7]]
    low = 100 * 0.9944 - 0.83 - 0.9  # the end of the paired interval of the one at 70 %
    assert line.error_y.arrayminus[-1] == pytest.approx(100 * 0.9861 - low)
    assert {*trace(figure, "your model").y} == {99.44} and trace(figure, "weights, step by step")
    assert "channels, at once, 70 % gone: 98.61 %" in alt and len(figure.layout.shapes) == 1
