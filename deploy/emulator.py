"""An emulated ARM64 board, on which packages are tried where it is set up: a Debian root in a folder, and an
emulator that runs one process of it.

    python -m deploy.emulator FOLDER
    export EDGEWISE_EMULATOR=FOLDER

No chroot, mount or binfmt: root on Debian and its mirrors are all that setting it up takes, and using it
neither. The processor is always named: the emulator's own default hides illegal instructions and answers INT8
otherwise than any board. Its time says nothing about a board's, and is not shown.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import targets
from engine.device.model import RUNTIMES
from estimator.devices import Device, load_device

VARIABLE = "EDGEWISE_EMULATOR"
CORES = {f"Cortex-{name}": f"cortex-{name.lower()}" for name in ("A53", "A57", "A72", "A76")}
PYTHON = "3.11"
PACKAGES = f"python{PYTHON}-minimal,libpython{PYTHON}-stdlib,libstdc++6"
WHEELS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
# the runtimes read it, and crash on that of another architecture: a Raspberry Pi 4's
CPUINFO = (
    "processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU"
    " implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
)


def why_not() -> str:
    """Returns why no board can be emulated here, or an empty string."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "only root on Debian can unpack an ARM64 system"
    if not shutil.which("mmdebstrap"):
        done = run("apt-get", "update", "-qq")
        done = run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap")
        if done.returncode:
            return f"mmdebstrap can't be installed: {done.stderr.strip()[-200:]}"
    return ""


def run(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program and returns what it said."""
    return subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@dataclass(frozen=True)
class Board:
    """A board in a folder, with the core that is emulated, as the emulator calls it."""

    folder: Path
    cpu: str = "cortex-a72"

    @property
    def root(self) -> Path:
        """The unpacked system."""
        return self.folder / "root"

    @property
    def emulator(self) -> Path:
        """The one binary that runs a process of it."""
        return self.folder / "qemu-aarch64"

    def site(self, requirements: bytes) -> Path:
        """Returns where the wheels of a requirements file are, or would be."""
        return self.folder / hashlib.sha256(requirements).hexdigest()[:12]

    def command(self, site: Path) -> dict[str, Any]:
        """Returns the words and the environment that start the board's Python; a script's words follow."""
        interpreter = self.root / "usr" / "bin" / f"python{PYTHON}"
        words = [self.emulator, "-cpu", self.cpu, "-L", self.root, interpreter]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(site)}
        return {"words": list(map(str, words)), "environment": environment}


def found(device: Device | None, requirements: bytes) -> Board | None:
    """Returns the board that stands for a device, where one is set up with what a package needs."""
    folder = os.environ.get(VARIABLE)
    if not folder or device is None or device.cpu not in CORES or device.python != PYTHON:
        return None
    board = Board(Path(folder).resolve(), CORES[device.cpu])
    return board if board.emulator.exists() and board.site(requirements).exists() else None


def set_up(folder: Path) -> Board:
    """Unpacks a board in a folder, with what packages of either format need. Raises OSError where it can't
    be.
    """
    board = Board(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not board.emulator.exists():
        take_emulator(board)
    if not board.root.exists():
        done = run(
            *("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--arch=arm64"),
            *(f"--include={PACKAGES}", "bookworm", board.root),
        )
        if done.returncode:
            raise OSError(f"the ARM64 system can't be unpacked: {done.stderr.strip()[-300:]}")
        (board.root / "proc").mkdir(exist_ok=True)
        (board.root / "proc" / "cpuinfo").write_text("".join(CPUINFO.format(core=core) for core in range(4)))
    device = load_device("raspberry_pi_4")
    for runtime in RUNTIMES:
        install(board, targets.requirements(device, runtime.suffixes[0]).encode())
    return board


def take_emulator(board: Board) -> None:
    """Takes one binary out of its package, which would install thirty times as much."""
    for package, binary in (("qemu-user-static", "qemu-aarch64-static"), ("qemu-user", "qemu-aarch64")):
        if run("apt-get", "download", "-qq", package, cwd=board.folder).returncode:
            continue
        (file,) = board.folder.glob(f"{package}_*.deb")
        if run("dpkg-deb", "-x", file, board.folder / package).returncode:
            continue
        taken = board.folder / package / "usr" / "bin" / binary
        if taken.exists():
            shutil.copy(taken, board.emulator)
            return
    raise OSError("no package of this Debian holds the emulator")


def install(board: Board, requirements: bytes) -> None:
    """Puts the ARM64 wheels of a requirements file where `site` says."""
    site = board.site(requirements)
    if site.exists():
        return
    wanted, part = board.folder / "requirements.txt", site.with_suffix(".part")
    wanted.write_bytes(requirements)
    platforms = [word for name in WHEELS for word in ("--platform", f"{name}_aarch64")]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", str(part)]
    kind = ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    done = run(*pip, *kind, *platforms, "-r", wanted)
    if done.returncode:
        raise OSError(f"the packages can't be installed: {done.stderr.strip()[-300:]}")
    part.rename(site)


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    try:
        set_up(Path(sys.argv[1]).resolve())
    except OSError as error:
        sys.exit(str(error))
    print(f"export {VARIABLE}={Path(sys.argv[1]).resolve()}")
