"""The process of one run: `python -m engine.run.worker ID MODULE …`. It outlives the server that started it.

The modules are those that making variants takes (`engine.run.templates`). Their import comes before all else,
this process's own imports among it, since the first variant waits for it longest.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from engine.wall.template import Template

if TYPE_CHECKING:
    from engine.run.elsewhere import Elsewhere

OUTPUT = Path("/dev/stdout")  # the run's worker.log


def work(run_id: str, working: Template | None = None) -> None:
    """Runs one experiment under its lease, writes every event, and starts the next run of the queue."""
    from engine.errors import reason_of
    from engine.events import Event, StateChanged
    from engine.store.workspace import ENDED, Workspace

    workspace = Workspace()
    with workspace.lease(run_id) as held:
        if not held:
            return  # another worker has it
        if workspace.state(run_id) in ENDED:
            return  # cancelled while this process was starting

        def on_event(event: Event) -> None:
            workspace.append(run_id, event)

        try:
            from engine.run.optimize import optimize
            from engine.run.templates import Templates

            experiment = workspace.experiment(run_id)
            with Templates(experiment, workspace.folder(run_id) / "worker.log", working) as templates:
                optimize(experiment, workspace, run_id, on_event, templates, other_machines())
            state = StateChanged(state="done")
        except Exception as error:  # a defect of ours must still end the run with a reason
            state = StateChanged(state="failed", reason=reason_of(error))
        if workspace.state(run_id) not in ENDED:
            on_event(state)
    from engine.run import jobs

    jobs.tick(workspace)


def other_machines() -> "Elsewhere | None":
    """Returns the cluster that EDGEWISE_SCHEDULER names; raises BadInput where what it takes is not
    installed.
    """
    from engine.errors import BadInput

    address = os.environ.get("EDGEWISE_SCHEDULER", "").strip()
    if not address:
        return None
    try:
        from engine.cluster.host import Cluster  # it imports Dask
    except ImportError as error:
        raise BadInput(
            f"EDGEWISE_SCHEDULER is set, and {error.name} is not installed: pip install -r"
            " requirements/cluster.txt, or unset it."
        ) from None
    return Cluster(address)


if __name__ == "__main__":
    with Template(tuple(sys.argv[2:]), log=OUTPUT) as working:
        from engine import watch

        watch.set_up()
        work(sys.argv[1], working)
