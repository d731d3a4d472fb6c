"""A ZIP of 100,000 small pictures beside one of 10,000: seconds and memory of looking through it, making it
ready and reading it back.

`python -m benchmarks.zip_100k`: JPEG files of 32 × 32 random pixels in ten class folders, each step in a
process of its own. Memory is the peak that is resident, and what of it is the process's own: pages of a
mapped file are the system's to take back. Linux only.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import record
from engine import datasets
from engine.datasets.trial import trial_pictures
from engine.run.prepare import LIMITS

COUNTS = (10_000, 100_000)
CLASSES, SIDE, DISTINCT = 10, 32, 500
TRIED, BATCH = 500, 256  # pictures
EVERY_S = 0.01
GROWTH_BYTES = 1_000  # of memory, that a picture more may take: its name and its place
COLUMNS = ["step", "pictures", "seconds", "peak resident MB", "of it its own MB"]


def written(path: Path, count: int, seed: int) -> None:
    """Writes a ZIP of so many pictures; each of some random ones stands in it many times."""
    random = np.random.default_rng(seed)
    contents = []
    for pixels in random.integers(0, 256, (DISTINCT, SIDE, SIDE, 3), np.uint8):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        contents.append(file.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"class_{number % CLASSES}/{number:06d}.jpg", contents[number % DISTINCT])


# ---- steps, each with the ZIP and a workspace --------------------------------------------------------------


def looked_through(path: Path, home: Path) -> None:
    """Opens it as an inspection does, and reads the first pictures of the validation part."""
    with trial_pictures(str(path), home) as pictures:
        pictures.fitted(0, TRIED, pictures.usual_shape)


def made_ready(path: Path, home: Path) -> None:
    """Decodes every picture and writes the data set."""
    datasets.prepare(path, home, image_shape=(SIDE, SIDE, 3))


def read_back(path: Path, home: Path) -> None:
    """Reads every picture of every part, as training does: in batches, from the mapped file."""
    for part in datasets.load(path, home, datasets.PARTS, image_shape=(SIDE, SIDE, 3)).values():
        for start in range(0, len(part.labels), BATCH):
            np.array(part.images[start : start + BATCH], np.float32).mean()


STEPS: dict[str, Callable[[Path, Path], None]] = {
    "looked through, 500 tried": looked_through,
    "made ready": made_ready,
    "read back": read_back,
}


def measured(step: str, path: Path, home: Path) -> dict[str, float]:
    """Returns the seconds of a step and the most memory (MB) that this process had meanwhile."""
    own, over = [own_mb()], threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            own.append(own_mb())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    STEPS[step](path, home)
    seconds = time.perf_counter() - began
    over.set()
    watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": seconds, "peak": peak, "own": max(own)}


def own_mb() -> float:
    """Returns the memory that this process has for itself alone, in MB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def rows_of(count: int, seed: int) -> list[list]:
    """Returns a table row for each step with a ZIP of so many pictures."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgewise-zip-") as folder:
        path, home = Path(folder, f"{count}.zip"), Path(folder, "home")
        written(path, count, seed)
        size = path.stat().st_size / 1e6
        print(f"{count:,} pictures are written, {size:.0f} MB", flush=True)
        for step in STEPS:
            words = [sys.executable, "-m", "benchmarks.zip_100k", "--step", step, str(path), str(home)]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{step}, {count:,} pictures: {done.stderr.strip().splitlines()[-1]}")
            found = json.loads(done.stdout)
            rows.append([step, count, *(round(found[name], 1) for name in ("seconds", "peak", "own"))])
            print(*rows[-1], flush=True)
    return rows


def targets(rows: list[list]) -> list[dict]:
    """Returns what was aimed at: memory that hardly grows, and a step within what the product gives it."""
    found = []
    few, many = COUNTS
    for step in STEPS:
        before, after = (next(r[4] for r in rows if r[:2] == [step, count]) for count in (few, many))
        each = 1e6 * (after - before) / (many - few)
        found.append(
            {
                "target": f"{step}: ≤ {GROWTH_BYTES:,} B of its own memory for a picture more",
                "figure": f"{each:,.0f} B, {before} MB to {after} MB",
                "met": each <= GROWTH_BYTES,
            }
        )
    longest, most = (max(r[column] for r in rows) for column in (2, 3))
    given = f"{LIMITS.seconds:,} s and {LIMITS.memory_bytes / 1e6:,.0f} MB"
    met = longest <= LIMITS.seconds and most <= LIMITS.memory_bytes / 1e6
    found.append(
        {
            "target": f"within what its child may take, {given}",
            "figure": f"{longest} s, {most} MB",
            "met": met,
        }
    )
    return found


def main() -> None:
    """Writes both ZIPs, runs the steps, prints and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", nargs=3, metavar=("STEP", "ZIP", "HOME"), help="one step alone, for itself")
    given = parser.parse_args()
    if given.step:
        step, path, home = given.step
        print(json.dumps(measured(step, Path(path), Path(home))))
        return
    load = os.getloadavg()[0]
    rows = [row for count in COUNTS for row in rows_of(count, given.seed)]
    title = f"A ZIP of {COUNTS[-1]:,} pictures of {SIDE} × {SIDE} pixels (load {load:.1f} before)"
    path = record.write(
        "zip_100k", title, COLUMNS, rows, targets(rows), seed=given.seed, load_before=round(load, 2)
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
