"""Writes the figures of README.md and docs/ from the committed results: `python -m benchmarks.readme`; a test
keeps them equal.
"""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.record import RESULTS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
END = "<!-- end of figures -->"
RIVALS = ("peers", "published_cases", "runtimes", "mnist_large", "lenet", "estimator_rivals")
ESTIMATOR = ("estimator_rivals", "estimator_validation", "estimator_calibration", "estimator_speed")


def results() -> dict[str, dict]:
    """Returns the committed results that have targets, by name."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    return {name: data for name, data in read.items() if isinstance(data, dict) and data.get("targets")}


def summary() -> str:
    """Returns a line for each benchmark: what it measures, how many of its targets are met, which are not."""
    lines = ["| benchmark | targets met | missed |", "|---|---|---|"]
    for name, data in results().items():
        missed = [target["target"] for target in data["targets"] if not target["met"]]
        said = "; ".join(missed[:2]) + (f"; and {len(missed) - 2} more" if len(missed) > 2 else "")
        met = f"{len(data['targets']) - len(missed)} of {len(data['targets'])}"
        lines.append(f"| [{_title(name, data)}](benchmarks/results/{name}.md) | {met} | {said} |")
    return "\n".join(lines)


def figures(names: tuple[str, ...] | None = None) -> str:
    """Returns the table of every target of these benchmarks (all by default), met or not."""
    lines = ["| benchmark | target | measured | met |", "|---|---|---|---|"]
    for name, data in results().items():
        for target in data["targets"] if names is None or name in names else []:
            met = "yes" if target["met"] else "**no**"
            lines.append(f"| `{name}` | {target['target']} | {target['figure']} | {met} |")
    return "\n".join(lines)


def rivals() -> str:
    """Returns the targets that were set by other tools, those that they win first."""
    lines = figures(RIVALS).splitlines()
    head, rows = lines[:2], lines[2:]
    return "\n".join(head + sorted(rows, key=lambda row: not row.endswith("**no** |")))


def _title(name: str, data: dict) -> str:
    return data.get("title", name.replace("_", " ")).split(", ![")[0]


WRITTEN: dict[Path, tuple[str, Callable[[], str]]] = {
    README: ("<!-- figures: python -m benchmarks.readme -->", summary),
    ROOT / "docs" / "results.md": ("<!-- figures: python -m benchmarks.readme -->", figures),
    ROOT / "docs" / "how-we-compare.md": ("<!-- figures: python -m benchmarks.readme -->", rivals),
    ROOT / "docs" / "estimates.md": (
        "<!-- figures: python -m benchmarks.readme -->",
        lambda: figures(ESTIMATOR),
    ),
}


def with_figures(path: Path) -> str:
    """Returns the text of a file with the figures of the committed results."""
    begin, table = WRITTEN[path]
    before, rest = path.read_text().split(begin)
    return f"{before}{begin}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for written in WRITTEN:
        written.write_text(with_figures(written))
