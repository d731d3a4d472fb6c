"""A benchmark's result corrects the predictions of the device that it was measured on, and of no other."""

import pytest

from estimator.calibrate import Machine, why_another
from estimator.devices import all_devices, load_device

PI_4 = {"architecture": "aarch64", "board": "Raspberry Pi 4 Model B Rev 1.4"}


@pytest.mark.parametrize(
    "device, machine, says",
    [
        ("raspberry_pi_4", PI_4, ""),
        ("raspberry_pi_5", PI_4, "calls itself 'Raspberry Pi 4 Model B Rev 1.4'"),
        (
            "raspberry_pi_4",
            {"architecture": "x86_64", "cpu": "AMD EPYC"},
            "AMD EPYC (x86_64), which is no Rasp",
        ),
        ("raspberry_pi_4", {"architecture": "aarch64"}, "names no board, as an emulator does"),
        ("jetson_nano", {"architecture": "x86_64"}, "measured on x86_64, which is no Jetson Nano"),
        ("jetson_nano", {"architecture": "aarch64", "board": "NVIDIA Jetson Nano Developer Kit"}, ""),
        ("coral_usb", {"architecture": "x86_64"}, ""),
        ("rk3588", {}, ""),
    ],
)
def test_a_machine_that_is_not_the_device_is_told_apart(device, machine, says):
    found = why_another(Machine(**machine), load_device(device))
    assert says in found and bool(found) == bool(says)


def test_the_boards_of_a_family_are_not_taken_for_each_other():
    named = {device.id: device.board for device in all_devices().values() if device.board}
    assert len(named) == len(set(named.values())) >= 5
