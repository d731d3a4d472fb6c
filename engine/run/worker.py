"""The process of one run: `python -m engine.run.worker ID MODULE …`. It outlives the server that started it.

The modules are those that making variants takes (`engine.run.templates`). Their import comes before all else,
this process's own imports among it, since the first variant waits for it longest.
"""

import sys
from pathlib import Path

from engine.wall.template import Template

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
                optimize(experiment, workspace, run_id, on_event, templates)
            state = StateChanged(state="done")
        except Exception as error:  # a defect of ours must still end the run with a reason
            state = StateChanged(state="failed", reason=reason_of(error))
        if workspace.state(run_id) not in ENDED:
            on_event(state)
    from engine.run import jobs

    jobs.tick(workspace)


if __name__ == "__main__":
    with Template(tuple(sys.argv[2:]), log=OUTPUT) as working:
        work(sys.argv[1], working)
