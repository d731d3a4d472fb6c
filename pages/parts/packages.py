"""Packages that this session built: what is in them and how to run them."""

import re
import zipfile
from pathlib import Path, PurePosixPath

import streamlit as st

from deploy.targets import overview, why_closed
from engine.vocabulary import Variant
from estimator.devices import all_devices
from pages.parts import wording as w


def remember(run_id: str, variant_id: str, device: str, reach: float | None, path: Path) -> None:
    """Keeps where the last package of a variant for a device was written, and for which reach."""
    st.session_state.setdefault("packages", {})[run_id, variant_id, device] = reach, path


def built(run_id: str, variant_id: str, device: str, reach: float | None) -> Path | None:
    """Returns a package that this session built like that and that still stands, else None."""
    made, path = st.session_state.get("packages", {}).get((run_id, variant_id, device), (None, None))
    return path if path and made == reach and path.exists() else None


def devices(own: str, variant: Variant) -> list[str]:
    """Returns the devices that a variant's package may be for, the run's own first."""
    ending = PurePosixPath(variant.shipped.opened).suffix
    return [own, *(id for id, one in all_devices().items() if id != own and not why_closed(one, ending))]


def file_name(device: str, variant_id: str) -> str:
    """Returns a download's name, made of letters, digits and dashes only."""
    words = f"{variant_id}-{device}"
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower() + ".zip"


def tree(path: Path) -> str:
    """Returns what lies in a zip, a line a file or a folder, with sizes."""
    sizes: dict[str, list[int]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                first, *rest = PurePosixPath(entry.filename).parts
                sizes.setdefault(f"{first}/" if rest else first, []).append(entry.file_size)
    names = {
        name: name + (f" {len(found)} files" if name.endswith("/") else "") for name, found in sizes.items()
    }
    width = max(map(len, names.values()), default=0)
    return "\n".join(
        names[name].ljust(width + 3) + w.size(sum(sizes[name])).rjust(8)
        for name in sorted(names, key=str.lower)
    )


def of_each_device() -> None:
    """Shows what packages give on each device, and where they were seen to run."""
    with st.expander("What each device gets"):
        st.dataframe(overview.rows(), hide_index=True, width="stretch")
        st.caption(
            "Verified here: in this runtime on this kind of machine; emulated here: on an emulated core of"
            " the device too. Nothing was run on a board, where `verify.py` shows what holds."
        )


def commands(path: Path, name: str) -> str:
    """Returns the commands that run a package on its device."""
    with zipfile.ZipFile(path) as archive:
        tops = {PurePosixPath(entry).parts[0] for entry in archive.namelist()}
        has_folder = len(tops) == 1 and not any(entry == next(iter(tops)) for entry in archive.namelist())
    folder = next(iter(tops)) if has_folder else Path(name).stem
    target = "" if has_folder else f" -d {folder}"
    return "\n".join(
        [
            f"unzip {name}{target}",
            f"cd {folder}",
            "python3 -m venv .venv",
            ".venv/bin/pip install -r requirements.txt",
            ".venv/bin/python verify.py",
            ".venv/bin/python infer.py sample.png",
        ]
    )
