"""A variant as a zip that runs on the device: built, unpacked in a clean folder, run, and only then
offered.
"""

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from deploy.verify import verify
from engine.device.model import COMMON_REQUIREMENTS, runtime_for
from engine.errors import BadInput, EdgewiseError, one_line
from engine.store.files import read_json
from engine.store.workspace import Workspace
from engine.vocabulary import Artifact, Run, Variant
from estimator.devices import all_devices
from estimator.types import Profile

DEVICE_CODE = Path(__file__).resolve().parent.parent / "engine" / "device"
SCRIPTS = ("infer.py", "model.py", "image.py", "preprocessing.py", "benchmark.py")
EPOCH = (2020, 1, 1, 0, 0, 0)  # one time for all entries, so that the same variant gives the same bytes


def build(run_id: str, variant_id: str, workspace: Workspace) -> Path:
    """Returns the verified zip of one variant, built now or earlier.

    Raises BadInput for an unknown run or a variant without a file, EdgewiseError when the package does not
    run.
    """
    run = workspace.run(run_id)
    variant = next((v for v in run.variants if v.id == variant_id), None)
    if variant is None:
        raise BadInput(
            f"This run has no variant {variant_id!r}: choose one of {', '.join(v.id for v in run.variants)}."
        )
    if variant.status != "done" or not variant.artifacts:
        raise BadInput(
            f"{variant_id} has no file to package, because it {variant.status}: {variant.reason}. Choose"
            " another variant."
        )
    folder = workspace.folder(run_id)
    target = folder / "packages" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', variant_id)}.zip"
    files = contents(run, variant, folder)
    if _holds(target, files):
        return target
    target.parent.mkdir(exist_ok=True)
    draft = target.with_suffix(".part")
    try:
        _write(draft, files)
        verify(draft, run.experiment.model)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _holds(package: Path, files: dict[str, bytes]) -> bool:
    """Tells whether a package that was built earlier is of these very files: a run that was resumed may have
    written its variants anew.
    """
    try:
        with zipfile.ZipFile(package) as archive:
            return set(archive.namelist()) == set(files) and all(
                archive.read(name) == data for name, data in files.items()
            )
    except (OSError, zipfile.BadZipFile):
        return False


def contents(run: Run, variant: Variant, folder: Path) -> dict[str, bytes]:
    """Returns what goes into the zip: bytes by path."""
    primary = shipped(variant)
    stored = (folder / primary.path).read_bytes()
    if hashlib.sha256(stored).hexdigest() != primary.sha256:
        raise EdgewiseError(
            f"The file of {variant.id} is not the one that was measured, so it is not packaged: run the"
            " experiment again."
        )
    decoded = Path(primary.decoded_path or primary.path)
    profile = read_json(folder / decoded.with_suffix(".profile.json")) or {}
    name = f"model.{primary.format}"
    files = {
        name: stored,
        "metadata.json": _json(metadata(run, variant, name, decoded, profile)),
        "sample.png": (folder / "sample.png").read_bytes(),
        "requirements.txt": requirements(decoded).encode(),
        "README.md": readme(run, variant, name).encode(),
    }
    scripts = [*SCRIPTS, *(["decoder.py"] if primary.decoded_path else [])]
    return files | {script: (DEVICE_CODE / script).read_bytes() for script in scripts}


def requirements(decoded: Path) -> str:
    """Returns requirements.txt: what the scripts need, and what the runtime of this file needs."""
    return "\n".join([*COMMON_REQUIREMENTS, *runtime_for(decoded).requirements]) + "\n"


def shipped(variant: Variant) -> Artifact:
    """Returns the file that travels: the entropy-coded one where there is one, since it decodes to the very
    file measured.
    """
    return next((artifact for artifact in variant.artifacts if artifact.decoded_path), variant.artifacts[0])


def metadata(run: Run, variant: Variant, name: str, decoded: Path, profile: dict[str, Any]) -> dict[str, Any]:
    """Returns what the scripts and a reader need to know: how to feed the model, what it is, how it was
    made.
    """
    model, primary = run.experiment.model, shipped(variant)
    found = Profile.model_validate(profile) if profile else None
    estimate = variant.estimates.get(run.experiment.device)
    return {
        "schema_version": 1,
        "variant": variant.id,
        "run": run.id,
        "device": run.experiment.device,
        "model": {"name": model.name, "sha256": model.sha256},
        "artifact": {
            "file": name,
            "runs_as": f"model{decoded.suffix}",
            "bytes": primary.bytes,
            "sha256": primary.sha256,
            "precision": found.precision if found else "float32",
            "int4_weights": found.int4_weights if found else False,
            "mixed_precision": found.mixed_precision if found else False,
        },
        "preprocessing": model.preprocessing.as_fed(decoded).model_dump(),
        "outputs": model.outputs,
        "classes": model.classes,
        "measured": {
            "accuracy": variant.accuracy,
            "accuracy_low": variant.accuracy_low,
            "accuracy_high": variant.accuracy_high,
            "accuracy_drop_pp": variant.accuracy_drop_pp,
            "p_value": variant.p_value,
            "test_images": variant.test_images,
            "host": variant.host.model_dump() if variant.host else None,
        },
        "predicted": estimate.model_dump() if estimate else None,
        "steps": [step.model_dump() for step in variant.steps],
        "notes": variant.notes,
        "versions": variant.versions,
        "seed": variant.seed,
        "profile": profile,
    }


def readme(run: Run, variant: Variant, name: str) -> str:
    """Returns the package's README: what it is and the three commands that run it."""
    machine = all_devices().get(run.experiment.device)
    device = machine.name if machine else run.experiment.device
    low, high = variant.accuracy_low, variant.accuracy_high
    if variant.accuracy is None or low is None or high is None:
        accuracy = "not measured, because the run had no labelled images"
    else:
        accuracy = (
            f"{100 * variant.accuracy:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f},"
            f" {variant.test_images:,} test images)"
        )
    lines = [
        f"# {plain(variant.id)} for {device}",
        "",
        (
            f"Made by Edgewise from `{plain(run.experiment.model.name)}`. Run these in this folder, on the"
            " device:"
        ),
        "",
        "    python3 -m pip install -r requirements.txt",
        "    python3 infer.py sample.png",
        "    python3 benchmark.py",
        "",
        f"- Model: `{name}`, {shipped(variant).bytes:,} bytes",
        f"- Accuracy, measured on this file: {accuracy}",
        "- `metadata.json` says how images become its input, how it was made and what was measured.",
        (
            "- `benchmark.py` writes benchmark-result.json; hand it back with `python -m engine calibrate"
            f" {run.experiment.device} benchmark-result.json` and Edgewise corrects its predictions for your"
            " device."
        ),
        "",
    ]
    return "\n".join(lines + [f"- {plain(note)}" for note in variant.notes]) + "\n"


def plain(text: str) -> str:
    """Returns text that is safe inside Markdown: names that came with an upload are data."""
    return re.sub(r"[^\w\s.,:;%@/()+-]", "_", one_line(text))[:300]


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False).encode()


def _write(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
