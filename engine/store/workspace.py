"""Experiments on disk. The truth is a folder a run; `index.sqlite` only repeats it.

<home>/runs/<id>/experiment.json       what was asked (written whole; later only the runtime is put right)
                 events.jsonl          what happened, append only; the run's state is its last `state` event
                 variants/<id>.json    one a variant, written atomically
                 artifacts/<id>/…      deployable files
                 cache/                checkpoints and graphs shared by techniques (safe to delete)
                 result.json           recommendation and sensitivity
                 owner                 which visitor of a public host started it (see `visitors`)
                 label.json            the title and the tags that the user gave it
                 board.json, board/    what the user's own device is, and measured (see `boards`)
                 lease                 locked for as long as the one writer lives
<home>/boards/…                        tokens of such devices
<home>/deleted/<id>/…                  runs that were deleted, for a day
<home>/uploads/<sha256>/…              uploaded models
<home>/starters/…                      starter models in training
<home>/calibration/<device>/…          benchmark results from the user's devices
<home>/datasets/<id>/…                 data sets made ready
"""

import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from engine import watch
from engine.errors import BadInput, one_line
from engine.events import (
    Event,
    LineChanged,
    MemoryPeak,
    ProcessStarted,
    StateChanged,
    VariantWritten,
    last_state,
    seconds_at_work,
    written,
)
from engine.store import deleted
from engine.store.files import read_json, sentence_on_full_disk, write_json, write_whole
from engine.store.index import Index
from engine.store.runlog import RunLog
from engine.vocabulary import (
    SCHEMA_VERSION,
    Experiment,
    Label,
    LayerSensitivity,
    Recommendation,
    Run,
    Variant,
    parse,
)

M = TypeVar("M", bound=BaseModel)
ENDED = ("done", "failed", "cancelled")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Workspace:
    """A folder of runs. Raises BadInput when the folder can't be written."""

    def __init__(self, home: str | Path | None = None):
        # absolute: every process of a run finds it from a folder of its own
        self.home = Path(home or os.environ.get("EDGEWISE_HOME") or "~/.edgewise").expanduser().resolve()
        try:
            (self.home / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"The workspace {self.home} can't be written ({error}): set EDGEWISE_HOME to a folder of"
                " yours with free space."
            ) from None
        self._logs: dict[str, RunLog] = {}
        self._variants: dict[Path, tuple[tuple[int, ...], Variant | None]] = {}
        self.index = Index(self.home / "index.sqlite", self._rows)

    # ---- runs ----------------------------------------------------------------------------------------------

    def create(self, experiment: Experiment, owner: str = "") -> str:
        """Writes a new run, whole or not at all, and returns its unguessable id (128 random bits)."""
        run_id = new_id()
        draft, folder = self.home / "runs" / f".draft-{run_id}", self.home / "runs" / run_id
        with sentence_on_full_disk():
            try:
                for name in ("variants", "artifacts", "cache"):
                    (draft / name).mkdir(parents=True)
                write_json(
                    draft / "experiment.json", {"created": time.time(), **experiment.model_dump(mode="json")}
                )
                (draft / "events.jsonl").write_text(written(StateChanged(state="queued")))
                if owner:
                    (draft / "owner").write_text(owner)
                draft.rename(folder)
                self._reindex(run_id)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return run_id

    def folder(self, run_id: str) -> Path:
        """Returns the run's folder; raises BadInput when there is no such run."""
        folder = self.home / "runs" / run_id
        if not ID.fullmatch(run_id) or not (folder / "experiment.json").exists():
            raise BadInput(
                f"No run has the id {run_id!r}: check it, or list your runs with `python -m engine runs`."
            )
        return folder

    def experiment(self, run_id: str) -> Experiment:
        """Returns what was asked; raises BadInput for a file that is damaged or of a later schema.

        One of an earlier schema is to be looked at: `ask.check` lets it not go on.
        """
        return parse(Experiment, self._read(run_id), stored=True)

    def _read(self, run_id: str) -> dict[str, Any]:
        path = self.folder(run_id) / "experiment.json"
        try:
            data: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadInput(f"The run {run_id} can't be read ({error}): delete it and run it again.") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise BadInput(
                f"The run {run_id} was written with schema {version}, this Edgewise reads schemas up "
                f"to {SCHEMA_VERSION}: run it again with this version, or open it with the one that wrote it."
            )
        return data

    def run(self, run_id: str) -> Run:
        """Returns the run as it stands on disk."""
        data = self._read(run_id)
        events = self.events(run_id)
        state = last_state(events)
        result = read_json(self.folder(run_id) / "result.json") or {}
        return Run(
            id=run_id,
            state=state.state,
            reason=state.reason,
            experiment=parse(Experiment, data, stored=True),
            created=data.get("created", 0.0),
            seconds=round(seconds_at_work(events, time.time()), 2),
            peak_memory_bytes=max((e.bytes for e in events if isinstance(e, MemoryPeak)), default=0),
            variants=self.variants(run_id),
            sensitivity=_readable(LayerSensitivity, result.get("sensitivity", [])),
            recommendation=next(iter(_readable(Recommendation, [result.get("recommendation")])), None),
        )

    def runs(self) -> list[dict[str, Any]]:
        """Returns a row a run, newest first: id, created, state, model, dataset, device, goal, winner."""
        # one look at the folder: ten thousand would take longer than the list itself
        with os.scandir(self.home / "runs") as entries:
            there = {entry.name for entry in entries if entry.is_dir()}
        return [row for row in self.index.all() if row["id"] in there]

    def owner_of(self, run_id: str) -> str:
        """Returns the visitor who started a run, "" where it was whoever the machine belongs to."""
        try:
            return (self.folder(run_id) / "owner").read_text()
        except OSError:
            return ""

    def own(self, run_id: str, owner: str) -> None:
        """Makes a run that came from elsewhere a visitor's."""
        if owner:
            write_whole(self.folder(run_id) / "owner", owner.encode())
            self._reindex(run_id)

    def label(self, run_id: str, title: str = "", tags: Iterable[str] = ()) -> Label:
        """Gives a run a title and tags, over earlier ones; raises BadInput where they are too long or too
        many.
        """
        words = sorted({one_line(tag).strip() for tag in tags} - {""})
        label = parse(Label, {"title": one_line(title).strip(), "tags": words})
        write_json(self.folder(run_id) / "label.json", label.model_dump(mode="json"))
        self._reindex(run_id)
        return label

    def label_of(self, run_id: str) -> Label:
        """Returns a run's title and tags; none where it has none or they can't be read."""
        found = read_json(self.folder(run_id) / "label.json")
        return next(iter(_readable(Label, [found] if found else [])), Label())

    def delete(self, run_id: str) -> None:
        """Takes a run off the list and keeps it for a day; raises BadInput while it is being written."""
        folder = self.folder(run_id)
        with self.lease(run_id) as held:
            if not held:
                raise BadInput("This run is still at work: cancel it first, then delete it.")
            deleted.put(folder, self.home)
        self.index.remove(run_id)

    def undelete(self, run_id: str) -> None:
        """Takes back a run that was deleted; raises BadInput where it is gone for good."""
        deleted.take_back(run_id, self.home)
        self._reindex(run_id)

    def put_in(self, draft: Path, run_id: str) -> None:
        """Makes a folder that was written elsewhere within this workspace a run; it is one whole or not at
        all.
        """
        folder = self.home / "runs" / run_id
        draft.rename(folder)
        try:
            self._reindex(run_id)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def rebuild_index(self) -> None:
        """Makes the index anew from the folders."""
        self.index.rebuild()

    # ---- what a run writes ---------------------------------------------------------------------------------

    def log(self, run_id: str) -> RunLog:
        """Returns the run's log; this object keeps what it has read of it."""
        path = self.folder(run_id) / "events.jsonl"
        return self._logs.setdefault(run_id, RunLog(path))

    def append(self, run_id: str, event: Event) -> None:
        """Adds one event; a change of state also goes into the index."""
        with sentence_on_full_disk():
            self.log(run_id).append(event)
        if isinstance(event, StateChanged):
            self._reindex(run_id)
        _tell(run_id, event)

    def events(self, run_id: str) -> list[Event]:
        """Returns all events in order; what can't be read of the log is left out."""
        return self.log(run_id).read()

    def state(self, run_id: str) -> str:
        """Returns the run's state: queued, running, done, failed or cancelled."""
        return last_state(self.events(run_id)).state

    def write_variant(self, run_id: str, variant: Variant) -> None:
        """Writes one variant atomically, over an earlier version of itself."""
        write_json(self.folder(run_id) / "variants" / f"{variant.id}.json", variant.model_dump(mode="json"))

    def write_runtime(self, run_id: str, runtime: str, note: str) -> None:
        """Puts right, in what was asked, which runtime the run's files are for, and why."""
        data = self._read(run_id) | {"runtime": runtime, "runtime_note": note}
        write_json(self.folder(run_id) / "experiment.json", data)

    def variants(self, run_id: str) -> list[Variant]:
        """Returns the variants that are finished, the baseline first, in the order they were finished."""
        paths = (self.folder(run_id) / "variants").glob("*.json")
        found = [variant for path in paths if (variant := self._variant(path)) is not None]
        order: dict[str, int] = {}
        for place, event in enumerate(self.events(run_id)):
            if isinstance(event, VariantWritten):
                order.setdefault(event.variant, place)  # a later one only says that it was timed again
        return sorted(found, key=lambda v: (v.id != "baseline", order.get(v.id, len(order)), v.id))

    def _variant(self, path: Path) -> Variant | None:
        """Returns what a variant's file holds, read once while it stays the same; None if it is damaged."""
        try:
            now = path.stat()
        except OSError:
            return None
        stamp = (now.st_mtime_ns, now.st_size, now.st_ino)
        if path not in self._variants or self._variants[path][0] != stamp:
            self._variants[path] = (stamp, _read_variant(path))
        return self._variants[path][1]

    def write_result(self, run_id: str, **parts: Any) -> None:
        """Adds parts (`recommendation`, `sensitivity`) to the run's result."""
        path = self.folder(run_id) / "result.json"
        write_json(path, (read_json(path) or {}) | parts)

    # ---- locks and index -----------------------------------------------------------------------------------

    @contextmanager
    def lease(self, name: str) -> Iterator[bool]:
        """Holds the right to write one run, the `queue`, or the `starters`; yields False when another living
        process has it."""
        folder = {"queue": self.home, "starters": self.home / "starters"}.get(name, self.home / "runs" / name)
        lock = FileLock(folder / "lease", preserve_lock_file=True)
        try:
            with sentence_on_full_disk():
                lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _reindex(self, run_id: str) -> None:
        """Writes a run's row. Of a run that can't be read only the state is kept up, so that it holds up no
        other.
        """
        row = self._row(run_id)
        if row:
            self.index.put(row)
        else:
            self.index.set_state(run_id, self.state(run_id))

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for folder in (self.home / "runs").iterdir():
            if ID.fullmatch(folder.name) and (folder / "experiment.json").exists():
                row = self._row(folder.name)
                if row:
                    yield row

    def _row(self, run_id: str) -> tuple[Any, ...] | None:
        """Returns what the index holds of a run, None where it can't be read."""
        result = read_json(self.folder(run_id) / "result.json") or {}
        winner = (result.get("recommendation") or {}).get("winner")
        try:
            data = self._read(run_id)
            about = (data["created"], self.state(run_id), data["model"]["name"], data["dataset"])
            label = self.label_of(run_id)
            named = (label.title, ", ".join(label.tags), self.owner_of(run_id))
            return (run_id, *about, data["device"], data["goal"], winner, *named)
        except (BadInput, KeyError, TypeError):
            return None


def _tell(run_id: str, event: Event) -> None:
    """Tells whoever watches this process of an event, without what people or files said."""
    if isinstance(event, StateChanged):
        level = logging.WARNING if event.state == "failed" else logging.INFO
        watch.tell("run", level, run_id, state=event.state)
    elif isinstance(event, LineChanged):
        level = logging.WARNING if event.status == "failed" else logging.INFO
        watch.tell("technique", level, run_id, technique=event.technique, status=event.status)
    elif isinstance(event, ProcessStarted):
        watch.tell("process", logging.DEBUG, run_id, what=event.what, pid=event.pid)
    elif isinstance(event, MemoryPeak):
        watch.tell("memory", logging.DEBUG, run_id, bytes=event.bytes)


def new_id() -> str:
    """Returns an id for a run that nobody can guess: 128 random bits."""
    run_id = secrets.token_urlsafe(16)
    while run_id[0] in "-_":  # an id must not look like an option on the command line
        run_id = secrets.token_urlsafe(16)
    return run_id


def _read_variant(path: Path) -> Variant | None:
    """Returns a variant as any version wrote it; one that can't be read is a failed one with the reason."""
    data = read_json(path)
    if not isinstance(data, dict) or not data:
        return None  # cut off, so it will be made again
    try:
        return parse(Variant, data, stored=True)
    except BadInput as error:
        name = path.stem
        reason = f"its file was written by another version and can't be read ({str(error).rstrip('.')})"
        return Variant(id=name, technique=name.split("@")[0], status="failed", reason=reason)


def _readable(kind: type[M], rows: list[Any]) -> list[M]:
    """Returns what can be read of parts that another version may have written."""
    found = []
    for row in rows:
        try:
            found.append(parse(kind, row, stored=True))
        except BadInput:
            continue
    return found
