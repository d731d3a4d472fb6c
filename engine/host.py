"""Whose machine this is, and what its processor can."""

import os
import platform
import sys
from pathlib import Path

PRIVATE = ("", "0", "false", "no", "off")


def is_public() -> bool:
    """Tells whether strangers share this host (EDGEWISE_PUBLIC), so that a run's id is the key to it and no
    uploaded program is run.
    """
    return os.environ.get("EDGEWISE_PUBLIC", "").strip().lower() not in PRIVATE


def forgets(home: Path) -> bool:
    """Tells whether this host loses what lies in a workspace when it restarts: a Hugging Face Space
    (SPACE_ID) keeps its /data alone, Streamlit's Community Cloud, whose apps lie in /mount/src, nothing.
    """
    in_a_space = bool(os.environ.get("SPACE_ID")) and not home.is_relative_to("/data")
    return in_a_space or Path(__file__).is_relative_to("/mount/src")


def has_api() -> bool:
    """Tells whether programs are answered in this process too: by server.py, not by app.py alone."""
    return "engine.http" in sys.modules


def has_dot_product() -> bool:
    """Tells whether this processor multiplies and adds 8-bit numbers without saturating at 16 bits."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return platform.machine() == "arm64"  # Apple's processors all have dot-product instructions
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})
