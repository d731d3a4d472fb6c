"""The host of a run asks its cluster: techniques go out as orders, files by their SHA-256, and replies
are checked.

A worker that is lost is replaced once; after the second one the work has failed. A scheduler that is lost is
waited for; then all that is left is made on this host.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.scheduler import KilledWorker
from pydantic import ValidationError

from engine import messages
from engine.cluster import worker
from engine.cluster.orders import (
    TOPIC,
    Order,
    Reply,
    Said,
    checked_address,
    kind_of,
    unpacked,
    versions,
)
from engine.cluster.run_files import RunFiles
from engine.errors import BadInput
from engine.run.elsewhere import Away, Begun
from engine.run.requests import MakeVariants
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed, Watch

WAIT_S = 60.0  # for a scheduler to be (back) there, and for a worker
LOOK_S = 0.5  # between two looks at what is out
PIECE_BYTES = 8_000_000  # of a file; Dask warns of more at once
PIECE_S = 120.0  # what a worker may take for one
MOST_LOST = 2  # workers, until the work is given up
LOST = "its worker was lost twice while it was made: it may need more memory than workers have"


class _Lost(Exception):
    """The scheduler, or the worker that files go to, is gone; the order may be sent again."""


class _Heard:
    """What is heard of one order while it is out."""

    def __init__(self, begun: Begun):
        self._begun, self.times, self.worker = begun, 0, ""
        self.watch: Watch | None = None

    def begin(self, machine: str) -> Watch:
        self.times, self.worker = self.times + 1, machine
        self.watch = self._begun(machine)
        return self.watch

    def lost(self, present: Iterable[str]) -> int:
        """Returns how many workers were lost over it, given those that are there."""
        return max(0, self.times - 1) + (self.times > 0 and self.worker not in present)


class Cluster:
    """See `engine.run.elsewhere.Elsewhere`; one run's techniques, each asked for in a thread of its own."""

    def __init__(self, address: str):
        self.address, self.versions, self._files = checked_address(address), versions(), RunFiles()
        self._client: Client | None = None
        self._connecting = threading.Lock()
        self._sending: dict[str, threading.Lock] = {}  # by worker
        self._away = ""  # why nobody is asked any more
        self._heard: dict[str, _Heard] = {}
        self._sent = 0

    def close(self) -> None:
        """Lets go of all that is out: workers notice, and stop."""
        self._away = self._away or "the run has ended"
        if self._client is not None:
            with suppress(Exception):
                self._client.close(timeout=5)

    def make(self, request: MakeVariants, limits: Limits, begun: Begun) -> None:
        """See `engine.run.elsewhere.Elsewhere`."""
        order, sources = self._files.order(request, limits, self.versions)
        heard = self._heard[order.id] = _Heard(begun)
        try:
            reply, contents = self._answer(order, sources, heard)
        finally:
            del self._heard[order.id]
        self._files.put(request, reply, contents)
        watch = heard.watch or heard.begin(reply.worker)
        for told in reply.variants:
            watch.on_message({"kind": "variant_made", "variant": told})
        if reply.trouble is not None:
            raise (BadInput if reply.trouble.kind == "input" else Failed)(reply.trouble.message)

    # ---- asking --------------------------------------------------------------------------------------------

    def _answer(
        self, order: Order, sources: dict[str, Path], heard: _Heard
    ) -> tuple[Reply, list[memoryview]]:
        """Returns what became of an order, which is sent again where its scheduler was lost, or its worker
        had not all the files. Raises Failed, or Away.
        """
        text = order.model_dump_json()
        while True:
            client = self._connected()
            try:
                reply, contents = unpacked(self._result(client, text, heard))
                if not reply.lacks:
                    return reply, contents
                self._send(client, reply.worker, sources)
            except _Lost:
                heard.times = 0  # not for what was made

    def _result(self, client: Client, text: str, heard: _Heard) -> bytes:
        future = client.submit(
            worker.make,
            text,
            key=f"edgewise-{secrets.token_hex(8)}",
            pure=False,
            resources={kind_of(self.versions): 1},
            priority=-self._sent,  # in the order that they would be made in here
        )
        self._sent += 1
        alone_since: float | None = None
        try:
            while True:
                try:
                    return future.result(timeout=LOOK_S)
                except TimeoutError:
                    present, others = self._workers(client)
                if heard.lost(present) >= MOST_LOST:
                    raise Failed(LOST)
                alone_since = None if present else alone_since or time.monotonic()
                if alone_since and time.monotonic() - alone_since > WAIT_S:
                    text = f"no worker with the versions of this machine was there for {WAIT_S:.0f} s"
                    raise self._given_up(f"{text} ({others} have others)" if others else text)
        except KilledWorker:
            raise Failed(LOST) from None
        except (CancelledError, OSError):
            raise _Lost from None
        except RuntimeError as error:  # Dask's, where the scheduler does not know our functions
            raise self._given_up(f"the scheduler at {self.address} lacks this Edgewise ({error})") from None
        finally:
            with suppress(Exception):
                future.cancel()

    def _workers(self, client: Client) -> tuple[set[str], int]:
        """Returns the addresses of the workers that may make what this host asks for, and how many others."""
        rows = client.scheduler_info(n_workers=-1).get("workers")
        if rows is None or client.status != "running":
            raise _Lost
        fit = {a for a, row in rows.items() if kind_of(self.versions) in row["resources"]}
        return fit, len(rows) - len(fit)

    def _send(self, client: Client, address: str, sources: dict[str, Path]) -> None:
        """Sends a worker those files that it lacks; nobody sends it the same one meanwhile."""
        with self._sending.setdefault(address, threading.Lock()):
            lacks = json.loads(self._call(client, address, worker.lacking, json.dumps(list(sources))))
            for name in lacks:
                self._send_file(client, address, name, sources[name])

    def _send_file(self, client: Client, address: str, name: str, path: Path) -> None:
        sender, size = secrets.token_hex(8), path.stat().st_size
        with path.open("rb") as file:
            while True:
                offset, data = file.tell(), file.read(PIECE_BYTES)
                ends = file.tell() >= size or not data
                why_not = self._call(
                    client, address, worker.take, json.dumps([name]), sender, offset, data, ends
                )
                if why_not:
                    raise Failed(f"{address} did not take a file: {why_not}")
                if ends:
                    return

    def _call(self, client: Client, address: str, function: Any, *words: Any) -> str:
        """Has one worker answer at once, beside what it makes."""
        key = f"edgewise-{secrets.token_hex(8)}"
        future = client.submit(function, *words, key=key, pure=False, workers=[address], priority=10)
        try:
            return str(future.result(timeout=PIECE_S))
        except (TimeoutError, KilledWorker, CancelledError, OSError):
            raise _Lost from None
        finally:
            with suppress(Exception):
                future.cancel()

    # ---- the scheduler -------------------------------------------------------------------------------------

    def _connected(self) -> Client:
        """Returns who speaks to the scheduler, which is waited for where it is not there; raises Away."""
        with self._connecting:
            if self._away:
                raise Away(self._away)
            if self._client is not None and self._client.status == "running":
                return self._client
            if self._client is not None:
                with suppress(Exception):
                    self._client.close(timeout=1)
            until = time.monotonic() + WAIT_S
            while True:
                try:
                    self._client = self._opened(until - time.monotonic())
                    return self._client
                except (OSError, TimeoutError):
                    if time.monotonic() > until:
                        raise self._given_up(
                            f"no scheduler answered at {self.address} for {WAIT_S:.0f} s"
                        ) from None
                    time.sleep(LOOK_S)

    def _opened(self, seconds: float) -> Client:
        client = Client(self.address, timeout=max(1.0, seconds), set_as_default=False)
        client.set_metadata(worker.VERSIONS, json.dumps(self.versions))
        client.subscribe_topic(TOPIC, self._hear)
        return client

    def _given_up(self, why: str) -> Away:
        self._away = (
            f"{why[0].upper()}{why[1:]}: it is made on this machine, as is all that is left of the run."
        )
        return Away(self._away)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Takes what a worker says; it is not to be believed more than a child is."""
        with suppress(ValidationError, Failed):
            said = Said.model_validate_json(event[1])
            if (heard := self._heard.get(said.order)) is None:
                return
            if said.message is None:
                heard.begin(said.worker)
                return
            message = messages.parsed(said.message)
            # variants come with their files
            if heard.watch is not None and message is not None and message["kind"] != "variant_made":
                heard.watch.on_message(message)
