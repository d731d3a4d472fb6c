"""The user's own device: a token lets its agent fetch one run's packages and send what it measured, and
nothing else.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Security
from fastapi import Path as InPath
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.responses import FileResponse

from deploy import package, targets
from engine.api.answers import REFUSED, Home, Known, Own
from engine.api.guard import DESCRIBED
from engine.judge.words import device_name
from engine.store import boards
from engine.store.boards import Measured
from estimator.calibrate import Machine
from estimator.devices import all_devices

router = APIRouter(tags=["your own device"], responses=REFUSED)
NO_TOKEN = "This token is wrong, used or too old: take the command anew from the run's deploy page."


class Given(BaseModel):
    """A token, shown once. `lasts_s`: how many seconds it is good for."""

    token: str
    lasts_s: float = boards.LASTS_S


class ToMeasure(BaseModel):
    """A variant with a package; `threads` are those that were predicted for, None without a prediction."""

    id: str
    threads: int | None


class Job(BaseModel):
    """What an agent is to measure."""

    device: str
    sees_system: bool
    variants: list[ToMeasure]


class Said(BaseModel):
    """A sentence for whoever watches the agent."""

    text: str


Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]


def let_in(bearer: Bearer, home: Home) -> str:
    """Returns the run that the call's token is for; raises 401 without a good one."""
    if bearer is None or (run := boards.run_of(bearer.credentials, home)) is None:
        raise HTTPException(401, NO_TOKEN)
    return run


Let = Annotated[str, Depends(let_in)]
Named = Annotated[str, InPath(pattern="^[a-z0-9_@.,-]{1,80}$", description="A variant's id.")]


@router.post("/runs/{run}/board", status_code=201, dependencies=DESCRIBED)
def give(run: Own, home: Home) -> Given:
    """Gives a token for one device to measure a run; an earlier one of that run ends."""
    return Given(token=boards.give(run, home))


@router.get("/runs/{run}/board", dependencies=DESCRIBED)
def measured(run: Known, home: Home) -> dict[str, Measured]:
    """Returns what was measured on the user's own device, by variant."""
    return boards.measured(run, home)


@router.get("/board/agent.py", response_class=FileResponse)
def agent() -> FileResponse:
    """Returns the program that runs on the device: one file for Python 3.6 or later."""
    return FileResponse(package.DEVICE_CODE / "agent.py", media_type="text/x-python")


@router.get("/board")
def job(run: Let, home: Home) -> Job:
    """Returns what the token's run has to measure."""
    device = home.experiment(run).device
    variants = [
        ToMeasure(id=v.id, threads=v.estimates[device].threads if device in v.estimates else None)
        for v in boards.measurable(run, home)
    ]
    sees = targets.sees_system(all_devices().get(device))
    return Job(device=device_name(device), sees_system=sees, variants=variants)


@router.get("/board/packages/{variant}", response_class=FileResponse)
def packed(variant: Named, run: Let, home: Home) -> FileResponse:
    """Returns the verified package of one of these variants."""
    return FileResponse(package.build(run, variant, home), media_type="application/zip")


@router.post("/board/machine")
def meet(machine: Machine, run: Let, home: Home) -> Said:
    """Takes what machine the device is, and says whether it is the run's device."""
    why = boards.meet(run, machine, home)
    name = device_name(home.experiment(run).device)
    if why:
        return Said(text=f"This is not the run's {name}: times are shown, and correct no prediction.")
    return Said(text=f"This is the run's device, {name}: what is measured corrects its predictions.")


@router.post("/board/results/{variant}", status_code=204)
def keep(variant: Named, found: Measured, run: Let, home: Home) -> None:
    """Takes all that is known of a variant so far, over what came before."""
    boards.keep(run, variant, found, home)


@router.post("/board/end")
def end(bearer: Bearer, run: Let, home: Home) -> Said:
    """Ends the token, and corrects predictions where the machine is the run's device."""
    assert bearer is not None
    boards.end(bearer.credentials, home)
    return Said(text=boards.calibrate(run, home))
