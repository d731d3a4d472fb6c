"""What an install weighs on disk, part by part: `python -m benchmarks.install_size`, in a full environment.

A part is a file of requirements/ with all that it asks for in turn, counted by what its packages' own records
list. A package that several parts need counts in each, and once in the whole.
"""

import argparse
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks import record

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 4  # packages that are named


def asked(path: Path) -> list[Requirement]:
    """Returns what a file of requirements asks for on this machine."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def closure(wanted: list[Requirement]) -> set[str]:
    """Returns the installed packages that these need, themselves included."""
    found: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = requirement.name.lower().replace("_", "-")
        if name in found or not _applies(requirement):
            continue
        try:
            inner = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        wanted += [r for r in map(Requirement, inner) if _applies(r, requirement.extras)]
    return found


def _applies(requirement: Requirement, extras: set[str] = frozenset()) -> bool:  # type: ignore[assignment]
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def size_mb(name: str) -> float:
    """Returns the MB of a package's files."""
    files = distribution(name).files or []
    return sum((file.size or 0) for file in files) / 1e6


def main() -> None:
    """Adds up, prints and writes the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    parts = {path.stem: closure(asked(path)) for path in sorted((ROOT / "requirements").glob("*.txt"))}
    parts["all"] = set.union(*parts.values())
    sizes = {name: size_mb(name) for name in parts["all"]}
    rows = []
    for part, names in parts.items():
        largest = sorted(names, key=lambda name: -sizes[name])[:LARGEST]
        said = ", ".join(f"{name} {sizes[name]:.0f}" for name in largest)
        rows.append([part, len(names), round(sum(sizes[name] for name in names)), said])
    total = rows[-1][2]
    # the CUDA build of PyTorch alone is larger than this
    target = {"target": "an install ≤ 5 GB", "figure": f"{total / 1000:.1f} GB", "met": total <= 5000}
    columns = ["part", "packages", "MB", "the largest"]
    print(record.write("install_size", "What an install weighs", columns, rows, [target]).read_text())


if __name__ == "__main__":
    main()
