"""The HTTP routes that stand beside the dashboard."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine.errors import EdgewiseError
from engine.store.workspace import Workspace
from engine.vocabulary import SCHEMA_VERSION

__all__ = ["ROUTES", "health"]


def health(request: Request) -> JSONResponse:
    """Says whether runs can be kept: 200 when the workspace can be written, else 503 with one sentence.

    No path and no id is told, since anyone may ask.
    """
    try:
        Workspace()
    except EdgewiseError:
        return JSONResponse(
            {"status": "failed", "reason": "The workspace can't be written."}, status_code=503
        )
    return JSONResponse({"status": "ok", "schema": SCHEMA_VERSION})


ROUTES = [Route("/health", health, methods=["GET"])]
