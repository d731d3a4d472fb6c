"""Which runtime a run's files are written for: the one that is asked for, the device's, or the framework's
usual one. The runtime settles the format of the files, and everything else follows the files.
"""

from dataclasses import dataclass

from engine import host
from engine.errors import BadInput
from engine.frameworks import FRAMEWORKS, FrameworkEntry
from engine.vocabulary import ModelFile, Variant
from estimator.devices import load_device


@dataclass(frozen=True)
class Runtime:
    """A runtime that files are measured with here: its name for people, and the format that it opens."""

    title: str
    format: str
    format_title: str


RUNTIMES = {
    "onnxruntime": Runtime("ONNX Runtime", "onnx", "ONNX"),
    "litert": Runtime("LiteRT", "tflite", "TFLite"),
}


def named(name: str) -> str:
    """Returns a runtime's id; raises BadInput where none is called that."""
    if name not in RUNTIMES:
        raise BadInput(f"No runtime is called {name!r}: choose one of {', '.join(RUNTIMES)}.")
    return name


def entry_of(model: ModelFile) -> FrameworkEntry:
    """Returns the framework that works on a model."""
    entry = FRAMEWORKS[model.framework]
    return FRAMEWORKS[entry.untrained] if model.reach == "post_training" and entry.untrained else entry


def offered(model: ModelFile) -> list[str]:
    """Returns the runtimes that files of this model can be written for here, the usual one first."""
    exports = entry_of(model).exports
    return [of(format) for format, export in exports.items() if export.is_installed()]


def format_of(model: ModelFile, runtime: str | None) -> str:
    """Returns the format of a run's files: the runtime's where the framework writes it, else the usual."""
    exports = entry_of(model).exports
    wanted = RUNTIMES[runtime].format if runtime in RUNTIMES else ""
    return wanted if wanted in exports else next(iter(exports))


def converts(model: ModelFile, runtime: str | None) -> bool:
    """Tells whether the files for a runtime come from a converter, which takes its time once a run."""
    return bool(entry_of(model).exports[format_of(model, runtime)].needs)


def settled(model: ModelFile, device: str, asked: str | None = None) -> tuple[str, str]:
    """Returns the runtime of a run and, where it is neither the one that was asked for nor the device's own,
    why, as a sentence.
    """
    possible = offered(model)
    wanted = asked or load_device(device).runtime or possible[0]
    if wanted in possible:
        return wanted, ""
    return possible[0], _why_not(model, wanted, possible[0])


def instead(wanted: str, usual: str, reason: str) -> str:
    """Returns the sentence for a run whose files could not be made for the runtime that was chosen."""
    runtime = RUNTIMES[wanted]
    return (
        f"This network can't be written as {runtime.format_title}, for {runtime.title}, because {reason}:"
        f" {_given(usual)}"
    )


def saturates_here(variant: Variant) -> bool:
    """Tells whether a variant's 8-bit weights of full range would saturate in this processor's kernels, so
    that what its device answers is found here with exact arithmetic only.
    """
    full = any(
        step.what == "quantize_static" and step.parameters.get("reduced_range") is False
        for step in variant.steps
    )
    return full and any(a.format == "onnx" for a in variant.artifacts) and not host.has_dot_product()


def _given(runtime: str) -> str:
    return f"this run's files are {RUNTIMES[runtime].format_title}, for {RUNTIMES[runtime].title}."


def _why_not(model: ModelFile, wanted: str, usual: str) -> str:
    entry, runtime = entry_of(model), RUNTIMES[wanted]
    if (export := entry.exports.get(runtime.format)) is not None:
        return (
            f"{runtime.format_title} files of {entry.title} models, for {runtime.title}, take"
            f" {export.packages[0]}, which is not installed (`{export.install}`): {_given(usual)}"
        )
    what = f"{entry.title} models can't be written as {runtime.format_title}, for {runtime.title}"
    return f"{what}: {_given(usual)}"


def of(format: str) -> str:
    """Returns the runtime that files of a format are measured with here."""
    return next(id for id, runtime in RUNTIMES.items() if runtime.format == format)
