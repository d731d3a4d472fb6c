"""Whether the server is up, and whether runs can be kept."""

from fastapi import APIRouter

from engine.api import readiness
from engine.api.readiness import Health

router = APIRouter(prefix="/health", tags=["health"])
router.add_api_route(
    "/ready", readiness.ready, response_model=Health, responses={503: {"model": Health}}, methods=["GET"]
)


@router.get("/live")
def live() -> Health:
    """Says that the server answers."""
    return Health(status="ok")
