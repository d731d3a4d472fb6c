"""A run as text, for a terminal."""

from engine.judge import words
from engine.vocabulary import Estimate, Robustness, Run


def in_ms(value: Estimate) -> str:
    """Returns an estimate's latency with its interval."""
    return (
        "no estimate"
        if value.latency_ms is None
        else f"{value.latency_ms:9.3g} ms ({value.low_ms:.3g}–{value.high_ms:.3g})"
    )


def table(run: Run) -> str:
    """Returns a run's variants as an aligned table with the recommendation under it."""
    lines = [
        f"{'variant':34} {'accuracy':>9} {'drop':>8} {'size':>12} {'compressed':>12} {'MACs':>9}"
        f" {'p50 here':>10} {'predicted':>22}"
    ]
    for v in run.variants:
        if v.status != "done" or v.parameters is None:
            lines.append(f"{v.id:34} {v.status}: {v.reason}")
            continue
        accuracy = "" if v.accuracy is None else f"{100 * v.accuracy:8.2f}%"
        drop = "" if v.accuracy_drop_pp is None else f"{v.accuracy_drop_pp:+.2f} pp"
        timed = f"{v.host.latency_ms.p50:.3f} ms" if v.host and v.host.latency_ms else ""
        guess = v.estimates.get(run.experiment.device)
        lines.append(
            f"{v.id:34} {accuracy:>9} {drop:>8} {v.size_bytes:>12,} {v.compressed_bytes:>12,}"
            f" {(v.macs or 0) / 1e6:8.2f}M {timed:>10} {in_ms(guess) if guess else '':>22}"
        )
        lines += [f"  ! {sentence}" for sentence in words.doubts(v, run.experiment.model.classes)]
    if run.recommendation:
        lines += [
            "",
            f"Recommended: {run.recommendation.winner or 'nothing meets every limit'}",
            *(f"  {reason}" for reason in run.recommendation.reasons),
        ]
    return "\n".join(lines)


def robustness_table(found: dict[str, Robustness]) -> str:
    """Returns a line a variant: accuracy on the images as they are, and by corruption, mildest to worst."""
    names = list(next(iter(found.values())).corrupted)
    lines = [f"{'variant':34} {'clean':>7} {'mean':>7} " + " ".join(f"{name:>17}" for name in names)]
    for variant, value in found.items():
        rows = (" ".join(f"{100 * share:5.1f}" for share in value.corrupted[name]) for name in names)
        cells = " ".join(f"{row:>17}" for row in rows)
        lines.append(f"{variant:34} {100 * value.clean:6.1f}% {100 * value.mean():6.1f}% {cells}")
    return "\n".join(lines)
