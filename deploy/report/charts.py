"""The report's charts: the trade-off, latencies, layers and the pruning study."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from deploy.report.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    diamond,
    grid,
    short,
    svg,
    ticks_below,
    whisker,
)
from engine.judge import figures as f
from engine.judge import words
from engine.judge.layers import LayerRow
from engine.judge.pruning import LINES, Pruned, paired_ends
from engine.run.on_board import OnBoard
from engine.techniques import title_of
from engine.vocabulary import Experiment, Variant

MOST_BARS = 8
BAR = 30
LAYER_BAR = 22
LETTER = 6.6  # pixels of a letter at 12 px, about


def trade_off(done: list[Variant], chosen: str | None, asked: Experiment) -> Markup:
    """Draws accuracy with its interval over the size of the file; nothing without labelled images."""
    points = [v for v in done if v.accuracy is not None and v.size_bytes and v.usable]
    if not points:
        return Markup("")
    sizes = [v.size_bytes / 1e6 for v in points if v.size_bytes]
    highs = [100 * (v.accuracy_high or v.accuracy or 0) for v in points]
    lows = [100 * (v.accuracy_low or v.accuracy or 0) for v in points]
    x = Scale(min(sizes) / 1.3, max(sizes) * 1.3, LEFT, WIDTH - RIGHT, log=True)
    pad = max((max(highs) - min(lows)) * 0.08, 0.2)
    y = Scale(max(min(lows) - pad, 0), min(max(highs) + pad, 100), HEIGHT - BOTTOM, TOP)
    parts = [*grid(x, y, "Size of the file (MB, log)", "Test accuracy (%)"), *_limits(x, y, points, asked)]
    for v in sorted(points, key=lambda v: v.id == chosen):
        parts += _point(v, x, y, chosen)
    parts += _labels([v for v in points if v.id in (chosen, "baseline")], x, y)
    said = (
        f"Test accuracy over size of {len(points)} variants. Your model: {_said(points, 'baseline')}."
        f" Recommended: {_said(points, chosen)}."
    )
    return svg(parts, HEIGHT, said)


def latencies(variants: list[Variant], chosen: str | None, device: str, board: OnBoard) -> Markup:
    """Draws predicted latencies with their intervals, a bar a variant, and what the user's device measured as
    a ring; nothing where none is predicted.
    """
    known = [(v, e) for v in variants if (e := v.estimates.get(device)) and e.latency_ms and e.high_ms]
    if not known:
        return Markup("")
    height = TOP + BAR * len(known) + BOTTOM
    there = {v.id: ms for v, _ in known if (ms := board.ms(v.id)) is not None}
    x = Scale(0, max([*there.values(), *(e.high_ms or 0 for _, e in known)]) * 1.02, 290, WIDTH - RIGHT)
    parts = ticks_below(x, height, f"Predicted latency on {words.device_name(device)} (ms)")
    for number, (v, e) in enumerate(known):
        top, kind = TOP + BAR * number, "chosen" if v.id == chosen else "other"
        middle, length, thick = top + BAR / 2, x(e.latency_ms or 0) - x.start, BAR - 14
        name = escape(short(title_of(v.id)))
        parts += [
            f'<text x="{x.start - 8}" y="{middle + 4:.1f}" class="end">{name}</text>',
            f'<rect class="bar {kind}" x="{x.start}" y="{top + 7}" width="{length:.1f}" height="{thick}"/>',
            whisker(x(e.low_ms or 0), middle, x(e.high_ms or 0), middle),
        ]
        if v.id in there:
            parts.append(f'<circle class="ring" cx="{x(there[v.id]):.1f}" cy="{middle:.1f}" r="5"/>')
    said = "Predicted latency: " + "; ".join(f"{title_of(v.id)} {f.estimate(e)}" for v, e in known) + "."
    if there:
        said += " Measured: " + "; ".join(f"{title_of(id)} {f.ms(ms)}" for id, ms in there.items()) + "."
    return svg(parts, height, said)


def layers(rows: Sequence[LayerRow], device: str) -> Markup:
    """Draws what each layer costs as a bar, the same layer of the baseline as a diamond; nothing where
    nothing is predicted.
    """
    known = [row for row in rows if row.ms or row.ms_before]
    if not any(row.ms for row in known):
        return Markup("")
    height = TOP + LAYER_BAR * len(known) + BOTTOM
    most = max(max(row.ms or 0, row.ms_before or 0) for row in known)
    x = Scale(0, most * 1.02, 290, WIDTH - RIGHT)
    parts = ticks_below(x, height, f"Predicted latency on {device} (ms)")
    for number, row in enumerate(known):
        top = TOP + LAYER_BAR * number
        middle, length = top + LAYER_BAR / 2, x(row.ms or 0) - x.start
        name = escape(short(f"{row.name}, {row.bound}" if row.op else "an inference by itself"))
        parts.append(f'<text x="{x.start - 8}" y="{middle + 4:.1f}" class="end">{name}</text>')
        parts.append(
            f'<rect class="bar chosen" x="{x.start}" y="{top + 4}" width="{length:.1f}"'
            f' height="{LAYER_BAR - 8}"/>'
        )
        if row.ms_before is not None:
            parts.append(diamond(x(row.ms_before), middle, 6))
    said = "Predicted latency by layer: " + "; ".join(f"{row.name} {f.ms(row.ms)}" for row in known) + "."
    return svg(parts, height, said)


def pruning(study: Sequence[Pruned], baseline: Variant) -> Markup:
    """Draws accuracy over the share that is gone, a line a kind and way, with paired intervals; nothing
    without labelled images.
    """
    done = [one for one in study if one.variant.status == "done" and one.variant.accuracy is not None]
    if not done or baseline.accuracy is None:
        return Markup("")
    own = 100 * baseline.accuracy
    ends = {one.variant.id: paired_ends(one.variant, baseline) for one in done}
    heights = [own, *(100 * (one.variant.accuracy or 0) for one in done)]
    heights += [end for pair in ends.values() if pair for end in pair]
    pad = max((max(heights) - min(heights)) * 0.05, 0.2)
    x = Scale(0, 100, LEFT, WIDTH - RIGHT)
    y = Scale(min(heights) - pad, max(heights) + pad, HEIGHT - BOTTOM, TOP + 24)
    parts = grid(x, y, "Share of the weights or channels that is gone (%)", "Test accuracy (%)")
    parts.append(
        f'<line class="model" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(own):.1f}" y2="{y(own):.1f}"/>'
    )
    parts.append(f'<text x="{LEFT + 4}" y="{y(own) - 6:.1f}">your model {own:.2f} %</text>')
    lines = [line for line in LINES if any(one.line == line for one in done)]
    for number, line in enumerate(lines):
        aside = 5 * (number - (len(lines) - 1) / 2)  # pixels, so that intervals don't cover each other
        points = [
            (x(100 * one.share) + aside, y(100 * (one.variant.accuracy or 0)), ends[one.variant.id])
            for one in done
            if one.line == line
        ]
        parts += [whisker(at, y(pair[0]), at, y(pair[1])) for at, _, pair in points if pair]
        look = line.split(",")[0] + (" dashed" if line.endswith("step by step") else "")
        parts += _line(look, [(at, up) for at, up, _ in points])
        left = RIGHT + number * (WIDTH - RIGHT) / len(LINES)
        parts += _line(look, [(left, TOP + 6), (left + 20, TOP + 6)])
        parts.append(f'<text x="{left + 28:.1f}" y="{TOP + 10}">{line}</text>')
    named = "; ".join(f"{one.line}, {100 * one.share:g} %: {f.percent(one.variant.accuracy)}" for one in done)
    return svg(parts, HEIGHT, f"Test accuracy over the share that is gone. Your model {own:.2f} %. {named}.")


def _line(look: str, points: list[tuple[float, float]]) -> list[str]:
    """Joins places; weights have round marks and channels square ones."""
    joined = " ".join(f"{at:.1f},{up:.1f}" for at, up in points)
    kind = look.split()[0]
    round_by = 4 if kind == "weights" else 0
    return [f'<polyline class="{look}" points="{joined}"/>'] + [
        f'<rect class="{kind}" x="{at - 4:.1f}" y="{up - 4:.1f}" width="8" height="8" rx="{round_by}"/>'
        for at, up in points
    ]


def _said(points: list[Variant], name: str | None) -> str:
    found = next((v for v in points if v.id == name), None)
    return f"{f.percent(found.accuracy)} at {f.size(found.size_bytes)}" if found else "none"


def _limits(x: Scale, y: Scale, points: list[Variant], asked: Experiment) -> list[str]:
    """Draws the limits on size and accuracy that lie in the picture as dashed lines, each with its figure."""
    parts, limits = [], asked.constraints
    if limits.max_size_mb and x.low < limits.max_size_mb < x.high:
        at = x(limits.max_size_mb)
        parts.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{at + 4:.1f}" y="{HEIGHT - BOTTOM - 6}">at most {limits.max_size_mb:g} MB</text>'
        )
    baseline = next((v for v in points if v.id == "baseline"), None)
    if baseline and baseline.accuracy and limits.max_accuracy_drop_pp is not None:
        least = 100 * baseline.accuracy - limits.max_accuracy_drop_pp
        if y.low < least < y.high:
            at = y(least)
            parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            parts.append(
                f'<text class="end" x="{WIDTH - RIGHT - 4}" y="{at + 14:.1f}">drop of at most'
                f" {limits.max_accuracy_drop_pp:g} pp</text>"
            )
    return parts


def _point(v: Variant, x: Scale, y: Scale, chosen: str | None) -> list[str]:
    """Draws one variant: kinds differ in shape as well as in colour."""
    across, up = x((v.size_bytes or 1) / 1e6), y(100 * (v.accuracy or 0))
    parts = []
    if v.accuracy_low is not None and v.accuracy_high is not None:
        parts.append(whisker(across, y(100 * v.accuracy_low), across, y(100 * v.accuracy_high)))
    name = f"<title>{escape(title_of(v.id))}: {_said([v], v.id)}</title>"
    if v.id == chosen:
        parts.append(f'<circle class="mark chosen" cx="{across:.1f}" cy="{up:.1f}" r="7">{name}</circle>')
    elif v.id == "baseline":
        parts.append(diamond(across, up, 8, name))
    elif v.admissible == "no":
        parts.append(f'<path class="cross" d="M{across - 4:.1f} {up - 4:.1f}l8 8m0 -8l-8 8">{name}</path>')
    else:
        parts.append(f'<circle class="mark other" cx="{across:.1f}" cy="{up:.1f}" r="4">{name}</circle>')
    return parts


def _labels(named: list[Variant], x: Scale, y: Scale) -> list[str]:
    """Names points beside them, on the side where there is room, one above the other where they are close."""
    parts: list[str] = []
    taken: list[float] = []
    for v in named:
        text, across = short(title_of(v.id)), x((v.size_bytes or 1) / 1e6)
        up = y(100 * (v.accuracy or 0)) - 12
        while any(abs(up - other) < 16 for other in taken):
            up += 16
        taken.append(up)
        fits = across + 12 + LETTER * len(text) < WIDTH - RIGHT
        side, place = ("", across + 12) if fits else (' class="end"', across - 12)
        parts.append(f'<text{side} x="{place:.1f}" y="{up:.1f}">{escape(text)}</text>')
    return parts
