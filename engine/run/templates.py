"""The idle processes that a run's children are forked from: one has imported the run's framework, the other
what measuring takes. So a framework is imported once in a run, while the data set is still being prepared.

An import of TensorFlow takes most of the time until a first variant is there. It begins before anything else:
whoever starts a worker tells it the modules (`working_modules`), so that it need not find them out. What
measures is imported when the framework has been, while the baseline is made: two at once slow each other.
"""

from pathlib import Path

from engine.backends import modules_of
from engine.formats import opener_of
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


def working_modules(experiment: Experiment) -> tuple[str, ...]:
    """Returns the modules of the process that makes variants."""
    format = format_of(experiment.model, experiment.runtime)
    opening = (*modules_of(entry_of(experiment.model).id, format), opener_of(experiment.model))
    return (*TASKS, *WORK, *opening, *RUNTIMES.get(format, ()))


def measuring_modules(experiment: Experiment) -> tuple[str, ...]:
    """Returns the modules of the process that measures them."""
    format = format_of(experiment.model, experiment.runtime)
    return (*TASKS, *MEASURES, *RUNTIMES.get(format, ()))


class Templates:
    """The templates of one run; they end with the block, and with the thread that made them.

    working: what makes variants, where somebody has begun it already. What measures begins with `measure`.
    """

    def __init__(self, experiment: Experiment, log: Path, working: Template | None = None):
        self._log = log
        self._measuring = measuring_modules(experiment)
        working = working or Template(working_modules(experiment), log=log)
        self._of = dict.fromkeys(FRAMEWORK_TASKS, working)

    def __enter__(self) -> "Templates":
        return self

    def __exit__(self, *error: object) -> None:
        for template in set(self._of.values()):
            template.close()

    def measure(self) -> None:
        """Begins to import what measures."""
        self._of |= dict.fromkeys(MEASURING_TASKS, Template(self._measuring, log=self._log))

    def of(self, task: str) -> Template | None:
        """Returns the template that has imported what a task needs; None where it gets a fresh process."""
        return self._of.get(task)

    def resident_bytes(self, task: str) -> int:
        """Returns what the idle processes hold besides the one whose pages the task's own process shares."""
        return sum(t.resident_bytes() for t in set(self._of.values()) if t is not self.of(task))
