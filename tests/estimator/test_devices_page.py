"""The devices page: every device can be looked at, and what it shows is what was validated."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from estimator import inventory
from estimator.coefficients import load
from estimator.devices import all_devices, load_device

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return app.switch_page("pages/devices.py").run()


@pytest.mark.slow
def test_every_device_opens(page):
    for device in all_devices():
        page.selectbox(key="device").set_value(device).run()
        assert not page.exception, device
        assert page.title[0].value == "Know your device"


def test_what_if_answers_with_an_interval_and_a_reason(page):
    latency = next(m for m in page.metric if m.label == "Latency")
    assert latency.value.endswith("ms")
    assert "networks measured on this device" in page.caption[-1].value.replace("\\", "")


def test_the_error_table_is_the_validation():
    for row, group in zip(
        inventory.error_table("raspberry_pi_4"), inventory.groups("raspberry_pi_4").values(), strict=True
    ):
        found = load()["groups"][group["name"]]["validation"]
        assert row["median error %"] == 100 * found["leave_one_family_out"]["median_error"]
        assert row["rows"] == found["rows"] == len(inventory.points(group["name"]))


def test_rows_without_a_licence_are_not_plotted():
    for group in inventory.groups("raspberry_pi_5").values():
        assert bool(inventory.points(group["name"])) == (not group["frozen"])


def test_unknown_figures_are_left_out_and_the_rest_has_a_source():
    rows = inventory.specification(load_device("coral_usb"))
    assert "Processor" not in {row["What"] for row in rows}
    assert all(row["Source"] for row in rows)
