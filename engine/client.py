"""Asks an Edgewise that runs elsewhere, over its HTTP API: `Client("http://host:8501")`.

What the server refuses is raised as BadInput, what it can't do as EdgewiseError, each with its own sentence.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from engine import events
from engine.errors import BadInput, EdgewiseError, shortened
from engine.vocabulary import Recommendation, Run, parse

API = "/api/v1"
PART = 8_000_000  # bytes of an upload that are sent at once
PATIENCE_S = 900.0  # a package is built and run before it comes
TRIES, PAUSE_S = 5, 2.0  # to take a broken line of events up again


class Silent(EdgewiseError):
    """The server can't be reached, or the line to it broke."""


class Client:
    """One server. `key`: its EDGEWISE_API_KEY, where it has one."""

    def __init__(self, server: str, key: str = ""):
        if urlsplit(server).scheme not in ("http", "https"):
            raise BadInput(f"{server!r} is no server's address: give one such as http://host:8501.")
        self.server, self._key = server.rstrip("/").removesuffix(API), key

    def upload(self, path: Path, kind: Literal["model", "dataset"]) -> str:
        """Sends a model, or a ZIP of class folders, going on where an earlier try broke off; returns its
        SHA-256, by which runs name it.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            address, total = f"uploads/{kind}/{sha256}", path.stat().st_size
            here = self._json("GET", address)
            while not here["complete"]:
                offset = file.seek(here["received_bytes"])
                here = self._json("PUT", address, file.read(PART), total=total, offset=offset)
        return sha256

    def uploads(self) -> list[dict[str, Any]]:
        """Returns what was uploaded, the last used first."""
        return list(self._json("GET", "uploads"))

    def start(self, **asked: Any) -> Run:
        """Queues a run, asked as in `POST /runs`; what is None has its default."""
        given = {name: value for name, value in asked.items() if value is not None}
        return parse(Run, self._json("POST", "runs", json.dumps(given).encode()), stored=True)

    def stop(self, run_id: str) -> Run:
        """Stops a run and keeps what is finished."""
        return parse(Run, self._json("POST", _run(run_id, "stop")), stored=True)

    def delete(self, run_id: str) -> None:
        """Takes a run off the list; it can be taken back for a day."""
        with self._ask("DELETE", _run(run_id)) as answer:
            answer.read()

    def events(self, run_id: str) -> Iterator[events.Event]:
        """Yields a run's events as they come, until it has ended; a broken line is taken up again."""
        last, failed = -1, 0
        while True:
            try:
                with self._ask("GET", _run(run_id, "events"), last_event=last) as answer:
                    for line in answer:
                        name, _, value = line.strip().partition(b": ")
                        if name == b"id":
                            last, failed = int(value), 0
                        elif name == b"data" and (event := events.read(value)):
                            yield event
                return
            except Silent:
                if (failed := failed + 1) > TRIES:
                    raise
                time.sleep(PAUSE_S)

    def run(self, run_id: str) -> Run:
        """Returns a run with its variants and its recommendation."""
        return parse(Run, self._json("GET", _run(run_id)), stored=True)

    def runs(self, search: str = "") -> list[dict[str, Any]]:
        """Returns a row a run, the newest first; those that hold every word that is searched for."""
        return list(self._json("GET", "runs", search=search, limit=200))

    def recommendation(self, run_id: str) -> Recommendation:
        """Returns which variant is recommended, and why; raises EdgewiseError while there is none."""
        return parse(Recommendation, self._json("GET", _run(run_id, "recommendation")), stored=True)

    def package(
        self, run_id: str, variant: str, reach: float | None = None, device: str | None = None
    ) -> bytes:
        """Returns the zip that runs a variant on its device (see `engine.package`)."""
        return self._bytes(_run(run_id, "variants", variant, "package"), reach=reach, device=device)

    def report(self, run_id: str, kind: Literal["html", "md"] = "html") -> bytes:
        """Returns a run's report as a page or as Markdown."""
        return self._bytes(_run(run_id, "report"), format=kind)

    def board_token(self, run_id: str) -> str:
        """Returns a token with which one device of yours may measure a run (`/api/v1/board/agent.py`)."""
        return str(self._json("POST", _run(run_id, "board"))["token"])

    def board(self, run_id: str) -> dict[str, Any]:
        """Returns what that device has measured until now, by variant."""
        return dict(self._json("GET", _run(run_id, "board")))

    def _bytes(self, address: str, **query: Any) -> bytes:
        with self._ask("GET", address, **query) as answer:
            return answer.read()

    def _json(self, method: str, address: str, body: bytes | None = None, **query: Any) -> Any:
        with self._ask(method, address, body, **query) as answer:
            data = answer.read()
        try:
            return json.loads(data)
        except ValueError:
            raise EdgewiseError(f"{self.server} does not answer as an Edgewise: check its address.") from None

    @contextmanager
    def _ask(
        self,
        method: str,
        address: str,
        body: bytes | None = None,
        last_event: int | None = None,
        **query: Any,
    ) -> Iterator[HTTPResponse]:
        words = urlencode({name: value for name, value in query.items() if value is not None})
        asked = Request(f"{self.server}{API}/{address}?{words}", body, method=method)
        asked.add_header("Content-Type", "application/json")
        if last_event is not None:
            asked.add_header("Last-Event-ID", str(last_event))
        if self._key:  # for this server alone, wherever it may send on to
            asked.add_unredirected_header("X-API-Key", self._key.encode().decode("latin-1"))
        try:
            with urlopen(asked, timeout=PATIENCE_S) as answer:
                yield answer
        except HTTPError as error:
            raise _refused(error) from None
        except (OSError, HTTPException) as error:
            why = shortened(getattr(error, "reason", error), 120)
            raise Silent(f"{self.server} does not answer ({why}): check its address.") from None


def _run(run_id: str, *parts: str) -> str:
    return "/".join(["runs", *(quote(part, safe="") for part in (run_id, *parts))])


def _refused(error: HTTPError) -> EdgewiseError:
    """Returns what the server says of a refusal, in the kind that it has on the command line."""
    try:
        said = shortened(json.load(error)["error"], 2000)
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        said = f"The server answered with {error.code}: check its address."
    return BadInput(said) if 400 <= error.code < 500 and error.code != 409 else EdgewiseError(said)
