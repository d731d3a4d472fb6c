"""Joules per inference on this host, where it has a sensor that may be read: float and INT8, both frameworks.

The sensor is read as a package's benchmark.py reads it on a device (`engine/device/power.py`): on x86-64
RAPL, which covers the processor, and which many systems let only root read, and virtual machines nobody.
"""

import argparse

import numpy as np

from benchmarks import record
from benchmarks.engine_run import BUILD, run
from engine.device import power
from engine.device.model import open_model
from engine.formats.inspect import inspect_model
from engine.store.workspace import Workspace

HOME = BUILD / "home-energy"
MODELS = ("digits/pytorch/small", "digits/keras/small")
COLUMNS = ["model", "variant", "sensor", "idle W", "load W", "mJ while it runs", "mJ that it adds"]


def rows_of(model: str, sensor: power.Sensor, seconds: float) -> list[list]:
    """Returns a table row for each variant."""
    opened = inspect_model(model)
    done = run(opened, "digits", "raspberry_pi_4", ["ptq_int8"], 30, home=HOME)
    height, width, channels = opened.input_shape
    first_last = (channels, height, width) if opened.preprocessing.layout == "NCHW" else opened.input_shape
    one = np.zeros((1, *first_last), np.float32)
    rows = []
    for variant in (v for v in done.variants if v.status == "done"):
        network = open_model(Workspace(HOME).folder(done.id) / variant.artifacts[0].opened)
        found = power.energy(lambda network=network: network.run_once(one), seconds, sensor)
        names = ("sensor", "idle_w", "load_w", "mj", "mj_above_idle")
        rows.append([model, variant.id, *(found[name] if found else None for name in names)])
    return rows


def main() -> None:
    """Measures, prints and writes the table; says so where nothing can be read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="at rest, and at work, for each variant")
    asked = parser.parse_args()
    sensor = power.sensor()
    rows = [row for model in MODELS for row in rows_of(model, sensor, asked.seconds)] if sensor else []
    met = {
        "target": "millijoules of an inference on this host",
        "figure": f"{sensor.name}, {sensor.covers}"
        if sensor
        else "not readable here: this host shows no sensor",
        "met": sensor is not None,
    }
    print(record.write("energy", "Energy of an inference on this host", COLUMNS, rows, [met]).read_text())


if __name__ == "__main__":
    main()
