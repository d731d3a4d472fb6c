"""The other end: keeps a station's events in an SQLite file, each once, and says which are missing.

python -m deploy.station.collect --broker HOST:PORT --into events.db [--station NAME]
"""

import argparse
import json
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from deploy.station.events import client, port
from deploy.station.refused import Refused, address

SCHEMA = """CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, station TEXT, origin TEXT, seq INTEGER, type TEXT, at TEXT, payload TEXT)"""


class Collector:
    """Subscribes with a session that the broker keeps, and acknowledges an event when it is on the disk: what
    comes while nobody collects is not lost, and what comes twice is kept once.
    """

    def __init__(self, path: Path, host: str, port: int, station: str = "+"):
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(SCHEMA)
        self.lock, self.again = threading.Lock(), 0
        self.topic = f"edgewise/{station}"
        name = "all" if station == "+" else station
        self.client = client(f"edgewise-collect-{name}", os.environ, manual_ack=True)
        self.client.on_connect, self.client.on_message = self._connect, self._message
        self.client.reconnect_delay_set(1, 10)
        self.client.connect_async(host, port, 10)
        self.client.loop_start()

    def rows(self) -> list[tuple[str, int, str, dict[str, Any]]]:
        """Returns id, sequence number, type and content of what is here, in the order of the numbers."""
        with self.lock:
            found = self.db.execute(
                "SELECT id, seq, type, payload FROM events ORDER BY origin, seq"
            ).fetchall()
        return [(id_, seq, kind, json.loads(payload)) for id_, seq, kind, payload in found]

    def missing(self) -> int:
        """Returns how many numbers below the last of each station were not seen."""
        with self.lock:
            return int(
                self.db.execute(
                    "SELECT coalesce(sum(lacking), 0) FROM (SELECT max(seq) - count(*) AS lacking"
                    " FROM events GROUP BY station, origin)"
                ).fetchone()[0]
            )

    def close(self) -> None:
        """Ends the connection; the broker keeps what comes."""
        self.client.disconnect()
        self.client.loop_stop()
        self.db.close()

    def _connect(self, made: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if not reason.is_failure:
            kinds = ("item", "sample", "summary", "alarm", "update")
            made.subscribe([(f"{self.topic}/{kind}", 1) for kind in kinds])

    def _message(self, made: Any, _: Any, message: Any) -> None:
        # of somebody else there is nothing to keep
        if (row := row_of(message.payload)) is not None:
            with self.lock:
                added = self.db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                self.again += added.rowcount == 0
        made.ack(message.mid, message.qos)


def row_of(payload: bytes) -> tuple[str | int, ...] | None:
    """Returns an event as it is kept; None for what no station sends, which anybody at the broker may."""
    try:
        event = json.loads(payload)
        station, origin, seq = str(event["id"]).rsplit("-", 2)
        texts = [str(event["id"]), station, origin, str(event["type"]), str(event["at"]), payload.decode()]
        "".join(texts).encode()  # a half of a pair is no text to SQLite
        number = int(seq)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (*texts[:3], number, *texts[3:]) if number < 2**63 else None


def main() -> int:
    """Collects until it is stopped, then says how many there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--broker", required=True, metavar="HOST[:PORT]")
    parser.add_argument("--into", type=Path, required=True, metavar="FILE")
    parser.add_argument("--station", default="+", metavar="NAME", help="default: all")
    asked = parser.parse_args()
    try:
        collector = Collector(asked.into, *address(asked.broker, port(os.environ)), asked.station)
    except (Refused, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 1
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    said = {"events": len(collector.rows()), "missing": collector.missing(), "twice": collector.again}
    print(json.dumps(said))
    collector.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
