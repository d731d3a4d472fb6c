"""Whether the inspection line keeps its pace: `python -m benchmarks.station`.

Digits on a simulated conveyor, through a package's classifier, to a Modbus server (the simulated PLC) and a
real broker (mosquitto), with a collector behind it, all on this machine's cores. In one run the broker is
away for the middle third; in one the pictures come as fast as they are taken.
"""

import argparse
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks import record
from benchmarks.engine_run import free_port
from deploy.station.collect import Collector

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("digits/pytorch/small", "digits/keras/small")
RATE, LATEST_MS = 30, 33.0  # the targets: items a second, and one item's share of a second
GOOD = [str(n) for n in range(9)]
SOURCES = {"conveyor": "conveyor", "away": "conveyor, no broker in the middle third", "folder": "folder"}
COLUMNS = [
    *("model", "source", "items", "items a s", "late", "ms to the signal p50", "p95", "processor s a s"),
    *("memory MB", "events", "missing", "twice"),
]
LOOK_S, WAIT_S = 0.1, 60


def main() -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=30, help="of each run on the conveyor")
    asked = parser.parse_args()
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if mosquitto is None:
        sys.exit("This needs mosquitto: apt-get install mosquitto.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgewise-station-") as folder:
        for model in MODELS:
            package, pictures = made(model, Path(folder) / model.replace("/", "-"), RATE * asked.seconds)
            for source in SOURCES:
                with ExitStack() as stack:
                    rows.append([model, SOURCES[source], *ran(source, package, pictures, mosquitto, stack)])
                print(rows[-1], flush=True)
    title = f"An inspection line at {RATE} items a second, PLC, broker and collector on the same cores"
    versions = record.versions() | {name: version(name) for name in ("pymodbus", "paho-mqtt")}
    print(record.write("station", title, COLUMNS, rows, targets(rows), versions=versions).read_text())


def made(model: str, folder: Path, count: int) -> tuple[Path, Path]:
    """Returns the package of a model's baseline, and a folder of digits that it was not trained on."""
    pictures, package = folder / "pictures", folder / "package.zip"
    pictures.mkdir(parents=True)
    _engine(
        folder, "optimize", model, "--dataset", "digits", "--device", "raspberry_pi_4", "--techniques", "fp16"
    )
    run = json.loads((folder / "run" / "run.json").read_text())["id"]
    _engine(folder, "package", run, "baseline", "--output", str(package))
    images = np.load(folder / "home" / "datasets" / "digits" / "test_images.npy")
    for place in range(count):
        Image.fromarray(images[place % len(images)][..., 0]).save(pictures / f"{place:05}.png")
    return package, pictures


def _engine(folder: Path, *words: str) -> None:
    more = [] if "--output" in words else ["--output", str(folder / "run")]
    environment = os.environ | {"EDGEWISE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "engine", *words, *more]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def ran(source: str, package: Path, pictures: Path, mosquitto: str, stack: ExitStack) -> list:
    """Runs one line and returns its row of the table."""
    folder, plc, port = Path(stack.enter_context(tempfile.TemporaryDirectory())), free_port(), free_port()
    settings = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root"]
    settings += ["persistence true", f"persistence_location {folder}/"]
    (folder / "conf").write_text("\n".join([*settings, ""]))
    broker = [mosquitto, "-c", str(folder / "conf")]
    brokers = [started(stack, broker)]
    started(stack, [sys.executable, "-m", "deploy.station.simulator", "--port", str(plc)])
    wait_for(lambda: listens(plc) and listens(port))
    collector = Collector(folder / "events.db", "127.0.0.1", port)
    stack.callback(collector.close)
    where = f"folder:{pictures}" if source == "folder" else f"conveyor:{pictures}@{RATE}"
    words = ["--package", str(package), "--source", where, "--ok-class", *GOOD, "--state", str(folder)]
    words += ["--plc", f"127.0.0.1:{plc}", "--broker", f"127.0.0.1:{port}", "--summary-every", "3600"]
    line = started(stack, [sys.executable, "-m", "deploy.station", *words])
    total = len(list(pictures.iterdir()))
    wait_for(lambda: items(folder) > 0)
    first, began, most = items(folder), time.monotonic(), 0
    spent = [(began, processor_s(line))]
    while (done := items(folder)) < total:
        spent, most = [spent[0], (time.monotonic(), processor_s(line))], max(most, memory(line))
        if source == "away" and len(brokers) == 1 and done > total / 3:
            brokers[0].terminate()
            brokers.append(brokers[0])
        if len(brokers) == 2 and done > 2 * total / 3:
            brokers.append(started(stack, broker))
        time.sleep(LOOK_S)
    seconds = time.monotonic() - began
    (since, before), (until, after) = spent[0], spent[-1]
    line.wait(WAIT_S)
    wait_for(lambda: any(kind == "summary" for _, _, kind, _ in collector.rows()))
    summary = next(content for _, _, kind, content in collector.rows() if kind == "summary")
    return [
        *(total, round((total - first) / seconds, 1), summary["reasons"].get("late", 0)),
        *(
            summary["ms_p50"],
            summary["ms_p95"],
            round((after - before) / max(until - since, LOOK_S), 2),
            round(most / 1e6),
        ),
        *(len(collector.rows()), collector.missing(), collector.again),
    ]


def targets(rows: list[list]) -> list[dict]:
    """Compares each model's runs with the targets."""
    found = []
    for model in dict.fromkeys(row[0] for row in rows):
        own = {row[1]: dict(zip(COLUMNS, row, strict=True)) for row in rows if row[0] == model}
        belts = [own[SOURCES[source]] for source in ("conveyor", "away")]
        late = sum(row["late"] for row in belts)
        slowest = max(row["p95"] for row in belts)
        fastest = own[SOURCES["folder"]]["items a s"]
        missing = sum(row["missing"] for row in own.values())
        found += [
            {
                "target": f"{model}: no item late at {RATE} a second",
                "figure": f"{late} late",
                "met": late == 0,
            },
            {
                "target": f"{model}: 95 % of the signals within {LATEST_MS:g} ms",
                "figure": f"{slowest:.1f} ms",
                "met": slowest <= LATEST_MS,
            },
            {
                "target": f"{model}: at least {RATE} items a second where nothing paces them",
                "figure": f"{fastest:.0f}",
                "met": fastest >= RATE,
            },
            {
                "target": f"{model}: no event lost, with the broker away or not",
                "figure": f"{missing} of {sum(row['events'] for row in own.values())}",
                "met": missing == 0,
            },
        ]
    return found


def started(stack: ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    """Starts a process that ends with the run."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def processor_s(line: subprocess.Popen[bytes]) -> float:
    """Returns the seconds of processor that a station and its classifier have used."""
    return sum(sum(process.cpu_times()[:2]) for process in tree(line))


def memory(line: subprocess.Popen[bytes]) -> int:
    """Returns the bytes that a station and its classifier hold, what they share counted twice."""
    return sum(process.memory_info().rss for process in tree(line))


def tree(line: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Returns the processes of a station."""
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(line.pid)
        return [own, *own.children(recursive=True)]
    return []


def items(folder: Path) -> int:
    """Returns how many items the station's log has."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(folder / "station.db")) as db:
        return db.execute("SELECT coalesce(max(n), 0) FROM items").fetchone()[0]
    return 0


def listens(port: int) -> bool:
    """Tells whether somebody does."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what) -> None:
    """Waits until it is true; raises SystemExit where it never is."""
    end = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > end:
            sys.exit("It did not start, or its events did not come.")
        time.sleep(LOOK_S / 10)


if __name__ == "__main__":
    main()
