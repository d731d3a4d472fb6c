"""Where an inference's time goes on this machine, operator by operator: measured when somebody asks for it,
and kept with the run.
"""

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from engine.errors import BadInput
from engine.judge.operators import OperatorTime
from engine.run import later
from engine.run.made import check_files, holds_int4
from engine.run.requests import TimeOperators
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.wall.sandbox import Failed

FILE = "operators.json"
LIMIT_S = 300
TIMES = TypeAdapter(dict[str, list[OperatorTime]])
NO_PROFILER = "LiteRT's Python package does not tell the time of each operator; ONNX Runtime's does."


def operators_of(run_id: str, workspace: Workspace) -> dict[str, list[OperatorTime]]:
    """Returns what was measured of a run's variants so far, by their ids."""
    try:
        return TIMES.validate_python(read_json(workspace.folder(run_id) / FILE) or {})
    except ValidationError:
        return {}


def time_operators(
    run_id: str, workspace: Workspace, variants: Sequence[str]
) -> dict[str, list[OperatorTime]]:
    """Measures the baseline and these variants behind the wall, and returns all that is known then.

    Raises BadInput for an unknown or unfinished variant, and for files whose runtime has no profiler.
    """
    run, folder = workspace.run(run_id), workspace.folder(run_id)
    known = operators_of(run_id, workspace)
    new = [v for v in later.finished(run, variants) if v.id not in known]
    if not new:
        return known
    for variant in new:
        check_files(variant, folder)
    paths = {v.id: v.artifacts[0].opened for v in new}
    if not all(path.endswith(".onnx") for path in paths.values()):
        raise BadInput(NO_PROFILER)
    request = TimeOperators(
        **later.carried(run, workspace),
        paths=paths,
        int4=tuple(v.id for v in new if holds_int4(v, folder)),
    )
    answer = later.ask(run, workspace, request, LIMIT_S)
    try:
        found = TIMES.validate_python(answer)
        known |= {name: found[name] for name in paths}
    except (ValidationError, KeyError):
        raise Failed("its process answered with something else than it was asked for") from None
    write_json(folder / FILE, TIMES.dump_python(known, mode="json"))
    return known
