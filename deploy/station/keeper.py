"""Keeps the log safe and small in a thread of its own, so that the line waits for no disk."""

import sqlite3
import threading
import time
from contextlib import closing, suppress

from deploy.station.log import Log

SYNC_S = 0.2
TIDY_S = 5.0
KEEP_DAYS = 30.0
MOST_PRUNED = 1000  # rows at once: the line waits that long


class Keeper:
    """Syncs the log and folds its write-ahead file into the main one. What goes
    wrong fails the line's next write.
    """

    def __init__(self, log: Log):
        self.log, self.ended = log, threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Keeps it from now on."""
        self.thread.start()

    def stop(self) -> None:
        """Syncs a last time."""
        self.ended.set()
        self.thread.join()
        self.log.sync()

    def _keep(self) -> None:
        tidied = time.monotonic()
        try:
            # a second connection: a checkpoint on it holds no writer up
            with closing(sqlite3.connect(self.log.path, isolation_level=None)) as second:
                while not self.ended.wait(SYNC_S):
                    self.log.sync()
                    if time.monotonic() - tidied > TIDY_S:
                        tidied = time.monotonic()
                        self.log.prune(KEEP_DAYS, MOST_PRUNED)
                        with suppress(sqlite3.OperationalError):  # a reader is in the way: the next time
                            second.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (sqlite3.Error, OSError) as error:
            self.log.error = str(error)
