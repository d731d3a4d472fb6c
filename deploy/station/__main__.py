"""Runs a quality-inspection line around a package: camera or pictures in, verdicts to the PLC, events to a
broker. docs/station.md has the registers, the topics and a worked example.
"""

import argparse
import fcntl
import json
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from deploy.station.classify import Classifier
from deploy.station.decide import MIN_CONFIDENCE, Rules, rules
from deploy.station.events import Events, port
from deploy.station.keeper import Keeper
from deploy.station.line import Habits, Line
from deploy.station.log import Log
from deploy.station.packages import metadata
from deploy.station.plc import Plc
from deploy.station.refused import NAME, Refused, address
from deploy.station.source import source
from deploy.station.update import Updates

STOPS = (signal.SIGTERM, signal.SIGINT)
MOST_PLACE = 65_535 - 7  # eight registers follow each other
DRAIN_S = 5.0  # that the outbox gets on the way out


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0 done or stopped, 1 bad input, 2 failed; with one sentence on stderr."""
    asked = parser().parse_args(words)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    # until the line runs there is nothing to bring to a safe state
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        return run(asked)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except (sqlite3.Error, OSError) as error:
        print(f"The station stopped, because its folder can't be written: {error}.", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Returns what the command line may ask for."""
    made = argparse.ArgumentParser(prog="python -m deploy.station", description=(__doc__ or "").strip())
    add = made.add_argument
    add("--package", type=Path, required=True, metavar="ZIP_or_DIR", help="that Edgewise made")
    add(
        "--source",
        required=True,
        help="folder:PATH, conveyor:PATH@RATE (folder or zip) or camera:NUMBER[@RATE]",
    )
    add("--ok-class", nargs="+", default=[], metavar="CLASS", help="good ones; alone: all others are defects")
    add("--defect-class", nargs="+", default=[], metavar="CLASS", help="alone: all others are good")
    add(
        "--min-confidence",
        type=float,
        metavar="P",
        help=f"below it an item is unsure (default: what the package says, else {MIN_CONFIDENCE})",
    )
    add("--plc", metavar="HOST[:PORT]", help="Modbus TCP server that gets the verdicts (port 502)")
    add("--plc-unit", type=int, default=1, help="its unit id (default: 1)")
    add("--plc-coil", type=int, default=0, help="the first coil of the map (default: 0)")
    add("--plc-register", type=int, default=0, help="the first holding register of the map (default: 0)")
    add("--broker", metavar="HOST[:PORT]", help="MQTT broker that gets the events (port 1883, TLS 8883)")
    add("--station", default="station", metavar="NAME", help="its name in topics and ids (default: station)")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="log, outbox and packages (default: ~/.edgewise-station/NAME)",
    )
    add("--updates", type=Path, metavar="DIR", help="where packages lie that an update may name")
    add("--threads", type=int, default=1, help="of the runtime (default: 1)")
    add("--sample-every", type=int, default=100, metavar="N", help="send each N-th picture (default: 100)")
    add("--summary-every", type=float, default=60.0, metavar="S", help="seconds (default: 60)")
    add(
        "--drift-limit", type=float, default=0.75, help="spreads by which pictures may change (default: 0.75)"
    )
    add("--learn", action="store_true", help="learn anew what ordinary pictures look like")
    return made


def run(asked: argparse.Namespace) -> int:
    """Sets the line up, runs it, and says in one line of JSON what came of it. Raises Refused."""
    _check(asked)
    items = source(asked.source)
    folder: Path = (asked.state or Path.home() / ".edgewise-station" / asked.station).absolute()
    with _locked(folder):
        log = Log(folder / "station.db", asked.station, sends=bool(asked.broker))
        updates = Updates(
            log, folder / "packages", lambda path: _opened(path, asked), log.event, asked.updates
        )
        first = log.last()
        plc = events = None
        if asked.plc:
            plc = Plc(*address(asked.plc, 502), asked.plc_unit, asked.plc_coil, asked.plc_register)
        classifier = updates.first(asked.package)
        try:
            if asked.broker:
                events = Events(log, *address(asked.broker, port(os.environ)), updates.ask)
        except Refused:
            classifier.close()
            raise
        habits = Habits(
            asked.sample_every, asked.summary_every, drift_limit=asked.drift_limit, learn=asked.learn
        )
        line = Line(items, partial(_sorts, asked), log, plc, habits)
        for number in STOPS:
            signal.signal(number, lambda *_: line.stopping.set())
        keeper = Keeper(log)
        for part in (keeper, plc, events):
            if part:
                part.start()
        line.run(classifier, updates, events)
        if events:
            events.stop(DRAIN_S)
        keeper.stop()
        print(json.dumps(_told(log, first)), flush=True)
        log.close()
    if items.error:
        raise Refused(f"The line stopped, because {items.error}")
    return 0


def _check(asked: argparse.Namespace) -> None:
    """Raises Refused for what can be seen to be wrong before anything is opened."""
    if not NAME.fullmatch(asked.station):
        raise Refused(f"{asked.station!r} is no name for a station: letters, digits, '-', '_' and '.' only.")
    if asked.min_confidence is not None and not 0 <= asked.min_confidence <= 1:
        raise Refused("--min-confidence is a probability, from 0 to 1.")
    if (
        asked.sample_every < 1
        or not asked.summary_every > 0
        or asked.threads < 1
        or not asked.drift_limit > 0
    ):
        raise Refused("--sample-every, --summary-every, --threads and --drift-limit are above 0.")
    if not 0 <= asked.plc_unit <= 255:
        raise Refused("--plc-unit is a Modbus unit, from 0 to 255.")
    if not (0 <= asked.plc_coil <= MOST_PLACE and 0 <= asked.plc_register <= MOST_PLACE):
        raise Refused(f"--plc-coil and --plc-register are places of a PLC, from 0 to {MOST_PLACE:,}.")
    if asked.updates and not asked.updates.is_dir():
        raise Refused(f"There is no folder {asked.updates} for --updates.")


def _opened(folder: Path, asked: argparse.Namespace) -> Classifier:
    """Opens a package whose classes are those that were named."""
    _sorts(asked, metadata(folder)["classes"])
    return Classifier(folder, asked.threads)


def _sorts(asked: argparse.Namespace, classes: Sequence[str]) -> Rules:
    """Returns how a package's classes are sorted: where only defects are named, a new one may have others."""
    return rules(classes, asked.ok_class, asked.defect_class, asked.min_confidence)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Makes the station's folder its own. Raises Refused where another station is at work in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused(
                f"Another station is at work in {folder}: name another folder with --state."
            ) from None
        yield


def _told(log: Log, first: int) -> dict[str, Any]:
    found: dict[str, Any] = {"items": log.last() - first, "ok": 0, "defect": 0, "unsure": 0, "lost": 0}
    for (verdict, _, reached), count in log.counts(first).items():
        found[verdict] += count
        found["lost"] += count if reached == "lost" else 0
    return found | {"waiting": log.waiting()}


if __name__ == "__main__":
    sys.exit(main())
