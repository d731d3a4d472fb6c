"""The device cards of the configure page."""

import streamlit as st

from engine import runtimes
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


def say_ended(device: Device) -> None:
    """Says what it means that a device's maker no longer moves its software on, where that is so."""
    if device.ended:
        st.warning(w.plain(f"No longer supported by its maker. {device.ended}"), icon=":material/history:")


def choose_runtime(model: ModelFile, device: str) -> str:
    """Lets choose what the run's files are for, where there is a choice, and says what is not as the device
    wants it; returns the runtime's id.
    """
    possible, (usual, note) = runtimes.offered(model), runtimes.settled(model, device)
    chosen = usual
    if len(possible) > 1:
        chosen = st.segmented_control(
            "Files for",
            possible,
            default=usual,
            required=True,
            format_func=lambda name: (
                f"{runtimes.RUNTIMES[name].title} ({runtimes.RUNTIMES[name].format_title})"
            ),
            key=f"runtime_{device}",  # a key a device, so that each starts with its own
            persist_state="session",
        )
    if note:
        st.caption(w.plain(note))
    return chosen


def card(device: Device) -> str:
    """Returns what a device is and what runs well on it, in a few words; what is not known is left out."""
    speed = f"{device.cores} × {device.clock_ghz:g}{w.NBSP}GHz" if device.cores and device.clock_ghz else ""
    parts = [device.cpu, speed, memory(device), device.accelerator]
    ended = "  \nNo longer supported by its maker" if device.ended else ""
    return w.plain(", ".join(part for part in parts if part)) + f"  \n**{w.plain(device.runs_well)}**{ended}"


def before_the_run(model: ModelFile, device: str, runtime: str) -> Estimate | None:
    """Predicts a shipped model from its MACs and parameters alone; an upload's MACs are known only in the
    run.
    """
    if model.name not in CATALOG:
        return None
    profile = by_hand(CATALOG[model.name].macs, model.parameters)
    machine = load_device(device)
    runs_on = capability.default_runtime(machine, profile, None, runtimes.format_of(model, runtime))
    return estimate(profile, device, runtime=runs_on)


def memory(device: Device) -> str:
    """Returns the memory that a device is sold with: "1 to 8 GB"."""
    if not device.memory_mb:
        return ""
    low, high = (f"{size / 1024:g}" for size in (min(device.memory_mb), max(device.memory_mb)))
    return f"{low}{w.NBSP}GB" if low == high else f"{low} to {high}{w.NBSP}GB"
