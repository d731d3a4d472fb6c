"""Runs that there are: found, looked at, held beside each other, reported and packed."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel
from starlette.responses import FileResponse, Response

from deploy import package
from deploy.report import html, markdown, material
from engine.api import guard
from engine.api.answers import Home, Known, dataset_shown, run_id, shown
from engine.judge.differences import side_by_side
from engine.judge.table import row
from engine.judge.words import device_name, holds_words
from engine.run import on_board
from engine.store import deleted
from engine.visitors import OWNER, kept_until
from engine.vocabulary import Recommendation, Run

router = APIRouter(prefix="/runs", tags=["runs"])
MOST_ROWS = 200
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Listed(BaseModel):
    """A run in the list. `created` and `kept_until`, when a public host deletes it, in seconds since 1970."""

    id: str
    created: float
    state: State
    model: str
    dataset: str | None
    device: str
    goal: str
    winner: str | None
    title: str | None
    tags: str | None
    kept_until: float | None = None


class Deleted(BaseModel):
    """A run that can be taken back."""

    id: str
    about: str


class Difference(BaseModel):
    """One thing of two runs, as people read it."""

    what: str
    first: str
    second: str
    differs: bool


@router.get("")
def recent(
    home: Home,
    visitor: guard.Visitor,
    search: Annotated[str, Query(description="A word of the model, data, device, title or tags.")] = "",
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> list[Listed]:
    """Lists runs, the newest first; those that hold every word that is searched for."""
    guard.may_list()
    own = (row for row in home.runs() if visitor in (OWNER, row["owner"]))
    return list(islice(_found(own, search, state), limit))


@router.get("/deleted")
def deleted_runs(home: Home, visitor: guard.Visitor) -> list[Deleted]:
    """Lists the runs of the last day that can be taken back, the last deleted first."""
    guard.may_list()
    return [
        Deleted(id=one, about=deleted.experiment_of(one, home.home))
        for one in deleted.listed(home.home)
        if visitor in (OWNER, deleted.owner_of(one, home.home))
    ]


@router.get("/compare")
def compare(first: str, second: str, home: Home) -> list[Difference]:
    """Holds two runs beside each other: what was asked, then the figures of each variant."""
    one, other = (home.run(run_id(name, home)) for name in (first, second))
    return [
        Difference(what=r.what, first=r.first, second=r.second, differs=r.differs)
        for r in side_by_side(one, other)
    ]


@router.get("/{run}")
def run(run: Known, home: Home) -> Run:
    """Returns a run with all that is known of it."""
    return shown(on_board.read(run, home))


@router.get("/{run}/variants")
def variants(run: Known, home: Home) -> list[dict[str, Any]]:
    """Returns a row a variant of plain figures, ready for a data frame."""
    found = on_board.read(run, home)
    return [row(v, found.experiment.device) for v in found.variants]


@router.get("/{run}/recommendation")
def recommendation(run: Known, home: Home) -> Recommendation:
    """Returns which variant is recommended, why, and what would change it."""
    found = on_board.read(run, home)
    if found.recommendation is None:
        raise HTTPException(409, f"This run recommends nothing, because it is {found.state}.")
    return found.recommendation


@router.get(
    "/{run}/report",
    response_class=Response,
    responses={200: {"content": {"text/html": {}, "text/markdown": {}}}},
)
def report(run: Known, home: Home, format: Literal["html", "md"] = "html") -> Response:
    """Returns the run's report: HTML that opens offline, or Markdown."""
    made = html if format == "html" else markdown
    kind = "text/html" if format == "html" else "text/markdown"
    return Response(made(*material(run, home)), media_type=kind)


@router.get(
    "/{run}/variants/{variant}/package",
    response_class=FileResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def packed(
    run: Known,
    variant: str,
    home: Home,
    reach: Annotated[float | None, Query(gt=0, le=1, description="Where it is less sure it asks.")] = None,
    device: Annotated[str | None, Query(description="For another device than the run's.")] = None,
) -> FileResponse:
    """Returns the zip that runs a variant on its device; it was run before that."""
    path = package.build(run, variant, home, reach, device)
    return FileResponse(path, media_type="application/zip", filename=path.name)


def _found(rows: Iterable[dict[str, Any]], search: str, state: str | None) -> Iterator[Listed]:
    for one in rows:
        listed = Listed.model_validate(
            one | {"dataset": dataset_shown(one["dataset"]), "kept_until": kept_until(one)}
        )
        texts = (*listed.model_dump().values(), device_name(listed.device))
        if state in (None, listed.state) and holds_words(texts, search):
            yield listed
