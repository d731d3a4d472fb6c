"""Watts from the sensors of devices that are not here: their files, as their drivers lay them out."""

import sys
import time
from pathlib import Path

import pytest

from engine.device import power
from estimator.calibrate import Energy


def laid(root: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return str(root)


def ina3221(number: int, *rails: tuple[str, str, str]) -> dict[str, str]:
    at, found = f"class/hwmon/hwmon{number}", {f"class/hwmon/hwmon{number}/name": "ina3221"}
    for channel, (label, volts, amperes) in enumerate(rails, 1):
        found |= {f"{at}/in{channel}_label": label, f"{at}/in{channel}_input": volts}
        found |= {f"{at}/curr{channel}_input": amperes}
    return found


I2C = "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
SENSORS = {
    # an Orin Nano's first rail feeds the others: they must not count twice
    "one rail feeds all": (
        ina3221(1, ("VDD_IN", "5000", "1200"), ("VDD_CPU_GPU_CV", "5000", "400"), ("VDD_SOC", "5000", "300")),
        ("INA3221", "the board: VDD_IN", 6.0),
    ),
    "rails side by side": (
        ina3221(1, ("VDD_GPU_SOC", "20000", "100"), ("VDD_CPU_CV", "20000", "50"), ("NC", "0", "0"))
        | {"class/hwmon/hwmon0/name": "tmp451"},
        ("INA3221", "the board: VDD_CPU_CV + VDD_GPU_SOC", 3.0),
    ),
    "JetPack 4": (
        {f"{I2C}/rail_name_0": "POM_5V_IN", f"{I2C}/in_power0_input": "2500"}
        | {f"{I2C}/rail_name_1": "POM_5V_GPU", f"{I2C}/in_power1_input": "40"},
        ("INA3221", "the board: POM_5V_IN", 2.5),
    ),
    "microwatts": (
        {"class/hwmon/hwmon2/name": "ina226", "class/hwmon/hwmon2/power1_input": "4200000"},
        ("ina226", "what these sensors feed", 4.2),
    ),
}


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_of_the_board_is_read_once_for_each_watt(tmp_path, name):
    files, (sensor, covers, watts) = SENSORS[name]
    found = power.sensor(laid(tmp_path, files))
    assert (found.name, found.covers) == (sensor, covers) and found.watts() == pytest.approx(watts)


def test_no_sensor_is_none(tmp_path):
    assert power.sensor(str(tmp_path)) is None and power.energy(lambda: None, 0.1, None) is None


def test_a_counter_gives_the_watts_between_two_looks_and_not_across_its_new_beginning(tmp_path):
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    found = power._rapl(laid(tmp_path, {"class/powercap/intel-rapl:0/energy_uj": "1000000"}))
    assert found.covers == "the processor, not the board"
    began = time.monotonic()
    time.sleep(0.05)
    counter.write_text("2000000")
    watts, took = found.watts(), time.monotonic() - began
    assert 1 / took <= watts <= 1 / 0.05
    counter.write_text("5")
    assert found.watts() is None


def test_a_pi_5_tells_amperes_and_volts_of_a_rail_apart():
    said = """ 3V7_WL_SW_A current(0)=0.00400000A
 VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.50000000V
 VDD_CORE_V volt(15)=0.75000000V
 EXT5V_V volt(24)=5.14000000V
"""
    assert power.pmic_watts(said) == pytest.approx(0.014 + 1.5)
    assert power.pmic_watts("vc_gencmd: error") is None


def test_an_inference_is_what_is_drawn_while_it_runs_and_what_it_adds():
    """A device that draws 2 W at rest and 5 W at work, an inference of 10 ms."""
    at_work = []
    sensor = power.Sensor("a", "the board", lambda: 5.0 if at_work else 2.0)

    def run_once():
        at_work[:] = [True]
        time.sleep(0.01)

    found = Energy.model_validate(power.energy(run_once, 0.4, sensor))
    assert (found.idle_w, found.load_w) == (2.0, 5.0)
    assert found.mj / found.mj_above_idle == pytest.approx(5 / 3) and found.mj >= 5 * 10
    assert found.mj == pytest.approx(1000 * 5 * 0.4 / found.runs)


def test_a_sensor_that_falls_silent_is_no_figure():
    assert power.energy(lambda: time.sleep(0.01), 0.2, power.Sensor("a", "b", lambda: None)) is None


def test_a_device_needs_nothing_but_the_standard_library_for_it():
    code = Path(power.__file__).read_text()
    names = {
        line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import", "from"))
    }
    assert names <= sys.stdlib_module_names
