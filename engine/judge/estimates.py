"""Predictions for artifacts, corrected by what the user measured on their own device."""

from collections.abc import Iterable, Mapping
from typing import Any

from engine.vocabulary import Estimate
from estimator.devices import all_devices
from estimator.predict import estimate
from estimator.types import Calibration, Profile


def estimates_for(
    profile: Profile,
    calibrations: Mapping[str, Calibration],
    devices: Iterable[str] | None = None,
    **how: Any,
) -> dict[str, Estimate]:
    """Returns an Estimate by device id (all by default); `how`: runtime, threads, precision."""
    return {
        device: estimate(profile, device, calibration=calibrations.get(device), **how)
        for device in devices or all_devices()
    }
