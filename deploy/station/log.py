"""What happened on the line, and what is still to be sent: one SQLite file that outlives a kill and a power
cut. An item is written before its signal goes out, and with the next one what became of it. Only what a power
cut can't take any more is sent, so that no event's number is given twice; an item's may be, to the PLC, for
those of the last half second.
"""

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.station.decide import OK, Verdict
from deploy.station.plc import LOST
from deploy.station.refused import Refused

OPEN, UNKNOWN = "open", "unknown"  # signals that were not yet, or never, heard of
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  n INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, picture TEXT, verdict TEXT, reason TEXT, detail TEXT,
  class TEXT, probability REAL, ms REAL, package TEXT, signal TEXT);
CREATE INDEX IF NOT EXISTS open_items ON items(n) WHERE signal = 'open';
CREATE TABLE IF NOT EXISTS outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT, type TEXT, payload TEXT, sent TEXT);
CREATE INDEX IF NOT EXISTS unsent ON outbox(seq) WHERE sent IS NULL;
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT);
"""
COLUMNS = (
    "n",
    "at",
    "picture",
    "verdict",
    "reason",
    "detail",
    "class",
    "probability",
    "ms",
    "package",
    "signal",
)


def now() -> str:
    """Returns the time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Log:
    """The station's memory. Every method may be called from any thread.

    sends: whether there is anybody to send events to; else none are kept, which would grow without end.
    """

    def __init__(self, path: Path, station: str, sends: bool = True):
        self.lock, self.station, self.sends = threading.RLock(), station, sends
        try:
            self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self.db.execute("PRAGMA journal_mode=WAL")
            # a card may take half a second to say that bytes are safe: an item does not wait for that, its
            # event does (`sync`)
            self.db.execute("PRAGMA synchronous=NORMAL")
            self.db.execute("PRAGMA wal_autocheckpoint=0")
            self.db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise Refused(
                f"The log {path} can't be used ({error}): name another folder with --state."
            ) from None
        self.error = ""  # of who syncs
        self.path, self.safe = path, 0  # the last event that a power cut can't take
        self.pending: list[tuple[str, Sequence[Any]]] = []
        # of this file: a new one starts to count at 1 again
        self.origin: str = self.get("origin") or secrets.token_hex(4)
        self.set("origin", self.origin)
        self._close_open_items()

    def decided(self, picture: str, verdict: Verdict, ms: float, package: str) -> int:
        """Writes an item and returns its number; from now on a kill does not take it."""
        row = (now(), picture, verdict.verdict, verdict.reason, verdict.detail, verdict.name)
        with self.lock:
            self._begin()
            number = self.db.execute(
                f"INSERT INTO items ({', '.join(COLUMNS[1:])}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, verdict.probability, round(ms, 3), package, OPEN),
            ).lastrowid
            self.db.execute("COMMIT")
            assert number is not None
            return number

    def signalled(self, number: int, signal: str) -> None:
        """Notes what became of an item's signal, and its event; written with the next item or `flush`."""
        with self.lock:
            row = self.db.execute(f"SELECT {', '.join(COLUMNS)} FROM items WHERE n = ?", (number,)).fetchone()
            item = dict(zip(COLUMNS, row, strict=True)) | {"signal": signal}
            self.pending.append(("UPDATE items SET signal = ? WHERE n = ?", (signal, number)))
            self._later("item", item | {"outcome": outcome(item["verdict"], signal)})

    def event(self, kind: str, what: dict[str, Any]) -> None:
        """Puts an event into the outbox."""
        with self.lock:
            self._later(kind, what)
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        with self.lock:
            if self.pending:
                self._begin()
                self.db.execute("COMMIT")

    def unsent(self, after: int, limit: int) -> list[tuple[int, str, str]]:
        """Returns sequence number, type and payload of what was not sent and is safe, in order, behind a
        number.
        """
        with self.lock:
            found = self.db.execute(
                "SELECT seq, at, type, payload FROM outbox"
                " WHERE sent IS NULL AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                (after, self.safe, limit),
            ).fetchall()
        return [(seq, kind, self._enveloped(seq, at, kind, payload)) for seq, at, kind, payload in found]

    def sent(self, seqs: Sequence[int]) -> None:
        """Marks events that the broker has taken."""
        with self.lock:
            self.pending += [("UPDATE outbox SET sent = ? WHERE seq = ?", (now(), seq)) for seq in seqs]
            self.flush()

    def waiting(self) -> int:
        """Returns how many events were not sent."""
        with self.lock:
            return int(self.db.execute("SELECT count(*) FROM outbox WHERE sent IS NULL").fetchone()[0])

    def counts(self, after: int = 0) -> dict[tuple[str, str, str], int]:
        """Returns how many items behind a number there are of each verdict, reason and signal."""
        with self.lock:
            rows = self.db.execute(
                "SELECT verdict, reason, signal, count(*) FROM items WHERE n > ? GROUP BY 1, 2, 3", (after,)
            )
            return {(verdict, reason, signal): count for verdict, reason, signal, count in rows}

    def reasons(self, package: str, after: int, limit: int) -> list[str]:
        """Returns the reasons ("" for a sure answer) of a package's last items behind a number."""
        with self.lock:
            rows = self.db.execute(
                "SELECT reason FROM items WHERE package = ? AND n > ? ORDER BY n DESC LIMIT ?",
                (package, after, limit),
            )
            return [reason for (reason,) in rows]

    def last(self) -> int:
        """Returns the last item's number, 0 before the first."""
        with self.lock:
            return int(self.db.execute("SELECT coalesce(max(n), 0) FROM items").fetchone()[0])

    def get(self, key: str) -> Any:
        """Returns a value that was set, None where none was."""
        with self.lock:
            row = self.db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def set(self, key: str, value: Any) -> None:
        """Keeps a value."""
        with self.lock:
            self.db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, json.dumps(value)))

    def sync(self) -> None:
        """Waits until all that was written is on the disk, and lets its events go. Nobody else waits."""
        self.flush()
        with self.lock:
            last = int(self.db.execute("SELECT coalesce(max(seq), 0) FROM outbox").fetchone()[0])
        for path in (f"{self.path}-wal", self.path.parent):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        self.safe = max(self.safe, last)

    def prune(self, days: float, most: int) -> None:
        """Forgets some items and sent events that are older; what was not sent stays, however old."""
        edge = datetime.fromtimestamp(datetime.now(UTC).timestamp() - days * 86400, UTC)
        with self.lock:
            for table, key, when in (("outbox", "seq", "sent"), ("items", "n", "at")):
                oldest = f"SELECT {key}, {when} FROM {table} ORDER BY {key} LIMIT ?"
                self.db.execute(
                    f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM ({oldest}) WHERE {when} < ?)",
                    (most, edge.isoformat(timespec="milliseconds")),
                )

    def close(self) -> None:
        """Writes what waits and closes the file."""
        with self.lock:
            self.flush()
            self.db.close()

    def _begin(self) -> None:
        """Opens a transaction and writes in it what waits."""
        if self.error:
            raise sqlite3.OperationalError(self.error)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in self.pending:
                self.db.execute(statement, values)
        except sqlite3.Error:
            self.db.execute("ROLLBACK")
            raise
        self.pending.clear()

    def _later(self, kind: str, what: dict[str, Any]) -> None:
        if self.sends:
            row = (now(), kind, json.dumps(what))
            self.pending.append(("INSERT INTO outbox (at, type, payload) VALUES (?, ?, ?)", row))

    def _enveloped(self, seq: int, at: str, kind: str, payload: str) -> str:
        """Returns what is sent. The id is the same each time that it is sent, and of no other event."""
        head = {"id": f"{self.station}-{self.origin}-{seq}", "seq": seq, "station": self.station}
        return json.dumps({**head, "type": kind, "at": at, **json.loads(payload)})

    def _close_open_items(self) -> None:
        """Items whose signal the last process did not live to hear of: nobody knows whether it arrived."""
        with self.lock:
            for (number,) in self.db.execute("SELECT n FROM items WHERE signal = ?", (OPEN,)).fetchall():
                self.signalled(number, UNKNOWN)
            self.flush()


def outcome(verdict: str, signal: str) -> str:
    """Returns what became of an item: it passes where it is ok and the PLC was told so, or where there is no
    PLC to tell; else it is a reject.
    """
    if verdict != OK:
        return "reject"
    return {LOST: "reject", UNKNOWN: "unknown"}.get(signal, "pass")
