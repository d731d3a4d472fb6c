"""A run's progress as it comes: server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from engine.api.answers import Home, Known
from engine.events import Event, ProcessStarted, written
from engine.run import jobs
from engine.store.workspace import ENDED, Workspace

router = APIRouter(prefix="/runs", tags=["runs"])
LOOK_S = 0.5  # between two looks at a run
SILENT_LOOKS = 30  # then a comment says that the line still stands


@router.get(
    "/{run}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    run: Known, home: Home, last_event_id: Annotated[int, Header(ge=-1, le=10**9)] = -1
) -> StreamingResponse:
    """Sends each event of a run until it has ended; `Last-Event-ID` goes on after that one."""
    return StreamingResponse(_lines(run, home, last_event_id + 1), media_type="text/event-stream")


async def _lines(run: str, home: Workspace, seen: int) -> AsyncIterator[str]:
    silent = 0
    while True:
        found, ended = await run_in_threadpool(_look, run, home)
        new = found[seen:]
        for number, event in enumerate(new, seen):
            if not isinstance(event, ProcessStarted):  # what it tells is this machine's own business
                yield f"id: {number}\nevent: {event.kind}\ndata: {written(event)}\n"
        seen, silent = max(seen, len(found)), 0 if new else silent + 1
        if ended:
            return
        if silent and silent % SILENT_LOOKS == 0:
            yield ": still at work\n\n"
        await asyncio.sleep(LOOK_S)


def _look(run: str, home: Workspace) -> tuple[list[Event], bool]:
    """Returns a run's events and whether it has ended, one look keeping the queue moving; a run that was
    deleted has ended.
    """
    jobs.tick(home)
    if not (home.home / "runs" / run).is_dir():
        return [], True
    ended = home.state(run) in ENDED  # asked first, so that the last event is among those read
    return home.events(run), ended
