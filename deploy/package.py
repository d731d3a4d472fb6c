"""A variant as a zip that runs on the device: built, unpacked in a clean folder, run, and only then
offered.
"""

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from deploy import emulator, targets
from deploy.readme import readme
from deploy.recipe import recipe
from deploy.service import DOCKERFILE, SERVICE
from deploy.targets import floats
from deploy.targets.job import Extra, Job
from deploy.verify import verify
from engine.errors import BadInput, EdgewiseError
from engine.judge import trust, words
from engine.runtimes import saturates_here
from engine.store.files import read_json
from engine.store.workspace import Workspace
from engine.vocabulary import Answered, Run, Variant
from estimator.devices import Device, UnknownDevice, all_devices, load_device
from estimator.types import Profile

DEVICE_CODE = Path(__file__).resolve().parent.parent / "engine" / "device"
SCRIPTS = (
    *("infer.py", "verify.py", "benchmark.py", "realtime.py", "serve.py"),
    *("classifier.py", "model.py", "image.py", "preprocessing.py", "machine.py", "power.py"),
)
ROUNDING = {"float32": 1e-3}  # of a probability, by precision, that kernels of two processors may differ by …
COARSE = 0.02  # … and where values are rounded to 8 bits in between
PYTHON = "3.11"  # of a container for a device that has none of its own
OPSET = 18  # that our ONNX files are written in
EMULATED = ".emulated"  # beside a package: the processor that it was verified on besides
EPOCH = (2020, 1, 1, 0, 0, 0)  # one time for all entries, so that the same variant gives the same bytes


def build(
    run_id: str, variant_id: str, workspace: Workspace, reach: float | None = None, device: str | None = None
) -> Path:
    """Returns the verified zip of one variant, built now or earlier.

    reach: how much of what it answers alone shall be right (a fraction): below the confidence that gives
    this on validation images its scripts answer "unsure"; None: never. device: an id; None: the run's own.
    Raises BadInput for an unknown run or device, a device that can't open the run's files, a variant without
    a file or a reach that no confidence gives, EdgewiseError when the package does not run.
    """
    run = workspace.run(run_id)
    own = run.experiment.device
    run = meant_for(run, device or own)
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
    # a file for each reach: two sessions may choose differently
    name = variant_id if reach is None else f"{variant_id}-{reach:g}"
    name += "" if run.experiment.device == own else f"-for-{run.experiment.device}"
    target = folder / "packages" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.zip"
    machine = all_devices().get(run.experiment.device)
    why = machine and targets.why_closed(machine, Path(variant.shipped.opened).suffix)
    if why and run.experiment.device != own:  # a run's own device was settled with the run
        raise BadInput(f"For the {words.device_name(run.experiment.device)}, {why}.")
    files = contents(run, variant, folder, trust.asked_below(variant, reach))
    note = target.with_suffix(EMULATED)
    board = emulator.found(machine, files["requirements.txt"])
    if _holds(target, files) and (board is None or note.exists()):
        return target
    target.parent.mkdir(exist_ok=True)
    draft = target.with_suffix(".part")
    start = board.command(board.site(files["requirements.txt"])) if board else None
    note.unlink(missing_ok=True)
    try:
        write(draft, files)
        verify(draft, run.experiment.model, answers=not saturates_here(variant), emulated=start)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    if board is not None and machine is not None:
        note.write_text(machine.cpu)
    return target


def meant_for(run: Run, device: str) -> Run:
    """Returns a run as if its device had been another one. Raises BadInput for one that is not known."""
    if device == run.experiment.device:  # a run of an earlier Edgewise may have one that is gone
        return run
    try:
        load_device(device)
    except UnknownDevice as error:
        raise BadInput(str(error)) from None
    asked = run.experiment.model_copy(update={"device": device})
    return run.model_copy(update={"experiment": asked})


def emulated_on(package: Path) -> str:
    """Returns the processor that was emulated when a package was verified there too, else ""."""
    note = package.with_suffix(EMULATED)
    return note.read_text() if note.exists() else ""


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


def contents(run: Run, variant: Variant, folder: Path, asks: Answered | None = None) -> dict[str, bytes]:
    """Returns what goes into the zip: bytes by path. asks: below which confidence a person is asked."""
    primary = variant.shipped
    stored = (folder / primary.path).read_bytes()
    if hashlib.sha256(stored).hexdigest() != primary.sha256:
        raise EdgewiseError(
            f"The file of {variant.id} is not the one that was measured, so it is not packaged: run the"
            " experiment again."
        )
    decoded = Path(primary.opened)
    profile = read_json(folder / decoded.with_suffix(".profile.json")) or {}
    name = f"model.{primary.format}"
    carried = golden(folder, decoded)
    pictures = [path.removeprefix("golden/") for path in carried if not path.endswith(".npy")]
    device = all_devices().get(run.experiment.device)
    added = Extra({}, "")
    if device is not None:
        found = Profile.model_validate(profile) if profile else None
        added = targets.extra(Job(run, variant, device, folder / decoded, folder / "golden", found))
    facts = metadata(run, variant, name, decoded, profile, pictures, asks)
    facts["artifact"]["older"] = older(device, added)
    files = {
        name: stored,
        "metadata.json": _json(facts),
        "sample.png": carried["golden/00.png"],
        "requirements.txt": targets.requirements(device, decoded.suffix).encode(),
        "README.md": readme(run, variant, name, added.text, asks).encode(),
        "recipe.py": recipe(run, variant, primary, folder).encode(),
        "edgewise.service": SERVICE.encode(),
        "Dockerfile": DOCKERFILE.replace(
            "PYTHON", device.python if device and device.python else PYTHON
        ).encode(),
        **carried,
        **added.files,
    }
    scripts = [*SCRIPTS, *(["decoder.py"] if primary.decoded_path else [])]
    if primary.opened.endswith(".onnx"):
        scripts.append("model_opencv.py")
    if device is not None and device.family in targets.ACCELERATORS:
        scripts.append(targets.ACCELERATORS[device.family])
    files |= {
        script: targets.readable((DEVICE_CODE / script).read_text(), device).encode() for script in scripts
    }
    return files | {"SHA256SUMS": sums(files)}


def golden(folder: Path, decoded: Path) -> dict[str, bytes]:
    """Returns the golden pictures, what they are decoded and preprocessed to, and this artifact's scores of
    them.

    Raises EdgewiseError for a run that has none.
    """
    scores = (folder / decoded).with_suffix(".golden.npy")
    if not scores.exists():
        raise EdgewiseError(
            "This run is of an earlier Edgewise and kept no golden pictures, by which a device"
            " shows that it answers as this host: run the experiment again."
        )
    files = {f"golden/{path.name}": path.read_bytes() for path in sorted((folder / "golden").iterdir())}
    return files | {"golden/scores.npy": scores.read_bytes()}


def sums(files: dict[str, bytes]) -> bytes:
    """Returns what `sha256sum -c` reads: a line a file."""
    return "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())
    ).encode()


def older(device: Device | None, added: Extra) -> str:
    """Returns the file that is opened in the place of the model's own, as the device's ONNX Runtime is too
    old for it; "" where it need not be, or there is none.
    """
    runtime = device.runtimes.get("onnxruntime") if device else None
    is_old = runtime is not None and runtime.opset is not None and runtime.opset < OPSET
    return floats.NAME if is_old and floats.NAME in added.files else ""


def metadata(
    run: Run,
    variant: Variant,
    name: str,
    decoded: Path,
    profile: dict[str, Any],
    pictures: list[str],
    asks: Answered | None,
) -> dict[str, Any]:
    """Returns what the scripts and a reader need to know: how to feed the model, what it is, how it was made.

    pictures: the golden ones, in the order of the arrays beside them. asks: below which confidence a person
    is asked; it is `min_confidence`, a probability or null, which readers of version 2 may not know.
    """
    model, primary = run.experiment.model, variant.shipped
    found = Profile.model_validate(profile) if profile else None
    estimate = variant.estimates.get(run.experiment.device)
    return {
        "schema_version": 2,
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
        "min_confidence": asks.confidence if asks else None,
        "measured": {
            "accuracy": variant.accuracy,
            "accuracy_low": variant.accuracy_low,
            "accuracy_high": variant.accuracy_high,
            "accuracy_drop_pp": variant.accuracy_drop_pp,
            "p_value": variant.p_value,
            "test_images": variant.test_images,
            "calibration_error": variant.calibration_error,
            "answered": [point.model_dump() for point in variant.answered],
            "host": variant.host.model_dump() if variant.host else None,
        },
        "golden": {
            "pictures": pictures,
            "tolerance": ROUNDING.get(found.precision if found else "float32", COARSE),
        },
        "predicted": estimate.model_dump() if estimate else None,
        "steps": [step.model_dump() for step in variant.steps],
        "notes": variant.notes,
        "versions": variant.versions,
        "seed": variant.seed,
        "profile": profile,
    }


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False).encode()


def write(path: Path, files: dict[str, bytes]) -> None:
    """Writes a zip of bytes by path; the same files give the same zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
