"""What machine this is and how it does: read from files of the system, "" or None where it does not tell."""

from __future__ import annotations

import glob
import os
import platform
from typing import Any


def read(path: str) -> str:
    """Returns a small text file without its ends, "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip("\0\n ")
    except OSError:
        return ""


def facts() -> dict[str, Any]:
    """Returns what tells this machine from another: board, processor, system, cores, memory."""
    cpu = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line.split(":", 1) for line in file if ":" in line]
        known = {name.strip(): value.strip() for name, value in lines}
        cpu = known.get("model name") or known.get("Model") or known.get("CPU part", "")
    except OSError:
        pass
    return {
        "board": read("/proc/device-tree/model"),
        "cpu": cpu,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def state() -> dict[str, Any]:
    """Returns how it does now: the hottest sensor in °C, the fastest core's clock in MHz."""
    degrees = [
        int(t) / 1000 for t in map(read, glob.glob("/sys/class/thermal/thermal_zone*/temp")) if t.isdigit()
    ]
    clocks = [
        int(khz) / 1000
        for khz in map(read, glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"))
        if khz.isdigit()
    ]
    return {
        "temperature_c": max(degrees) if degrees else None,
        "clock_mhz": max(clocks) if clocks else None,
    }


def peak_memory_mb() -> float | None:
    """Returns the most memory that this process has held, in MB; None where the system does not tell."""
    try:
        with open("/proc/self/status") as file:
            found = [int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmHWM")]
    except OSError:
        return None
    return found[0] if found else None
