"""Pruning one network every way: single weights and whole channels, at once and step by step, 30 to 70 %.

MobileNetV2 at 64x64 on CIFAR-10, in one run, so that all are made, measured and tested alike. The share that
is gone is counted in the files: zeros among the weights, channels that are no longer there. What a channel
takes with it is told by the MACs and parameters that are left. Drops are paired, with their 95 % intervals.
Needs EDGEWISE_DATA (cifar10.npz).

For comparison: a published study of this network on CIFAR-10, 89.8 % at first, reached 91.4 % with 69 % of
the weights zero, and 83.7 and 54.8 % structurally pruned by 29 and 69 %.
"""

import argparse
from pathlib import Path

import onnx

from benchmarks import record
from benchmarks.engine_run import BUILD
from engine.face import Run, optimize
from engine.vocabulary import Variant

HOME, MODEL = BUILD / "home-pruning_study", "cifar10/pytorch/mobilenet_v2"
KINDS = {"weights": "prune_unstructured", "channels": "prune_structured"}
SHARES = (0.3, 0.5, 0.7)
EXACT_PP = 0.1
MOST_PP = {0.3: 1.0, 0.5: 2.5}  # that channels may cost
COLUMNS = [
    "pruned",
    "how",
    "target %",
    "gone %",
    "accuracy %",
    "drop pp",
    "from",
    "to",
    "p",
    "MACs %",
    "parameters %",
    "made in s",
]
WIDTH, HEIGHT, EDGE = 640, 360, 50  # of the chart, px
COLORS = {"weights": "#2a6fbb", "channels": "#c2571a"}


def channels(path: Path) -> int:
    """Returns how many channels all layers but the last put out."""
    found = [t.dims[0] for t in onnx.load(str(path)).graph.initializer if len(t.dims) == 4]
    return sum(found)


def row(run: Run, kind: str, share: float, how: str) -> list:
    """Returns a table row of one variant, or why there is none."""
    base = run.variant("baseline")
    variant = run.variant(f"{KINDS[kind]}@{share}{',iterative' if how == 'step by step' else ''}")
    if variant.status != "done":
        return [kind, how, 100 * share, f"{variant.status}: {variant.reason}"] + [None] * 8
    return [
        kind,
        how,
        100 * share,
        round(100 * gone(run, kind, variant), 2),
        *(round(100 * figure, 2) for figure in [variant.accuracy or 0.0]),
        round(variant.accuracy_drop_pp or 0.0, 2),
        round(variant.accuracy_drop_low_pp or 0.0, 2),
        round(variant.accuracy_drop_high_pp or 0.0, 2),
        round(variant.p_value or 0.0, 3),
        round(100 * (variant.macs or 0) / (base.macs or 1), 1),
        round(100 * (variant.parameters or 0) / (base.parameters or 1), 1),
        variant.seconds,
    ]


def gone(run: Run, kind: str, variant: Variant) -> float:
    """Returns the share of the weights or channels that are gone."""
    if kind == "weights":
        return variant.sparsity or 0.0
    return 1 - channels(run.path_of(variant)) / channels(run.path_of("baseline"))


def targets(rows: list[list]) -> list[dict]:
    """Returns what was aimed at, with its figure and whether it is met."""
    done = [r for r in rows if not isinstance(r[3], str)]
    off = max((abs(r[3] - r[2]) for r in done), default=100.0)
    found = [
        {
            "target": f"every target share is met within {EXACT_PP} pp",
            "figure": f"{off:.2f} pp off at most, {len(done)} of {len(rows)} made",
            "met": off <= EXACT_PP and len(done) == len(rows),
        }
    ]
    for kind, how, target, _, _, drop, low, high, *_ in done:
        said = f"{drop:.2f} pp ({low:.2f} to {high:.2f})"
        if kind == "weights":
            name = f"{target:.0f} % of the weights, {how}: not below the baseline beyond noise"
            found.append({"target": name, "figure": said, "met": low <= 0})
        elif (most := MOST_PP.get(target / 100)) is not None:
            name = f"{target:.0f} % of the channels, {how}: {most} pp or less"
            found.append({"target": name, "figure": said, "met": drop <= most})
    return found


def chart(rows: list[list], baseline: float) -> str:
    """Returns an SVG of accuracy over the share that is gone; step by step is drawn dashed."""
    done = [r for r in rows if not isinstance(r[3], str)]
    low = min([baseline, *(r[4] for r in done)]) - 2

    def at(share: float, accuracy: float) -> str:
        x = EDGE + (WIDTH - 2 * EDGE) * share / 100
        y = EDGE + (HEIGHT - 2 * EDGE) * (baseline + 2 - accuracy) / (baseline + 2 - low)
        return f"{x:.1f},{y:.1f}"

    def text(place: str, words: str, color: str = "#333") -> str:
        x, y = place.split(",")
        return f'<text x="{x}" y="{y}" fill="{color}">{words}</text>'

    parts = [
        f'<polyline fill="none" stroke="#999" points="{at(0, baseline)} {at(100, baseline)}"/>',
        text(at(72, baseline + 0.5), f"baseline {baseline:.1f} %"),
        f'<polyline fill="none" stroke="#333" points="{at(0, baseline + 2)} {at(0, low)} {at(100, low)}"/>',
        text(at(0, baseline + 2.4), "accuracy on test images, %"),
        *(
            text(f"{at(share, low).split(',')[0]},{HEIGHT - EDGE + 18}", f"{share} %")
            for share in (30, 50, 70)
        ),
    ]
    for number, kind in enumerate(KINDS):
        for how in ("at once", "step by step"):
            line = [r for r in done if (r[0], r[1]) == (kind, how)]
            dash = ' stroke-dasharray="6 4"' if how == "step by step" else ""
            points = " ".join([at(0, baseline), *(at(r[3], r[4]) for r in line)])
            style = f'fill="none" stroke="{COLORS[kind]}" stroke-width="2"{dash}'
            parts.append(f'<polyline {style} points="{points}"/>')
            parts += [text(at(r[3], r[4]), f"{r[4]:.1f}", COLORS[kind]) for r in line]
        legend = f"{kind} (dashed: step by step)"
        parts.append(text(f"{EDGE + 10},{HEIGHT - EDGE - 30 + 16 * number}", legend, COLORS[kind]))
    size = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join(parts) + "\n</svg>\n"


def main() -> None:
    """Runs both techniques once and writes results/pruning_study.* with the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="time budget of the run")
    arguments = parser.parse_args()
    run = optimize(
        MODEL,
        dataset="cifar10",
        device="raspberry_pi_4",
        techniques=list(KINDS.values()),
        time_budget_s=arguments.seconds,
        workspace=HOME,
        on_event=lambda e: print(f"  {e.text}", flush=True) if e.kind == "log" else None,
    )
    ways = [(k, share, how) for k in KINDS for how in ("at once", "step by step") for share in SHARES]
    rows = [row(run, *way) for way in ways]
    accuracy = 100 * (run.variant("baseline").accuracy or 0.0)
    title = (
        f"Pruning MobileNetV2 at 64x64 on CIFAR-10 (baseline {accuracy:.2f} %), ![chart](pruning_study.svg)"
    )
    path = record.write(
        "pruning_study", title, COLUMNS, rows, targets(rows), seed=0, time_budget_s=arguments.seconds
    )
    (record.RESULTS / "pruning_study.svg").write_text(chart(rows, accuracy))
    print(path.read_text())


if __name__ == "__main__":
    main()
