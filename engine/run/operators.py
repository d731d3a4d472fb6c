"""Where an inference's time goes on this machine, operator by operator: measured when somebody asks for it,
and kept with the run.
"""

from collections.abc import Callable, Sequence

from pydantic import TypeAdapter, ValidationError

from engine.errors import BadInput
from engine.memory import needed_bytes
from engine.run.made import check_files, file_to_run, holds_int4
from engine.run.requests import TimeOperators
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import OperatorTime
from engine.wall import sandbox
from engine.wall.limits import Limits
from engine.wall.sandbox import Failed, Watch

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
    run_id: str,
    workspace: Workspace,
    variants: Sequence[str],
    on_progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> dict[str, list[OperatorTime]]:
    """Measures the baseline and these variants behind the wall, and returns all that is known then.

    Raises BadInput for an unknown or unfinished variant, and for files whose runtime has no profiler.
    """
    run, folder = workspace.run(run_id), workspace.folder(run_id)
    known = operators_of(run_id, workspace)
    by_id = {v.id: v for v in run.variants if v.status == "done" and v.artifacts}
    for name in variants:
        if name not in by_id:
            raise BadInput(f"The run has no finished variant {name!r}: choose one of {', '.join(by_id)}.")
    wanted = [name for name in dict.fromkeys(["baseline", *variants]) if name in by_id]
    new = [by_id[name] for name in wanted if name not in known]
    if not new:
        return known
    for variant in new:
        check_files(variant, folder)
    paths = {v.id: file_to_run(v) for v in new}
    if not all(path.endswith(".onnx") for path in paths.values()):
        raise BadInput(NO_PROFILER)
    e = run.experiment
    request = TimeOperators(
        folder=folder,
        home=workspace.home,
        dataset=e.dataset,
        model=e.model,
        runtime=e.runtime,
        paths=paths,
        int4=tuple(v.id for v in new if holds_int4(v, folder)),
    )
    limits = Limits(memory_bytes=needed_bytes(e.model), seconds=LIMIT_S, programs=False)
    watch = Watch(on_message=lambda m: on_progress(m.get("fraction", 0.0), m.get("text", "")))
    answer = sandbox.run("engine.run.tasks", request.sent(), limits, watch, folder / "worker.log")
    try:
        found = TIMES.validate_python(answer)
    except ValidationError:
        raise Failed("its process answered with something else than it was asked for") from None
    known |= {v.id: found.get(v.id, []) for v in new}
    write_json(folder / FILE, TIMES.dump_python(known, mode="json"))
    return known
