"""What one child may use and see: its limits, its environment, its orders."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.wall.processes import ROOT

KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "EDGEWISE_HOME",
    "EDGEWISE_DATA",
    "EDGEWISE_PUBLIC",
    "EDGEWISE_MEASUREMENTS",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "COVERAGE_PROCESS_CONFIG",  # what `make coverage` counts with
)


@dataclass(frozen=True)
class Limits:
    """What one child may use: resident bytes of its whole group without pages of mapped files, wall seconds,
    bytes of one written file, threads; whether it may reach the network and start programs."""

    memory_bytes: int = 1_500_000_000
    seconds: float = 600
    file_bytes: int = 2_000_000_000
    threads: int = 2
    network: bool = False
    programs: bool = True


def environment(home: Path, limits: Limits) -> dict[str, str]:
    """Returns the whole environment of a child: what it needs, and nothing else that this process knows."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        # a waiting OpenMP thread that spins takes the core its partner needs: 7 times slower when another
        # program runs
        "OMP_NUM_THREADS": str(limits.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # NumPy's too, whatever it is told of waiting: a factorization of 576x576 took 2 s in two threads and
        # 0.04 s in one while the other core was at work. And one thread is what can be forked.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "",
        # two libraries start a thread as they are imported: the one to report what it is used for, the other,
        # which Keras imports and we never use, to tidy memory
        "ORT_DISABLE_TELEMETRY": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }


def orders(limits: Limits) -> dict[str, Any]:
    """Returns what a child must do to itself before anything else."""
    return {
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "network": limits.network,
        "programs": limits.programs,
    }
