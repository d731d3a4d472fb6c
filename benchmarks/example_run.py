"""Makes the finished run that ships with the app, so that its pages can be seen before anything was run:
`python -m benchmarks.example_run`, on a quiet machine, about two minutes.
"""

import tempfile

import engine
from engine.run import travel
from engine.store.workspace import Workspace
from models.catalog import EXAMPLE_RUN

MODEL, DATASET, DEVICE = "digits/pytorch/small", "digits", "raspberry_pi_4"
TECHNIQUES = ["ptq_int8", "fp16", "ptq_int4", "hybrid"]
LIMITS = {"max_accuracy_drop_pp": 1.0, "max_latency_ms": 3.0}
SECONDS = 60
TITLE, TAGS = "Example: handwritten digits on a Raspberry Pi 4", ["example"]


def main() -> None:
    """Runs it in an empty workspace and writes it as one file."""
    with tempfile.TemporaryDirectory(prefix="edgewise-example-") as home:
        run = engine.optimize(
            MODEL,
            dataset=DATASET,
            device=DEVICE,
            techniques=TECHNIQUES,
            time_budget_s=SECONDS,
            workspace=home,
            **LIMITS,
        )
        workspace = Workspace(home)
        workspace.label(run.id, TITLE, TAGS)
        travel.pack(run.id, workspace, EXAMPLE_RUN)
    print(f"{EXAMPLE_RUN.name}: {EXAMPLE_RUN.stat().st_size:,} bytes, recommended {run.best.id}")


if __name__ == "__main__":
    main()
