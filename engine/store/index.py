"""The list of runs as an SQLite file, so that ten thousand runs are listed without opening their folders.

It only repeats what the folders say: where it is lost or damaged it is made anew from them.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import BadInput, EdgewiseError
from engine.store.files import FULL

COLUMNS = ("id", "created", "state", "model", "dataset", "device", "goal", "winner", "title", "tags", "owner")
TABLE = """create table if not exists runs
           (id text primary key, created real, state text, model text, dataset text,
           device text, goal text, winner text, title text, tags text,
           owner text)"""
PUT = f"insert or replace into runs values ({', '.join('?' * len(COLUMNS))})"
WAIT_S = 10.0
# what the first byte of an error's code says: no database, a damaged one, or one without its table
LOST = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
Row = tuple[Any, ...]


class Index:
    """The index of one workspace. Its methods raise EdgewiseError where the file can't be used, and say why.

    Args:
        path: Where it lies.
        rows: Returns a row a run, in the order of COLUMNS, from the folders.
    """

    def __init__(self, path: Path, rows: Callable[[], Iterable[Row]]):
        self.path, self._rows = path, rows
        if not path.exists():
            self.rebuild()
        else:
            self._do(TABLE)

    def all(self) -> list[dict[str, Any]]:
        """Returns every row, the newest run first."""
        # an index of an earlier version lacks columns, which is found out here, and is made anew
        return [dict(row) for row in self._do(f"select {', '.join(COLUMNS)} from runs order by created desc")]

    def put(self, row: Row) -> None:
        """Adds a run's row, over an earlier one."""
        self._do(PUT, row)

    def set_state(self, run_id: str, state: str) -> None:
        """Changes the state of a run that is listed."""
        self._do("update runs set state = ? where id = ?", (state, run_id))

    def remove(self, run_id: str) -> None:
        """Takes a run off the list."""
        self._do("delete from runs where id = ?", (run_id,))

    def rebuild(self) -> None:
        """Makes the list anew from the folders."""
        try:
            with self._open() as connection:
                self._fill(connection)
        except sqlite3.DatabaseError as error:
            if _kind(error) not in LOST:
                raise self._sentence(error) from None
            self.path.unlink(
                missing_ok=True
            )  # no list that could be emptied: what it held stands in the folders
            self._retry(self._fill)

    def _fill(self, connection: sqlite3.Connection) -> None:
        connection.execute("drop table if exists runs")
        connection.execute(TABLE)
        connection.executemany(PUT, self._rows())

    def _do(self, statement: str, values: Row = ()) -> list[sqlite3.Row]:
        try:
            with self._open() as connection:
                found: list[sqlite3.Row] = connection.execute(statement, values).fetchall()
                return found
        except sqlite3.DatabaseError as error:
            if _kind(error) not in LOST:
                raise self._sentence(error) from None
        self.rebuild()
        again: list[sqlite3.Row] = self._retry(lambda c: c.execute(statement, values).fetchall())
        return again

    def _retry(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            with self._open() as connection:
                return work(connection)
        except sqlite3.DatabaseError as error:
            raise self._sentence(error) from None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=WAIT_S)
        connection.row_factory = sqlite3.Row
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def _sentence(self, error: sqlite3.DatabaseError) -> EdgewiseError:
        kind = _kind(error)
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return EdgewiseError(
                f"The list of runs has been in use by another process for {WAIT_S:.0f} s: try again; if it"
                " stays so, end what else uses this workspace."
            )
        if kind == sqlite3.SQLITE_FULL:
            return EdgewiseError(FULL)
        if kind in LOST:
            return EdgewiseError(
                f"The list of runs, {self.path.name}, is damaged and can't be made anew ({error}): delete"
                " that file, the runs themselves stay."
            )
        return BadInput(
            f"The workspace {self.path.parent} can't be written ({error}): set EDGEWISE_HOME to a folder of"
            " yours with free space."
        )


def _kind(error: sqlite3.DatabaseError) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
