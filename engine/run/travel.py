"""A run as one file, to be kept or opened in another workspace: a ZIP of its folder and a manifest of hashes.

What comes in is checked as any upload is: nothing of it names a file outside the run, and the model and the
data set are those of this workspace, or none.
"""

import json
import re
import shutil
import time
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.datasets import DATASETS
from engine.errors import BadInput, EdgewiseError, one_line
from engine.events import ProcessStarted, last_state, written
from engine.run.made import check_files
from engine.store.files import sentence_on_full_disk, write_json, write_whole
from engine.store.runlog import RunLog
from engine.store.uploads import MOST_FILE_BYTES, SHA256
from engine.store.workspace import ENDED, Workspace, new_id
from engine.store.zips import open_checked, read_entry, unpack_entry
from engine.version import VERSION as EDGEWISE
from engine.vocabulary import (
    Experiment,
    Label,
    LayerSensitivity,
    ModelFile,
    Plain,
    Recommendation,
    Variant,
    parse,
)
from models.catalog import CATALOG, sha256_of

VERSION = 1
MANIFEST = "manifest.json"
SUFFIX = ".edgewise.zip"
LEFT_OUT = ("cache", "lease", "worker.log")  # safe to delete, or of this machine alone
NEEDED = ("experiment.json", "events.jsonl")
CHECKED_LATER = ("robustness.json", "operators.json", "board.json")
PART = r"[\w@+-][\w@.+-]{0,99}"
NAME = re.compile(
    rf"(experiment|result|label|robustness|operators|board)\.json|events\.jsonl|(variants|board)/{PART}"
    rf"|(artifacts|golden)(/{PART}){{1,3}}",
    re.ASCII,
)
STAMP = (1980, 1, 1, 0, 0, 0)  # the same run gives the same bytes
MOST_JSON = 10_000_000
MOST_EVENTS = 50_000_000


class Manifest(Plain):
    """What a file of a run holds: SHA-256 by name."""

    kind: Literal["edgewise run"] = "edgewise run"
    version: Annotated[int, Field(ge=1)] = VERSION
    edgewise: str = EDGEWISE
    files: dict[str, str]


class Result(Plain):
    """What `result.json` holds."""

    recommendation: Recommendation | None = None
    sensitivity: list[LayerSensitivity] = []


def pack(run_id: str, workspace: Workspace, output: Path) -> Path:
    """Writes a run that has ended as one file. Raises BadInput while it is at work, OSError."""
    folder = workspace.folder(run_id)
    if workspace.state(run_id) not in ENDED:
        raise BadInput("This run is still at work: wait for its end, or cancel it, then export it.")
    # a link that an uploaded model left would carry away what it leads to
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    names = [name for name in names if name.split("/")[0] not in LEFT_OUT and NAME.fullmatch(name)]
    manifest = Manifest(files={name: sha256_of(folder / name) for name in names})
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST, STAMP), manifest.model_dump_json(indent=1))
        for name in names:
            entry = zipfile.ZipInfo(name, STAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, (folder / name).read_bytes())
    return output


def unpack(path: Path, workspace: Workspace) -> str:
    """Takes such a file in as a new run, whole or not at all, and returns its id. Raises BadInput."""
    if path.stat().st_size > MOST_FILE_BYTES:
        raise BadInput(f"A run's file may have {MOST_FILE_BYTES / 1e6:,.0f} MB; this one has more.")
    run_id = new_id()
    draft = workspace.home / "runs" / f".draft-{run_id}"
    try:
        with open_checked(path) as archive, sentence_on_full_disk():
            for name in ("variants", "artifacts", "cache"):
                (draft / name).mkdir(parents=True)
            _unpack_all(archive, _manifest(archive), draft)
        _check(draft, workspace)
        workspace.put_in(draft, run_id)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return run_id


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in archive.namelist():
        raise BadInput("This ZIP holds no run: export one with `python -m engine export RUN`.")
    try:
        data = json.loads(read_entry(archive, MANIFEST, MOST_JSON))
        if isinstance(data, dict) and isinstance(data.get("version"), int) and data["version"] > VERSION:
            raise BadInput(
                f"This run was exported by Edgewise {str(data.get('edgewise'))[:20]}, in a form that this"
                " version can't read: update Edgewise, or run it again here."
            )
        manifest = parse(Manifest, data)
    except (ValueError, RecursionError):
        raise BadInput("The list of what this run's file holds is damaged: export the run again.") from None
    listed = {entry.filename for entry in archive.infolist() if not entry.is_dir()} - {MANIFEST}
    foreign = next((name for name in sorted(manifest.files) if not NAME.fullmatch(name)), None)
    if foreign is not None or listed != set(manifest.files) or not listed.issuperset(NEEDED):
        raise BadInput("This file does not hold what a run does: export the run again.")
    return manifest


def _unpack_all(archive: zipfile.ZipFile, manifest: Manifest, draft: Path) -> None:
    for name, expected in manifest.files.items():
        target = draft / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # a file of that name is there
            raise BadInput("This file does not hold what a run does: export the run again.") from None
        unpack_entry(archive, name, target)
        if sha256_of(target) != expected:
            raise BadInput(f"'{name[:60]}' was changed after the run was exported: export the run again.")


def _check(draft: Path, workspace: Workspace) -> None:
    """Reads all of the run that a page would read, and points it at this workspace's model and data."""
    data = _json(draft / "experiment.json")
    asked = parse(Experiment, data, stored=True)
    model = asked.model.model_copy(update={"path": _model_here(asked.model, workspace)})
    here = {"model": model, "dataset": _dataset_here(asked.dataset, workspace)}
    kept = asked.model_copy(update=here).model_dump(mode="json")
    created = data.get("created")
    created = min(created, time.time()) if isinstance(created, float) and created >= 0 else 0.0
    write_json(draft / "experiment.json", {"created": created, **kept})
    _check_ids([asked.device, *asked.techniques])
    if (draft / "events.jsonl").stat().st_size > MOST_EVENTS:
        raise BadInput("This run's log is longer than any run's: export the run again.")
    events = RunLog(draft / "events.jsonl").read()
    if last_state(events).state not in ENDED:
        raise BadInput("This run had not ended when it was exported: export it again.")
    # its processes are another machine's, and here their numbers may be anybody's
    lines = [written(event) for event in events if not isinstance(event, ProcessStarted)]
    write_whole(draft / "events.jsonl", "".join(lines).encode())
    for name, kind in (("label.json", Label), ("result.json", Result)):
        if (draft / name).exists():
            parse(kind, _json(draft / name), stored=True)
    # what these hold is checked whenever they are read
    for path in (*map(draft.joinpath, CHECKED_LATER), *(draft / "board").glob("*")):
        if path.exists():
            _json(path)
    for path in (draft / "variants").rglob("*"):
        variant = parse(Variant, _json(path), stored=True)
        _check_ids([variant.technique, *variant.estimates])
        if path != draft / "variants" / f"{variant.id}.json":
            raise BadInput("A variant of this run's file is not where it says it is: export the run again.")
        try:
            check_files(variant, draft)
        except EdgewiseError:
            raise BadInput(
                f"Files of the variant {variant.id[:40]} are missing: export the run again."
            ) from None


def _check_ids(ids: list[str]) -> None:
    """Raises BadInput for what is no id: pages show an id that they don't know as it is."""
    if wrong := next((name for name in ids if not re.fullmatch(PART, name, re.ASCII)), ""):
        raise BadInput(f"'{one_line(wrong)[:40]}' is no device or technique: export the run again.")


def _model_here(model: ModelFile, workspace: Workspace) -> str:
    """Returns where the model of these bytes is, or would be, in this workspace."""
    shipped = CATALOG.get(model.name)
    if shipped is not None and shipped.sha256 == model.sha256:
        return str(shipped.weights_path)
    known = model.sha256 if SHA256.fullmatch(model.sha256) else "unknown"
    return str(workspace.home / "uploads" / known / "model")


def _dataset_here(dataset: str | None, workspace: Workspace) -> str | None:
    """Returns the same preset, or where an uploaded one of these bytes is, or would be."""
    if dataset is None or dataset in DATASETS:
        return dataset
    hashed = Path(dataset).parent.name
    return str(workspace.home / "uploads" / (hashed if SHA256.fullmatch(hashed) else "unknown") / "data.zip")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes()) if path.stat().st_size <= MOST_JSON else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadInput(f"'{path.name[:60]}' in this run's file is damaged: export the run again.")
    return data
