"""The process of one run: `python -m engine.run.worker ID`. It outlives the server that started it."""

import sys

from engine.errors import reason_of
from engine.events import Event, StateChanged
from engine.run.templates import Templates
from engine.store.workspace import ENDED, Workspace


def work(run_id: str) -> None:
    """Runs one experiment under its lease, writes every event, and starts the next run of the queue."""
    workspace = Workspace()
    with workspace.lease(run_id) as held:
        if not held:
            return  # another worker has it
        if workspace.state(run_id) in ENDED:
            return  # cancelled while this process was starting

        def on_event(event: Event) -> None:
            workspace.append(run_id, event)

        try:
            experiment = workspace.experiment(run_id)
            with Templates(experiment, workspace.folder(run_id) / "worker.log") as templates:
                from engine.run.optimize import optimize  # only now: they import meanwhile

                optimize(experiment, workspace, run_id, on_event, templates)
            state = StateChanged(state="done")
        except Exception as error:  # a defect of ours must still end the run with a reason
            state = StateChanged(state="failed", reason=reason_of(error))
        if workspace.state(run_id) not in ENDED:
            on_event(state)
    from engine.run import jobs

    jobs.tick(workspace)


if __name__ == "__main__":
    work(sys.argv[1])
