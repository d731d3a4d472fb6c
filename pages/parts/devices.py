"""The device cards of the configure page."""

import streamlit as st

from engine.experiment import DEVICES
from estimator.devices import Device, load_device
from pages.parts import wording as w


def choose() -> str:
    """Shows a card a device and returns the id of the chosen one."""
    return st.radio("Device", list(DEVICES), index=list(DEVICES).index("raspberry_pi_4"), format_func=DEVICES.get, key="device",
                    bind="query-params", horizontal=True, label_visibility="collapsed", width="stretch",
                    captions=[card(load_device(name)) for name in DEVICES])


def card(device: Device) -> str:
    """Returns what a device is and what runs well on it, in a few words; what is not known is left out."""
    speed = f"{device.cores} × {device.clock_ghz:g}{w.NBSP}GHz" if device.cores and device.clock_ghz else ""
    parts = [device.cpu, speed, memory(device), device.accelerator]
    return w.plain(", ".join(part for part in parts if part)) + f"  \n**{w.plain(device.runs_well)}**"


def memory(device: Device) -> str:
    """Returns the memory that a device is sold with: "1 to 8 GB"."""
    if not device.memory_mb:
        return ""
    low, high = (f"{size / 1024:g}" for size in (min(device.memory_mb), max(device.memory_mb)))
    return f"{low}{w.NBSP}GB" if low == high else f"{low} to {high}{w.NBSP}GB"
