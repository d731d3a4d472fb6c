"""An emulated ARM64 board: a Debian root unpacked in a folder, and an emulator that runs one process of it.

No chroot, mount or binfmt: root on Debian and its mirrors are all that it takes. The processor is always
named: the emulator's own default hides illegal instructions and answers INT8 otherwise than any board.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def run(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs a program and returns what it said."""
    return subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


class Board:
    """A Raspberry Pi 4 with Python, in a folder. Raises OSError where it can't be unpacked."""

    def __init__(self, folder: Path, cpu: str = "cortex-a72"):
        self.folder, self.cpu, self.root = folder, cpu, folder / "root"
        self.emulator = folder / "qemu-aarch64"
        self._emulator()
        done = run(
            *("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--arch=arm64"),
            *(f"--include={PACKAGES}", "bookworm", self.root),
        )
        if done.returncode:
            raise OSError(f"the ARM64 system can't be unpacked: {done.stderr.strip()[-300:]}")
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc" / "cpuinfo").write_text("".join(CPUINFO.format(core=core) for core in range(4)))

    def _emulator(self) -> None:
        """Takes one binary out of its package, which would install thirty times as much."""
        for package, binary in (("qemu-user-static", "qemu-aarch64-static"), ("qemu-user", "qemu-aarch64")):
            if run("apt-get", "download", "-qq", package, cwd=self.folder).returncode:
                continue
            (file,) = self.folder.glob(f"{package}_*.deb")
            if run("dpkg-deb", "-x", file, self.folder / package).returncode:
                continue
            found = self.folder / package / "usr" / "bin" / binary
            if found.exists():
                shutil.copy(found, self.emulator)
                return
        raise OSError("no package of this Debian holds the emulator")

    def install(self, requirements: Path) -> Path:
        """Returns a folder with the ARM64 wheels of a requirements file."""
        site = self.folder / hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
        if not site.exists():
            platforms = [word for name in WHEELS for word in ("--platform", f"{name}_aarch64")]
            done = run(
                *(sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", site),
                *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON),
                *(*platforms, "-r", requirements),
            )
            if done.returncode:
                raise OSError(f"the packages can't be installed: {done.stderr.strip()[-300:]}")
        return site

    def python(self, folder: Path, *words: str) -> subprocess.CompletedProcess:
        """Runs the board's Python in a package's folder, with what its requirements.txt names."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self.install(folder / "requirements.txt")),
        }
        interpreter = self.root / "usr" / "bin" / f"python{PYTHON}"
        return subprocess.run(
            [self.emulator, "-cpu", self.cpu, "-L", self.root, interpreter, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
