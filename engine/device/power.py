"""What this device draws, read from a sensor of its own; a device without one needs a meter in its supply.

Sources of what is read: the kernel's hwmon and powercap interfaces, NVIDIA's own driver of JetPack 4, and
`vcgencmd pmic_read_adc` of the Raspberry Pi 5.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import threading
import time
from collections import namedtuple
from functools import partial
from typing import Any, Callable

EVERY_S = 0.1  # a reading
WHOLE = ("VDD_IN", "POM_5V_IN")  # the rail through which a Jetson gets all that it draws
PMIC = ("vcgencmd", "pmic_read_adc")


# its name, what it covers, and a function that gives the watts of now (None where a reading fails)
Sensor = namedtuple("Sensor", "name covers watts")


def sensor(root: str = "/sys") -> Sensor | None:
    """Returns the sensor of this device that covers most, None where there is none that may be read."""
    for find in (_ina3221, _jetpack_4, _hwmon, _pmic, _rapl):
        found = find(root)
        if found is not None and found.watts() is not None:
            return found
    return None


def energy(run_once: Callable[[], Any], seconds: float, found: Sensor | None) -> dict[str, Any] | None:
    """Returns what an inference costs, measured for `seconds` at rest and `seconds` at work.

    In millijoules: `mj` is all that the sensor covers while one inference runs, `mj_above_idle` what the
    inference adds. None without a sensor, or where it fell silent.
    """
    if found is None:
        return None
    idle, _ = _while(found, lambda: time.sleep(EVERY_S), seconds)
    load, runs = _while(found, run_once, seconds)
    if idle is None or load is None:
        return None
    each_s = seconds / runs
    return {
        "sensor": found.name,
        "covers": found.covers,
        "idle_w": idle,
        "load_w": load,
        "mj": 1000 * load * each_s,
        "mj_above_idle": 1000 * (load - idle) * each_s,
        "runs": runs,
    }


def _while(found: Sensor, work: Callable[[], Any], seconds: float) -> tuple[float | None, float]:
    """Returns the mean watts while `work` is done over and over, and how often it was done in `seconds`."""
    read, over = [], threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            read.append(found.watts())

    found.watts()  # a counter's first reading covers the time before
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began, runs = time.monotonic(), 0
    while runs == 0 or time.monotonic() - began < seconds:
        work()
        runs += 1
    took = time.monotonic() - began
    over.set()
    watcher.join()
    read = [watts for watts in read if watts is not None]
    return (sum(read) / len(read) if read else None), runs * seconds / took


def _number(path: str) -> float | None:
    try:
        with open(path) as file:
            return float(file.read())
    except (OSError, ValueError):
        return None


def _word(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _sum(readings: list[float | None]) -> float | None:
    known = [reading for reading in readings if reading is not None]
    return sum(known) if known else None


def _rails(name: str, rails: dict[str, Callable[[], float | None]]) -> Sensor | None:
    """Returns a sensor of the whole board's rail where there is one, else of the sum of all."""
    if not rails:
        return None
    used = [rail for rail in rails if rail in WHOLE] or sorted(rails)
    return Sensor(name, "the board: " + " + ".join(used), lambda: _sum([rails[rail]() for rail in used]))


def _ina3221(root: str) -> Sensor | None:
    """Jetsons from JetPack 5 on: millivolts times milliamperes, a channel a rail."""
    rails: dict[str, Callable[[], float | None]] = {}
    for folder in sorted(glob.glob(os.path.join(root, "class/hwmon/hwmon*"))):
        if _word(os.path.join(folder, "name")) != "ina3221":
            continue
        for channel in (1, 2, 3):
            volts = os.path.join(folder, "in%d_input" % channel)
            amperes = os.path.join(folder, "curr%d_input" % channel)
            label = _word(os.path.join(folder, "in%d_label" % channel))
            if label not in ("", "NC") and _number(volts) is not None and _number(amperes) is not None:
                rails[label] = partial(_product, volts, amperes)
    return _rails("INA3221", rails)


def _product(millivolts: str, milliamperes: str) -> float | None:
    volts, amperes = _number(millivolts), _number(milliamperes)
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _jetpack_4(root: str) -> Sensor | None:
    """Jetson Nano, TX2 and others with JetPack 4: the driver gives milliwatts by rail."""
    rails: dict[str, Callable[[], float | None]] = {}
    for path in sorted(
        glob.glob(os.path.join(root, "bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input"))
    ):
        number = path[: -len("_input")].rsplit("in_power", 1)[1]
        label = _word(os.path.join(os.path.dirname(path), "rail_name_" + number))
        if label and _number(path) is not None:
            rails[label] = partial(_scaled, path, 1e3)
    return _rails("INA3221", rails)


def _scaled(path: str, by: float) -> float | None:
    value = _number(path)
    return None if value is None else value / by


def _hwmon(root: str) -> Sensor | None:
    """Any board whose driver gives microwatts."""
    paths = sorted(glob.glob(os.path.join(root, "class/hwmon/hwmon*/power*_input")))
    names = sorted({_word(os.path.join(os.path.dirname(path), "name")) for path in paths})
    if not paths:
        return None
    return Sensor(", ".join(names), "what these sensors feed", lambda: _sum([_scaled(p, 1e6) for p in paths]))


def _pmic(root: str) -> Sensor | None:
    """Raspberry Pi 5: volts times amperes of every rail that has both, without what hangs on USB."""
    if "Raspberry Pi 5" not in _word(os.path.join(root, "firmware/devicetree/base/model")):
        return None
    return Sensor("PMIC", "the rails of its power chip, without their losses and without USB", _pmic_watts)


def _pmic_watts() -> float | None:
    try:
        said = subprocess.run(PMIC, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return pmic_watts(said.decode(errors="replace"))


def pmic_watts(said: str) -> float | None:
    """Returns the watts of all rails in what `vcgencmd pmic_read_adc` prints, None where it names none."""
    found = re.findall(r"(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]", said)
    amperes = {rail: float(value) for rail, kind, value in found if kind == "A"}
    volts = {rail: float(value) for rail, kind, value in found if kind == "V"}
    return _sum([amperes[rail] * volts[rail] for rail in amperes if rail in volts])


def _rapl(root: str) -> Sensor | None:
    """x86-64: counters of microjoules, one a processor package; many systems let only root read them."""
    paths = sorted(glob.glob(os.path.join(root, "class/powercap/intel-rapl:[0-9]")))
    counters = [os.path.join(path, "energy_uj") for path in paths]
    counters = [path for path in counters if _number(path) is not None]
    if not counters:
        return None
    return Sensor("RAPL", "the processor, not the board", _Counters(counters).watts)


class _Counters:
    """Turns counters of microjoules into the watts since the last reading."""

    def __init__(self, paths: list[str]):
        self.paths = paths
        self.last = self._now()

    def _now(self) -> tuple[float, list[float | None]]:
        return time.monotonic(), [_number(path) for path in self.paths]

    def watts(self) -> float | None:
        """Returns the mean watts since the last call; a counter that began anew is left out."""
        (before, were), (now, are) = self.last, self._now()
        self.last = (now, are)
        gone = []
        for number, was in enumerate(were):
            is_now = are[number]
            if was is not None and is_now is not None and is_now >= was:
                gone.append(is_now - was)
        return sum(gone) / 1e6 / (now - before) if gone and now > before else None
