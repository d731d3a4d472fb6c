"""Writes the figures of README.md from the committed results: `python -m benchmarks.readme`; a test keeps
them equal.
"""

import json
from pathlib import Path

from benchmarks.record import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- figures: python -m benchmarks.readme -->", "<!-- end of figures -->"


def figures() -> str:
    """Returns the table of every benchmark's targets, met or not, with the command that measures it."""
    lines = ["| benchmark | target | measured | met |", "|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text())
        for target in data.get("targets", []) if isinstance(data, dict) else []:
            lines.append(
                f"| [`{path.stem}`](benchmarks/results/{path.stem}.md) | {target['target']} |"
                f" {target['figure']} | {'yes' if target['met'] else '**no**'} |"
            )
    return "\n".join(lines)


def with_figures(text: str) -> str:
    """Returns the README's text with the figures of the committed results."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{figures()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(with_figures(README.read_text()))
