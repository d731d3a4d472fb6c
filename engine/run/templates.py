"""The idle processes that a run's children are forked from: one has imported the run's framework, the other
what measuring takes. So a framework is imported once in a run, while the data set is still being prepared.
"""

from pathlib import Path

from engine.backends import modules_of
from engine.formats import opener_of
from engine.run.requests import WORK_THREADS
from engine.runtimes import entry_of, format_of
from engine.vocabulary import Experiment
from engine.wall.template import Template

TASKS = ("engine.run.tasks", "estimator.profile.graph")
# what reads and writes the golden pictures, and what NumPy takes for its quantiles
MEASURES = ("PIL.PngImagePlugin", "PIL.JpegImagePlugin", "numpy.ma")
WORK = ("engine.techniques.workbench", "engine.techniques.shared.sensitivity", *MEASURES)
# what opens and reads a file of each format
RUNTIMES = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai_edge_litert.schema_py_generated", "ai_edge_litert.interpreter"),
}
# what is not here gets a process of its own: a download may reach the network and start programs, and the
# peak memory of an artifact must not count what others have imported
FRAMEWORK_TASKS, MEASURING_TASKS = ("facts", "sensitivity", "technique"), ("accuracy", "timing")


class Templates:
    """The templates of one run; they begin to import at once and end with the block."""

    def __init__(self, experiment: Experiment, log: Path):
        framework = entry_of(experiment.model).id
        format = format_of(experiment.model, experiment.runtime)
        runtimes = RUNTIMES.get(format, ())
        opening = (*modules_of(framework, format), opener_of(experiment.model))
        at_work = Template((*TASKS, *WORK, *opening, *runtimes), WORK_THREADS, log)
        measuring = Template((*TASKS, *MEASURES, *runtimes), WORK_THREADS, log)
        self._of = dict.fromkeys(FRAMEWORK_TASKS, at_work) | dict.fromkeys(MEASURING_TASKS, measuring)

    def __enter__(self) -> "Templates":
        return self

    def __exit__(self, *error: object) -> None:
        for template in set(self._of.values()):
            template.close()

    def of(self, task: str) -> Template | None:
        """Returns the template that has imported what a task needs; None where it gets a fresh process."""
        return self._of.get(task)

    def resident_bytes(self, task: str) -> int:
        """Returns what the idle processes hold besides the one whose pages the task's own process shares."""
        return sum(t.resident_bytes() for t in set(self._of.values()) if t is not self.of(task))
