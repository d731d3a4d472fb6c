"""Runs that were deleted, kept for a day: `<home>/deleted/<id>`, as old as its folder's time says."""

import os
import shutil
import time
from pathlib import Path

from engine.errors import BadInput
from engine.store.files import read_json

KEPT_S = 86_400.0


def put(folder: Path, home: Path) -> None:
    """Moves a run's folder there, and removes what has been there for a day."""
    empty(home, KEPT_S)
    target = home / "deleted" / folder.name
    target.parent.mkdir(exist_ok=True)
    os.utime(folder)  # before it is there, or another process takes it for an old one and removes it
    folder.rename(target)


def listed(home: Path) -> list[str]:
    """Returns the ids of what can be taken back, the last deleted first."""
    young = [p for p in (home / "deleted").glob("*") if time.time() - p.stat().st_mtime < KEPT_S]
    return [path.name for path in sorted(young, key=lambda path: path.stat().st_mtime, reverse=True)]


def experiment_of(run_id: str, home: Path) -> str:
    """Returns what a deleted run was about, as words; "" where that can't be read."""
    asked = read_json(home / "deleted" / run_id / "experiment.json")
    label = read_json(home / "deleted" / run_id / "label.json")
    title = label.get("title") if isinstance(label, dict) else ""
    try:
        return str(title or f"{asked['model']['name']}, {asked['device']}")
    except (KeyError, TypeError):
        return ""


def owner_of(run_id: str, home: Path) -> str:
    """Returns the visitor who had started a deleted run; "" where there is none of that id."""
    path = home / "deleted" / run_id / "owner"
    return path.read_text() if run_id in listed(home) and path.exists() else ""


def take_back(run_id: str, home: Path) -> None:
    """Moves a run's folder back; raises BadInput where it is not there any more."""
    if run_id not in listed(home):
        raise BadInput("This run was deleted more than a day ago, or for good: it can't be taken back.")
    (home / "deleted" / run_id).rename(home / "runs" / run_id)


def empty(home: Path, older_s: float = 0.0) -> int:
    """Removes for good what was deleted so long ago; returns how many bytes that frees."""
    freed = 0
    for path in (home / "deleted").glob("*"):
        if time.time() - path.stat().st_mtime >= older_s:
            freed += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            shutil.rmtree(path, ignore_errors=True)
    return freed
