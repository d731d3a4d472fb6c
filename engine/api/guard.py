"""Who may ask the API for what: checked before a body is read."""

import math
import os
from hmac import compare_digest
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import visitors
from engine.errors import TooMuch
from engine.host import is_public
from engine.store.calibrations import LARGEST_RESULT_BYTES

MOST_BODY_BYTES = LARGEST_RESULT_BYTES  # of what is read as a whole; parts of uploads are streamed
READS = ("GET", "HEAD", "OPTIONS")
BOARD = "/v1/board"  # has tokens of its own, each for one run
MOST_BOARD_BYTES = 200_000  # of what a device sends at once
OPEN = (BOARD, "/v1/health/", "/docs", "/redoc", "/openapi.json", "/static-offline-docs/")
NEEDS_KEY = "This server asks for its key: send it as `Authorization: Bearer KEY` or as `X-API-Key: KEY`."
NO_WRITES = "Strangers share this host, so it takes nothing by the API until its owner sets EDGEWISE_API_KEY."
NOT_LISTED = "Strangers share this host, so its runs are not listed: a run's id is the key to it."
NOT_YOURS = "This is for the owner of this host: ask with EDGEWISE_API_KEY."
FOREIGN = "A page of another site asks for this, so it is not done: ask from a program, or from this server."


def key() -> str:
    """Returns the key of whoever the machine belongs to; "" where none is set."""
    return os.environ.get("EDGEWISE_API_KEY", "").strip()


def keys() -> list[str]:
    """Returns all keys that let a call in: the owner's, and one a visitor (EDGEWISE_VISITOR_KEYS)."""
    given = os.environ.get("EDGEWISE_VISITOR_KEYS", "").split(",")
    return [word for word in (key(), *map(str.strip, given)) if word]


def visitor(request: Request) -> str:
    """Returns who asks, as `visitors` knows them."""
    return _visitor(request.scope)


Visitor = Annotated[str, Depends(visitor)]


def may_list() -> None:
    """Raises 403 where strangers share the host and no key tells them apart."""
    if is_public() and not keys():
        raise HTTPException(403, NOT_LISTED)


def may_watch(visitor: Visitor) -> None:
    """Raises 403 for who may not see figures of the whole host."""
    may_list()
    if visitor != visitors.OWNER:
        raise HTTPException(403, NOT_YOURS)


class Guard:
    """ASGI middleware that refuses a call without the key, a write on a public host that has none, a write
    that another site's page sends, and a body that is too large.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with 401, 403 or 429, or hands on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refused := _refusal(scope):
            await JSONResponse({"error": refused[1]}, refused[0], refused[2])(scope, receive, send)
        else:
            await self.app(scope, _bounded(scope, receive), send)


def _refusal(scope: Scope) -> tuple[int, str, dict[str, str]] | None:
    if _path(scope).startswith(OPEN):
        return None
    headers, wanted = Headers(scope=scope), keys()
    if wanted and not any([_has(headers, word) for word in wanted]):
        return 401, NEEDS_KEY, {}
    try:
        visitors.may_call(_visitor(scope))
    except TooMuch as error:
        return 429, str(error), retry_after(error)
    if scope["method"] in READS:
        return None
    if is_public() and not wanted:
        return 403, NO_WRITES, {}
    origin = headers.get("origin")
    if origin and urlsplit(origin).netloc != headers.get("host"):
        return 403, FOREIGN, {}
    return None


def retry_after(error: TooMuch) -> dict[str, str]:
    """Returns the header that says when to ask again."""
    return {"Retry-After": str(max(1, math.ceil(error.wait_s)))}


def _visitor(scope: Scope) -> str:
    headers = Headers(scope=scope)
    for word in keys():
        if _has(headers, word):
            return visitors.OWNER if word == key() else visitors.known("key", word)
    if not is_public():
        return visitors.OWNER
    client = scope.get("client")
    return visitors.known("address", client[0] if client else "")


def _path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _has(headers: Headers, wanted: str) -> bool:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return compare_digest(given.encode("latin-1"), wanted.encode())


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Returns a `receive` that takes no more of a body than may be held in memory."""
    if scope["method"] == "PUT":
        return receive
    most = MOST_BOARD_BYTES if _path(scope).startswith(BOARD) else MOST_BODY_BYTES
    taken = 0

    async def received() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, f"This body has more than {most / 1e6:g} MB: send less.")
        return message

    return received


# what the API's description says about the key; `Guard` is what checks it
DESCRIBED = [
    Security(HTTPBearer(auto_error=False, description="EDGEWISE_API_KEY, where the server has one.")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")),
]
