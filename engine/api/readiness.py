"""Whether runs can be kept here: one answer for the API and for hosts, which need none of the API for it."""

from typing import Literal

from pydantic import BaseModel
from starlette.responses import JSONResponse

from engine.errors import EdgewiseError
from engine.store.workspace import Workspace
from engine.vocabulary import SCHEMA_VERSION


class Health(BaseModel):
    """No path and no id is told, since anyone may ask."""

    status: Literal["ok", "failed"]
    reason: str = ""
    schema_version: int = SCHEMA_VERSION


def ready() -> JSONResponse:
    """Says whether runs can be kept: 200 when the workspace can be written, else 503 with one sentence."""
    try:
        Workspace()
    except EdgewiseError:
        found = Health(status="failed", reason="The workspace can't be written.")
        return JSONResponse(found.model_dump(), status_code=503)
    return JSONResponse(Health(status="ok").model_dump())
