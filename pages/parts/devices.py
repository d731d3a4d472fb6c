"""The device cards of the configure page."""

import streamlit as st

from engine.experiment import DEVICES


def choose() -> str:
    """Shows a card a device and returns the id of the chosen one."""
    return st.radio("Device", list(DEVICES), index=1, format_func=DEVICES.get, key="device", bind="query-params", horizontal=True,
                    label_visibility="collapsed", width="stretch", captions=[card(name) for name in DEVICES])


def card(name: str) -> str:
    """Returns what a device is and what runs well on it, in a few words."""
    return ""
