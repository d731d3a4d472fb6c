"""A package's README: for that very device, what it is, how it is set up, tried and kept at work."""

import re
from pathlib import PurePath

from deploy.targets import proof, python_of, sees_system
from engine.errors import one_line
from engine.judge import trust
from engine.vocabulary import Answered, Run, Variant
from estimator.devices import Device, all_devices


def readme(run: Run, variant: Variant, name: str, added: str = "", asks: Answered | None = None) -> str:
    """Returns the README of one variant's package. name: of the model's file. added: by the device's family,
    as Markdown. asks: below which confidence a person is asked.
    """
    machine = all_devices().get(run.experiment.device)
    device = machine.name if machine else run.experiment.device
    ending = PurePath(variant.artifacts[0].opened).suffix
    parts = [
        f"# {plain(variant.id)} for {device}",
        f"Made by Edgewise from `{plain(run.experiment.model.name)}`.",
        set_up(machine, ending),
        TRY,
        *([added] if added else []),
        "## What to expect",
        "\n".join(f"- {line}" for line in expected(run, variant, name, device, asks)),
        MORE.replace("DEVICE", run.experiment.device) + (IN_OPENCV if ending == ".onnx" else ""),
    ]
    if variant.notes:
        parts += ["## How it was made", "\n".join(f"- {plain(note)}" for note in variant.notes)]
    return "\n\n".join(parts) + "\n"


def set_up(device: Device | None, ending: str) -> str:
    """Returns how the environment is made, for files of this ending. The system's own Python refuses pip on
    today's Debian (PEP 668).
    """
    sees = "--system-site-packages " if sees_system(device) else ""
    python = (
        f"Python {device.python} of {device.system}" if device and device.python else "Python 3.9 or later"
    )
    lines = [
        "## Set up",
        "",
        f"In this folder, with {python}, 64-bit:",
        "",
        f"    python3 -m venv {sees}.venv",
        # the pip of older systems does not know today's wheels
        *(["    .venv/bin/pip install --upgrade pip"] if python_of(device) < (3, 9) else []),
        "    .venv/bin/pip install -r requirements.txt",
    ]
    if device is not None and device.family in ("raspberry_pi", "hailo"):
        lines += [
            "",
            "`python3-venv` comes from `sudo apt install python3-venv`. A 32-bit Raspberry Pi OS has no"
            " version of the runtime: `uname -m` must say aarch64.",
        ]
    if said := proof(device, ending):
        lines += ["", said]
    if device is not None and device.ended:
        lines += ["", f"**No longer supported by its maker.** {device.ended}"]
    return "\n".join(lines)


TRY = """\
## Try it

    .venv/bin/python verify.py
    .venv/bin/python infer.py sample.png
    .venv/bin/python benchmark.py

`verify.py` comes first: it shows that this device gives the answers that the host gave which made the
package, and says whether decoding, preprocessing or the runtime is to blame where it does not."""

MORE = """\
## What else is here

- `infer.py PICTURE_OR_FOLDER … [--json] [--csv FILE] [--annotate FOLDER] [--min-confidence 0.8]`: below that
  probability the answer is "unsure"; by default below `min_confidence` in `metadata.json`, with 0 never.
  `realtime.py` and `serve.py` do alike.
- `benchmark.py --minutes 10` times what the device sustains when it is warm, and notes temperature and clock;
  where the device has a sensor of what it draws, millijoules for an inference too.
  Hand `benchmark-result.json` back with `python -m engine calibrate DEVICE benchmark-result.json`, and
  Edgewise corrects its predictions for your device.
- `realtime.py --source 0` classifies a camera (with `pip install opencv-python-headless`), `--source FOLDER`
  pictures; `--source synthetic --headless --frames 300` shows what rate the device keeps up with.
- `serve.py` answers `POST /predict` and `GET /health` on port 8000; `edgewise.service` starts it with the
  system, the `Dockerfile` runs it in a container (its image was not built here).
- `recipe.py` is not for the device: with Edgewise it makes this variant again from the original model.
- `metadata.json` says how pictures become the model's input, how it was made and what was measured.
- `sha256sum -c SHA256SUMS` shows that nothing was changed."""
IN_OPENCV = """
- `--runtime opencv` makes each script run a float ONNX file in OpenCV (`pip install opencv-python-headless`)
  instead of ONNX Runtime, for systems that have no version of it; `verify.py --runtime opencv` shows whether
  it answers alike. Files in fewer bits are refused."""


def expected(run: Run, variant: Variant, name: str, device: str, asks: Answered | None = None) -> list[str]:
    """Returns what was measured and what is predicted, a line each."""
    low, high = variant.accuracy_low, variant.accuracy_high
    if variant.accuracy is None or low is None or high is None:
        accuracy = "not measured, because the run had no labelled images"
    else:
        accuracy = (
            f"{100 * variant.accuracy:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f},"
            f" {variant.test_images:,} test images)"
        )
    stored = variant.shipped
    lines = [f"Model: `{name}`, {stored.bytes:,} bytes", f"Accuracy, measured on this file: {accuracy}"]
    if asks is not None and asks.confidence > 0:
        lines.append(
            f'Below a probability of {trust.typed(asks)} it answers "unsure", so that a person is asked'
            f" (`--min-confidence 0` turns that off): {_alone(asks)}"
        )
    elif (point := trust.halved(variant.answered)) is not None and point.test_accuracy is not None:
        lines.append(
            f"To halve its errors, ask a person below a probability of {trust.typed(point)}"
            f" (`--min-confidence {trust.typed(point)}`): {_alone(point)}"
        )
    estimate = variant.estimates.get(run.experiment.device)
    if estimate is not None and estimate.latency_ms is not None:
        lines.append(
            f"Time for one picture, predicted for {device} and not measured there:"
            f" {estimate.latency_ms:.3g} ms ({estimate.low_ms:.3g} to {estimate.high_ms:.3g}),"
            f" {estimate.threads} threads"
        )
    return lines


def _alone(point: Answered) -> str:
    if point.test_accuracy is None:
        return "it answers none of the test images alone"
    share, right = 100 * point.test_share, 100 * point.test_accuracy
    return f"it answers {share:.1f} % of the test images alone, {right:.2f} % of them rightly"


def plain(text: str) -> str:
    """Returns text that is safe inside Markdown: names that came with an upload are data."""
    return re.sub(r"[^\w\s.,:;%@/()+-]", "_", one_line(text))[:300]
