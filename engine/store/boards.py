"""A run measured on the user's own device: the token that lets one device in, and what that device sent.

<home>/boards/<sha256>.json            a token by its hash: which run it is for, and until when
<home>/runs/<id>/board.json            what machine it is
<home>/runs/<id>/board/<variant>.json  what was found of a variant there, written whole each time
"""

import hashlib
import secrets
import time
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, PositiveInt

from engine.errors import BadInput
from engine.host import is_public
from engine.store.calibrations import keep_results
from engine.store.files import read_json, sentence_on_full_disk, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import Plain, Variant, parse
from estimator.calibrate import BenchmarkResult, Energy, LatencyResult, Machine, ModelResult, why_another
from estimator.devices import all_devices
from estimator.types import Precision

LASTS_S = 86_400.0
MOST_ROUNDS = 10


class Token(Plain):
    """What a token is for. `until` in seconds since 1970."""

    run: str
    until: float


class Answers(Plain):
    """How many golden pictures got the answer that they got where the package was made; `to_blame` is the
    step that comes to something else where one did not.
    """

    pictures: int = Field(gt=0, le=10_000)
    same_answers: int = Field(ge=0, le=10_000)
    agrees: bool
    to_blame: Literal["", "decoding", "preprocessing", "the runtime"] = ""
    worst_difference: FiniteFloat = Field(ge=0)


class Round(Plain):
    """One round of timing, as benchmark.py gives it."""

    runtime: str = Field(max_length=100)
    runtime_version: str = Field(default="", max_length=100)
    threads: PositiveInt
    precision: Precision
    latency_ms: LatencyResult
    memory_mb: FiniteFloat | None = Field(default=None, gt=0)
    energy: Energy | None = None
    machine: Machine


class Measured(Plain):
    """What is known of a variant on the user's device; `reason`: why it could not be measured, as its agent
    says.
    """

    answers: Answers | None = None
    rounds: list[Round] = Field(default=[], max_length=MOST_ROUNDS)
    reason: str = Field(default="", max_length=2000)

    @property
    def middle(self) -> Round | None:
        """The round of the median latency; None without any."""
        ordered = sorted(self.rounds, key=lambda one: one.latency_ms.p50)
        return ordered[len(ordered) // 2] if ordered else None

    @property
    def is_wrong(self) -> bool:
        """Tells whether an answer differs there."""
        return self.answers is not None and not self.answers.agrees


class _Kept(Plain):
    """What is kept: of which file it was found, as a resumed run may make a variant anew."""

    sha256: str
    found: Measured


# ---- tokens ------------------------------------------------------------------------------------------------


def give(run_id: str, workspace: Workspace) -> str:
    """Returns a new token for a run, which ends an earlier one of it. Only its hash is kept."""
    workspace.folder(run_id)
    folder = workspace.home / "boards"
    with sentence_on_full_disk():
        folder.mkdir(exist_ok=True)
    for path in folder.glob("*.json"):
        known = _token(path)
        if known is None or known.run == run_id:
            path.unlink(missing_ok=True)
    token = secrets.token_hex(24)  # no sign in it that a command line would take for an option
    write_json(_place(token, workspace), Token(run=run_id, until=time.time() + LASTS_S).model_dump())
    return token


def run_of(token: str, workspace: Workspace) -> str | None:
    """Returns the run that a token is for, None for one that is unknown, has ended or is of a run that is
    gone.
    """
    known = _token(_place(token, workspace))
    try:
        workspace.folder(known.run if known else "")
    except BadInput:
        return None
    return known.run if known else None


def is_awaited(run_id: str, workspace: Workspace) -> bool:
    """Tells whether a device has a token for a run."""
    known = map(_token, (workspace.home / "boards").glob("*.json"))
    return any(token is not None and token.run == run_id for token in known)


def end(token: str, workspace: Workspace) -> None:
    """Ends a token."""
    _place(token, workspace).unlink(missing_ok=True)


def _place(token: str, workspace: Workspace) -> Path:
    return workspace.home / "boards" / f"{hashlib.sha256(token.encode()).hexdigest()}.json"


def _token(path: Path) -> Token | None:
    """Returns what a token's file holds, None where it is not there or its time is over."""
    try:
        found = parse(Token, read_json(path), stored=True)
    except BadInput:
        return None
    return found if found.until > time.time() else None


# ---- what a device sends -----------------------------------------------------------------------------------


def measurable(run_id: str, workspace: Workspace) -> list[Variant]:
    """Returns the variants of a run that have a package."""
    return [v for v in workspace.variants(run_id) if v.status == "done" and v.artifacts]


def meet(run_id: str, machine: Machine, workspace: Workspace) -> str:
    """Keeps what machine the device is; returns why it is not the run's device, "" where it is."""
    write_json(workspace.folder(run_id) / "board.json", machine.model_dump(mode="json"))
    return why_other(run_id, machine, workspace)


def why_other(run_id: str, machine: Machine, workspace: Workspace) -> str:
    """Returns why a machine is not the run's device, "" where it is."""
    device = all_devices().get(workspace.experiment(run_id).device)
    return why_another(machine, device) if device else "this Edgewise does not know the run's device"


def keep(run_id: str, variant_id: str, found: Measured, workspace: Workspace) -> None:
    """Keeps what was found of a variant, over what was there. Raises BadInput for one without a package."""
    variant = next((v for v in measurable(run_id, workspace) if v.id == variant_id), None)
    if variant is None:
        raise BadInput(f"This run has no package of a variant {variant_id[:80]!r}.")
    folder = workspace.folder(run_id) / "board"
    with sentence_on_full_disk():
        folder.mkdir(exist_ok=True)
    kept = _Kept(sha256=variant.shipped.sha256, found=found)
    write_json(folder / f"{variant_id}.json", kept.model_dump(mode="json"))


def machine_of(run_id: str, workspace: Workspace) -> Machine | None:
    """Returns the machine that a run was measured on, None without one."""
    data = read_json(workspace.folder(run_id) / "board.json")
    try:
        return parse(Machine, data, stored=True) if data else None
    except BadInput:
        return None


def measured(run_id: str, workspace: Workspace) -> dict[str, Measured]:
    """Returns what was found on the user's device, by variant; what can't be read is left out, and what was
    found of another file than the variant has now.
    """
    found = {}
    for variant in measurable(run_id, workspace):
        try:
            kept = parse(
                _Kept, read_json(workspace.folder(run_id) / "board" / f"{variant.id}.json"), stored=True
            )
        except BadInput:
            continue
        if kept.sha256 == variant.shipped.sha256:
            found[variant.id] = kept.found
    return found


def calibrate(run_id: str, workspace: Workspace) -> str:
    """Corrects the predictions for the run's device with what was measured rightly there; returns a sentence
    about it. Nothing is corrected by another machine, nor on a host that strangers share.
    """
    if is_public():
        return "The results are kept; strangers share this server, so its predictions stay as they are."
    device, found, said, refused = workspace.experiment(run_id).device, measured(run_id, workspace), "", ""
    for variant in measurable(run_id, workspace):
        one = found.get(variant.id)
        if one is None or one.middle is None or one.is_wrong:
            continue
        try:
            result = _result(device, variant, one.middle, workspace.folder(run_id))
            said = keep_results(device, [(variant.id, result)], workspace)["text"]
        except BadInput as error:
            refused = refused or str(error)
    return said or refused or "Nothing was measured that predictions could be corrected with."


def _result(device: str, variant: Variant, one: Round, folder: Path) -> BenchmarkResult:
    """Returns a round as benchmark.py writes it. What the file is comes from here, not from the device."""
    profile = read_json(folder / Path(variant.shipped.opened).with_suffix(".profile.json"))
    model = {"variant": variant.id, "sha256": variant.shipped.sha256, "profile": profile}
    model |= {"latency_ms": one.latency_ms, "memory_mb": one.memory_mb}
    kind = {name: (profile or {}).get(name, False) for name in ("int4_weights", "mixed_precision")}
    how = one.model_dump(exclude={"latency_ms", "memory_mb"})
    return parse(BenchmarkResult, {"device": device, "models": [parse(ModelResult, model)], **kind, **how})
