"""The device cards of the configure page."""

import streamlit as st

from engine.frameworks import FRAMEWORKS
from engine.vocabulary import Estimate, ModelFile
from estimator import capability
from estimator.devices import Device, all_devices, load_device
from estimator.predict import by_hand, estimate
from models.catalog import CATALOG
from pages.parts import wording as w


def choose() -> str:
    """Shows a card a device and returns the id of the chosen one."""
    return st.radio(
        "Device",
        list(all_devices()),
        index=list(all_devices()).index("raspberry_pi_4"),
        format_func=lambda name: load_device(name).name,
        key="target",
        bind="query-params",
        horizontal=True,
        label_visibility="collapsed",
        width="stretch",
        captions=[card(device) for device in all_devices().values()],
    )


def card(device: Device) -> str:
    """Returns what a device is and what runs well on it, in a few words; what is not known is left out."""
    speed = f"{device.cores} × {device.clock_ghz:g}{w.NBSP}GHz" if device.cores and device.clock_ghz else ""
    parts = [device.cpu, speed, memory(device), device.accelerator]
    return w.plain(", ".join(part for part in parts if part)) + f"  \n**{w.plain(device.runs_well)}**"


def before_the_run(model: ModelFile, device: str) -> Estimate | None:
    """Predicts a shipped model from its MACs and parameters alone; an upload's MACs are known only in the
    run.
    """
    if model.name not in CATALOG:
        return None
    profile = by_hand(CATALOG[model.name].macs, model.parameters)
    file_format = FRAMEWORKS[model.framework].formats[0]
    runtime = capability.default_runtime(load_device(device), profile, None, file_format)
    return estimate(profile, device, runtime=runtime)


def memory(device: Device) -> str:
    """Returns the memory that a device is sold with: "1 to 8 GB"."""
    if not device.memory_mb:
        return ""
    low, high = (f"{size / 1024:g}" for size in (min(device.memory_mb), max(device.memory_mb)))
    return f"{low}{w.NBSP}GB" if low == high else f"{low} to {high}{w.NBSP}GB"
