"""The process of one run: `python -m engine.run.worker ID`. It outlives the server that started it."""

import sys

from engine.errors import reason_of
from engine.events import Event, StateChanged
from engine.run import jobs
from engine.run.optimize import optimize
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
            optimize(workspace.experiment(run_id), workspace, run_id, on_event)
            state = StateChanged(state="done")
        except Exception as error:  # a defect of ours must still end the run with a reason
            state = StateChanged(state="failed", reason=reason_of(error))
        if workspace.state(run_id) not in ENDED:
            on_event(state)
    jobs.tick(workspace)


if __name__ == "__main__":
    work(sys.argv[1])
