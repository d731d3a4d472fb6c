"""Edgewise: fits trained image classifiers to edge devices.

    import engine

    run = engine.optimize("my.onnx", dataset="cifar10", device="raspberry_pi_4", techniques=["ptq_int8"])
    print(run.best.accuracy, run.path_of(run.best))

What is named here is imported when it is first used, so that `import engine` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.version import VERSION

if TYPE_CHECKING:
    from engine.face import (
        Run,
        check,
        estimate,
        export_run,
        import_run,
        inspect,
        operators,
        optimize,
        package,
        report,
        robustness,
    )
    from engine.vocabulary import Experiment, Variant

__version__ = VERSION
__all__ = [
    "Experiment",
    "Run",
    "Variant",
    "check",
    "estimate",
    "export_run",
    "import_run",
    "inspect",
    "operators",
    "optimize",
    "package",
    "report",
    "robustness",
]

_HOME = {
    **dict.fromkeys(__all__, "engine.face"),
    **dict.fromkeys(("Experiment", "Variant"), "engine.vocabulary"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
