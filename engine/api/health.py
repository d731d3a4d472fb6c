"""Whether the server is up, and whether runs can be kept."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse

from engine.errors import EdgewiseError
from engine.store.workspace import Workspace
from engine.vocabulary import SCHEMA_VERSION

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """No path and no id is told, since anyone may ask."""

    status: Literal["ok", "failed"]
    reason: str = ""
    schema_version: int = SCHEMA_VERSION


@router.get("/live")
def live() -> Health:
    """Says that the server answers."""
    return Health(status="ok")


@router.get("/ready", response_model=Health, responses={503: {"model": Health}})
def ready() -> JSONResponse:
    """Says whether runs can be kept: 200 when the workspace can be written, else 503 with one sentence."""
    try:
        Workspace()
    except EdgewiseError:
        found = Health(status="failed", reason="The workspace can't be written.")
        return JSONResponse(found.model_dump(), status_code=503)
    return JSONResponse(Health(status="ok").model_dump())
