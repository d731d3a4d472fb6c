"""The API as one ASGI app, mounted at /api beside the dashboard; its pages of documentation work offline."""

from fastapi_offline import FastAPIOffline

from engine.api import asking, boards, catalog, events, health, metrics, runs, uploads
from engine.api.answers import REFUSED, say_errors
from engine.api.guard import DESCRIBED, Guard
from engine.version import VERSION

__all__ = ["api"]

api = FastAPIOffline(
    docs_url="/docs",
    redoc_url="/redoc",
    title="Edgewise",
    version=VERSION,
    description="Fit a trained image classifier to an edge device: the same runs as on the pages.",
)
api.add_middleware(Guard)
say_errors(api)
api.include_router(health.router, prefix="/v1")
for resource in (catalog, uploads, asking, events, runs, metrics):
    api.include_router(resource.router, prefix="/v1", dependencies=DESCRIBED, responses=REFUSED)
api.include_router(boards.router, prefix="/v1")  # most of it asks for a token and not for the key
