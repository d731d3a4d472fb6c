"""How large a package of a digits network is, and how long it takes: written, and with its verification.

`python -m benchmarks.package_size`: a run of each framework with two techniques, a package of every variant.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks import record
from benchmarks.engine_run import run
from deploy import package
from engine.formats.inspect import inspect_model
from engine.store.workspace import Workspace

MODELS = ("digits/pytorch/small", "digits/keras/small")
TECHNIQUES = ["ptq_int8", "ptq_int4"]
MOST_MB, MOST_S = 1.0, 5.0
COLUMNS = ["model", "variant", "model file MB", "package MB", "written in s", "with verification s"]


def rows_of(model: str, home: Path) -> list[list]:
    """Returns a table row for each variant of a run."""
    workspace, rows = Workspace(home), []
    done = run(inspect_model(model), "digits", "raspberry_pi_4", TECHNIQUES, 30, home=home)
    for variant in done.variants:
        if variant.status != "done":
            continue
        began = time.perf_counter()
        package.write(home / "draft.zip", package.contents(done, variant, workspace.folder(done.id)))
        written = time.perf_counter() - began
        began = time.perf_counter()
        path = package.build(done.id, variant.id, workspace)
        verified = time.perf_counter() - began
        sizes = [round(bytes / 1e6, 3) for bytes in (variant.size_bytes, path.stat().st_size)]
        rows.append([model, variant.id, *sizes, round(written, 2), round(verified, 1)])
    return rows


def main() -> None:
    """Builds all, prints and writes the table."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="edgewise-package-") as home:
        rows = [row for model in MODELS for row in rows_of(model, Path(home))]
    small = [row for row in rows if row[1] != "baseline"]
    size, seconds = max(row[3] for row in small), max(row[4] for row in rows)
    met = [
        {"target": f"≤ {MOST_MB:g} MB for digits", "figure": f"{size} MB", "met": size <= MOST_MB},
        {"target": f"written in ≤ {MOST_S:g} s", "figure": f"{seconds} s", "met": seconds <= MOST_S},
    ]
    print(record.write("package_size", "Packages of the digits networks", COLUMNS, rows, met).read_text())


if __name__ == "__main__":
    main()
