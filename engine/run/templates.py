"""The idle processes that a run's children are forked from: one has imported the run's framework, the other
what measuring takes. So a framework is imported once in a run, while the data set is still being prepared.
"""

from pathlib import Path

from engine.run.requests import WORK_THREADS
from engine.vocabulary import ModelFile
from engine.wall.template import Template

TASKS = "engine.run.tasks"
EXPORT = ("numpy.ma", "onnx", "torch.utils._device")  # what libraries import only as they are first used
WORK = (TASKS, "engine.techniques.workbench", "estimator.profile.graph")
FRAMEWORKS = {
    "pytorch": (*WORK, "engine.backends.torch.backend", *EXPORT),
    "keras": (*WORK, "engine.backends.keras.backend"),
    "": (*WORK, "engine.backends.onnx.backend"),
}
ONNX = (TASKS, "estimator.profile.graph", "onnx", "engine.runtimes.onnxruntime")
TFLITE = (TASKS, "estimator.profile.graph", "ai_edge_litert.schema_py_generated", "engine.runtimes.litert")
MEASURING = {"pytorch": ONNX, "keras": TFLITE, "": ONNX}
# what is not here gets a process of its own: a download may reach the network and start programs, and the
# peak memory of an artifact must not count what others have imported
FRAMEWORK_TASKS, MEASURING_TASKS = ("facts", "sensitivity", "technique"), ("accuracy", "timing")


class Templates:
    """The templates of one run; they begin to import at once and end with the block."""

    def __init__(self, model: ModelFile, log: Path):
        framework = "" if model.reach == "post_training" and model.framework != "keras" else model.framework
        self._of = {
            **dict.fromkeys(FRAMEWORK_TASKS, Template(FRAMEWORKS[framework], WORK_THREADS, log)),
            **dict.fromkeys(MEASURING_TASKS, Template(MEASURING[framework], WORK_THREADS, log)),
        }

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
