"""A model or a data set sent in parts: its address is its SHA-256, so that a broken upload can go on."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi import Path as InPath
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from engine import visitors
from engine.api import guard
from engine.api.answers import Home
from engine.api.guard import Visitor
from engine.store import uploads
from engine.visitors import OWNER

router = APIRouter(prefix="/uploads", tags=["uploads"])
AT_ONCE = 4_000_000  # bytes that are held in memory before they are written
Kind = Literal["model", "dataset"]
Hash = Annotated[str, InPath(pattern="^[0-9a-f]{64}$", description="SHA-256 of the whole file.")]
NAMES: dict[Kind, uploads.Name] = {"model": "model", "dataset": "data.zip"}


class Received(BaseModel):
    """How much of a file is here. Once it is `complete`, runs name it by its SHA-256."""

    sha256: str
    received_bytes: int
    complete: bool


class Listed(Received):
    """An upload in the list: what it is called, when it was last used (in seconds since 1970), and whether a
    run uses it. One that none uses goes when room is needed, the oldest first.
    """

    kind: Kind
    title: str
    last_used: float
    in_use: bool


@router.get("")
def listed(home: Home, visitor: Visitor) -> list[Listed]:
    """Lists the uploads, whole or in part, the last used first."""
    guard.may_list()
    kinds = {name: kind for kind, name in NAMES.items()}
    return [
        Listed(kind=kinds[one.name], **one._asdict())
        for one in uploads.listed(home.home)
        if visitor == OWNER or visitor in uploads.senders(one.sha256, home.home)
    ]


@router.get("/{kind}/{sha256}")
def received(kind: Kind, sha256: Hash, home: Home) -> Received:
    """Says how many bytes are here: where to go on."""
    have, whole = uploads.received(sha256, NAMES[kind], home.home)
    return Received(sha256=sha256, received_bytes=have, complete=whole)


@router.put(
    "/{kind}/{sha256}",
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
)
async def send(
    kind: Kind,
    sha256: Hash,
    request: Request,
    home: Home,
    visitor: Visitor,
    total: Annotated[int, Query(ge=1, le=uploads.MOST_FILE_BYTES, description="Bytes of the whole file.")],
    offset: Annotated[int, Query(ge=0, description="Where this part begins.")] = 0,
) -> Received:
    """Takes a part, or all, of a file as the body, written as it comes; the last is checked by the hash."""
    name = NAMES[kind]
    before = await run_in_threadpool(received, kind, sha256, home)
    if before.complete:
        return before
    if not before.received_bytes:
        await run_in_threadpool(visitors.may_send, visitor, total, home.home)
        await run_in_threadpool(uploads.note_sender, sha256, visitor, home.home)
    await run_in_threadpool(uploads.make_room, max(0, total - offset), home.home)
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if offset + len(held) > total:
            raise HTTPException(
                400, f"More than {total:,} bytes came: give the size of the whole as `total`."
            )
        if len(held) >= AT_ONCE:
            await run_in_threadpool(uploads.add_part, bytes(held), offset, sha256, name, home.home)
            offset += len(held)
            held.clear()
    await run_in_threadpool(uploads.add_part, bytes(held), offset, sha256, name, home.home)
    if offset + len(held) == total:
        await run_in_threadpool(uploads.finish, sha256, name, home.home)
    return await run_in_threadpool(received, kind, sha256, home)
