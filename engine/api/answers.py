"""What all resources share: the workspace, a run by its id, what is shown of one, how an error is said."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse

from engine import visitors
from engine.api import guard
from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError, TooMuch, one_line, reason_of
from engine.store.uploads import SHA256
from engine.store.workspace import Workspace
from engine.vocabulary import Experiment, Run
from models.catalog import CATALOG


class Error(BaseModel):
    """One sentence: what is wrong and what to do."""

    error: str


REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "What was given can't be used",
        401: "The key is missing or wrong",
        403: "Not allowed here",
        404: "There is none of that name",
        409: "Not possible now",
        413: "Too large",
        422: "A field is missing or of another type",
        429: "More than this host gives one visitor: ask again after `Retry-After` seconds",
    }.items()
}
Home = Annotated[Workspace, Depends(lambda: Workspace())]
RunId = Annotated[str, InPath(description="A run's id.", examples=["3kTqz0V9nSg5mX2wYb7c1A"])]


def run_id(run: RunId, home: Home) -> str:
    """Returns the id of a run that there is; raises 404 for another."""
    try:
        home.folder(run)
    except BadInput:
        raise HTTPException(404, "No run has this id: check it, or ask for /api/v1/runs.") from None
    return run


Known = Annotated[str, Depends(run_id)]


def changeable(run: Known, home: Home, visitor: guard.Visitor) -> str:
    """Returns the id of a run that who asks may change; raises 403 for another visitor's."""
    if not visitors.may_change(visitor, run, home):
        raise HTTPException(403, "Another visitor started this run: you may look at it, not change it.")
    return run


Own = Annotated[str, Depends(changeable)]


def shown(run: Run) -> Run:
    """Returns a run without this machine's paths: its model and data go by name or SHA-256."""
    return run.model_copy(update={"experiment": shown_experiment(run.experiment)})


def shown_experiment(asked: Experiment) -> Experiment:
    """Returns what was asked without this machine's paths."""
    model = asked.model.model_copy(update={"path": asked.model.name})
    return asked.model_copy(update={"model": model, "dataset": dataset_shown(asked.dataset)})


def dataset_shown(dataset: str | None) -> str | None:
    """Returns a data set as a caller names it: a preset's id, an upload's SHA-256, else a file's name."""
    if not dataset or dataset in DATASETS:
        return dataset
    path = Path(dataset)
    return path.parent.name if SHA256.fullmatch(path.parent.name) else path.name


def is_shipped(model: str) -> bool:
    """Tells whether a model is one of ours, by its id. A path is never taken: it would open the server's
    own files.
    """
    return model in CATALOG


def say_errors(app: FastAPI) -> None:
    """Makes every error of an app one sentence: `{"error": …}`."""
    app.add_exception_handler(TooMuch, _too_much)
    app.add_exception_handler(BadInput, lambda _, error: _said(400, str(error)))
    app.add_exception_handler(EdgewiseError, lambda _, error: _said(409, str(error)))
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, lambda _, error: _said(500, reason_of(error)))


def _said(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": one_line(sentence)}, status, headers)


def _too_much(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooMuch)
    return _said(429, str(error), guard.retry_after(error))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    ours = {
        404: "There is nothing at this address: see /api/docs.",
        405: "This address takes another method.",
    }
    plain = error.detail in ("Not Found", "Method Not Allowed")
    return _said(error.status_code, ours[error.status_code] if plain else error.detail, error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _said(422, f"{where}: {first['msg'].removeprefix('Value error, ')}.")
