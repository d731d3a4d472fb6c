"""A machine that makes techniques for the runs of others: `edgewise worker tcp://HOST:PORT`.

It measures nothing and never sees a test part. Dask calls the functions below by their names, with text and
bytes; each order is carried out behind this machine's own wall.
"""

import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client, Worker, WorkerPlugin, get_worker
from pydantic import TypeAdapter, ValidationError

from engine import datasets
from engine.cluster.files import Files
from engine.cluster.orders import (
    MOST_BYTES,
    TOPIC,
    File,
    Order,
    Reply,
    Said,
    Sha256,
    checked_address,
    difference,
    kind_of,
    packed,
    versions,
)
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError, shortened
from engine.run.prepare import wanted
from engine.run.requests import MakeVariants
from engine.wall import processes, sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed, Watch
from models.catalog import sha256_of

NAME = "edgewise"
VERSIONS = [NAME, "versions"]  # where the scheduler keeps those of the host whose run came last
LEAST_BETWEEN_S = 0.5  # two messages of progress
AGAIN_S = 2.0  # until the scheduler is looked for once more
HASHES = TypeAdapter(tuple[Sha256, ...])


# ---- what Dask calls ---------------------------------------------------------------------------------------


def make(order: str) -> bytes:
    """Carries out an Order, given as JSON; returns a Reply with its files, see `orders.packed`."""
    return _maker().make(order)


def lacking(names: str) -> str:
    """Returns, as JSON, those SHA-256s out of a JSON list whose files are not here."""
    return json.dumps(_maker().files.lacking(HASHES.validate_json(names)))


def take(names: str, sender: str, offset: int, data: bytes, is_last: bool) -> str:
    """Takes a piece of the file whose SHA-256 is the only one in a JSON list; returns why not, or ""."""
    try:
        (name,) = HASHES.validate_json(names)
        _maker().files.add(name, sender, offset, data, is_last)
    except (EdgewiseError, ValueError) as error:
        return str(error)
    return ""


def _maker() -> "Maker":
    found = get_worker().plugins[NAME]
    assert isinstance(found, Maker)
    return found


# ---- an order ----------------------------------------------------------------------------------------------


class Maker(WorkerPlugin):
    """What a Dask worker needs to make techniques: a folder that ends with it."""

    name = NAME

    def __init__(self, folder: Path):
        self.folder, self.files = folder, Files(folder / "files")
        self.worker: Any = None

    def setup(self, worker: Worker) -> None:
        """Is called by Dask."""
        self.worker = worker

    def make(self, text: str) -> bytes:
        """Carries out an order; whatever goes wrong with it is told in the reply."""
        try:
            order = Order.model_validate_json(text)
            if differ := difference(versions(), order.versions):
                raise Failed(f"its worker has other versions than the host of the run: {differ}")
            if lacks := self.files.lacking(file.sha256 for file in order.files):
                return packed(self._reply(lacks=tuple(lacks)), self.folder)
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                return self._made(order, Path(place))
        except ValidationError:
            return packed(
                self._troubled(Failed("its worker was sent something that is no order")), self.folder
            )
        except (EdgewiseError, OSError) as error:
            return packed(self._troubled(error), self.folder)

    def _made(self, order: Order, place: Path) -> bytes:
        request, began = laid_out(order, place, self.files), time.monotonic()
        told: list[dict[str, Any]] = []
        self._say(order, None)
        trouble: EdgewiseError | None = None
        limits = Limits(order.memory_bytes, order.seconds, threads=request.threads, programs=False)
        watch, log = self._watch(order, told.append), place / "log"
        try:
            sandbox.run("engine.run.tasks", request.sent(), limits, watch, log)
        except EdgewiseError as error:
            trouble = error
            print(log.read_text(errors="replace")[-2_000:], file=sys.stderr)
        outcome = f"{trouble}" if trouble else f"{len(told)} variants"
        print(f"{request.technique}: {outcome}, {time.monotonic() - began:.1f} s", flush=True)
        files = made_files(request.folder, {file.path for file in order.files})
        if sum(file.bytes for file in files) > MOST_BYTES:
            raise Failed(f"its files have more than the {MOST_BYTES / 1e9:.0f} GB that are sent back")
        found = self._reply(variants=tuple(told), files=files)
        if trouble is not None:
            found = found.model_copy(update={"trouble": self._troubled(trouble).trouble})
        return packed(found, request.folder)

    def _watch(self, order: Order, on_variant: Callable[[dict[str, Any]], None]) -> Watch:
        key, told_at = self.worker.get_current_task(), 0.0

        def hear(message: dict[str, Any]) -> None:
            nonlocal told_at
            if message["kind"] == "variant_made":
                on_variant(message["variant"])
            elif message["kind"] == "log" or time.monotonic() - told_at > LEAST_BETWEEN_S:
                told_at = time.monotonic()
                self._say(order, message)

        def look(used_bytes: int) -> None:
            if not self._is_wanted(key):
                raise Failed("it was cancelled")

        return Watch(on_message=hear, on_memory=look)

    def _is_wanted(self, key: str) -> bool:
        """Tells whether somebody still waits for a task: Dask can't stop one that is at work."""
        task = self.worker.state.tasks.get(key)
        return task is not None and task.state == "executing" and self.worker.status.name == "running"

    def _say(self, order: Order, message: dict[str, Any] | None) -> None:
        said = Said(order=order.id, worker=self.worker.address, message=message)
        self.worker.log_event(TOPIC, said.model_dump_json())

    def _reply(self, **parts: Any) -> Reply:
        return Reply(worker=self.worker.address, **parts)

    def _troubled(self, error: Exception) -> Reply:
        kind = "input" if isinstance(error, BadInput) else "failed"
        return self._reply(trouble={"kind": kind, "message": shortened(error, 1_000)})


def laid_out(order: Order, place: Path, files: Files) -> MakeVariants:
    """Puts an order's files where its request finds them, all in the folder `place`; returns the request with
    its own paths.
    """
    model, dataset = (
        order.request.model.model_copy(update={"path": str(place / "model")}),
        order.request.dataset,
    )
    if dataset is not None and dataset not in DATASETS:
        (place / "own").mkdir()  # stands for the user's own file, which stays where it is
        dataset = str(place / "own")
    for file in order.files:
        target = place / file.path
        if file.path.startswith("data/"):
            target = datasets.located(dataset or "", place, **wanted(dataset, model)) / file.path[5:]
        files.put(file.sha256, target, is_large=file.path.startswith("data/"))
    for name in ("artifacts", "cache"):
        (place / "run" / name).mkdir(parents=True, exist_ok=True)
    ours = {"folder": place / "run", "home": place, "dataset": dataset, "model": model}
    return order.request.model_copy(update=ours)


def made_files(folder: Path, sent: set[str]) -> tuple[File, ...]:
    """Returns the files that a child left in its run's folder, without those that were sent, and no links."""
    found = []
    for path in sorted((*(folder / "artifacts").rglob("*"), *(folder / "cache").glob("*"))):
        name = path.relative_to(folder).as_posix()
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.is_file() and not path.is_symlink() and f"run/{name}" not in sent:
            with suppress(ValidationError):  # of a name that no technique gives
                found.append(File(path=name, sha256=sha256_of(path), bytes=path.stat().st_size))
    return tuple(found)


# ---- the process -------------------------------------------------------------------------------------------


def serve(address: str) -> None:
    """Works for the scheduler at `address` until this process is stopped; one that is gone is waited for.

    Raises BadInput where that is no address, or the versions here are not those of the cluster.
    """
    checked_address(address)
    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection
    with (
        processes.own_folder(Path(tempfile.gettempdir()), "edgewise-worker-") as folder,
        suppress(asyncio.CancelledError),
    ):
        asyncio.run(_serve(address, folder))


async def _serve(address: str, folder: Path) -> None:
    maker, task = Maker(folder), asyncio.current_task()
    assert task is not None
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, task.cancel)
    while True:
        try:
            await _compare(address)
            await _work(address, maker)
        except OSError as error:  # Dask's own errors of connection among them
            print(f"No scheduler answers at {address} ({error}): looking again.", file=sys.stderr, flush=True)
        await asyncio.sleep(AGAIN_S)


async def _compare(address: str) -> None:
    """Refuses to join where the host whose run came last has other versions."""
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        told = await client.get_metadata(VERSIONS, default=None)
    there = json.loads(told) if isinstance(told, str) else None
    if there and (differ := difference(versions(), there)):
        raise BadInput(f"This machine can't join the cluster: {differ}. Install the same versions.")


async def _work(address: str, maker: Maker) -> None:
    """Works until the scheduler is lost. One thread makes, the other takes files."""
    async with Worker(
        address,
        nthreads=2,
        resources={kind_of(versions()): 1},
        memory_limit=0,  # the wall holds the child to its limit
        local_directory=str(maker.folder),
        plugins=(maker,),
        dashboard=False,
    ) as worker:
        print(f"At work for {address} as {worker.address}", flush=True)
        await worker.finished()
