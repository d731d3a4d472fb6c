"""Keras: `.keras`, `.h5`, and SavedModels, which become TFLite on the way."""

import re

from engine.formats.format import Format, Kind, Start
from engine.formats.keras.labelled import is_labelled

HDF5 = b"\x89HDF\r\n\x1a\n"


def recognise(start: Start) -> str | None:
    """Returns keras_h5, keras_v3, keras_zip, saved_model, or None for any other file."""
    if start.head.startswith(HDF5):
        return "keras_h5"
    if {"config.json", "metadata.json"} <= set(start.names):
        return "keras_v3"
    if is_labelled(start.names):
        return "keras_zip"
    return "saved_model" if any(re.search(r"(^|/)saved_model\.pb$", name) for name in start.names) else None


CHECK, OPENINGS = "engine.formats.keras.check:check", "engine.formats.keras.open:openings"
OPEN = "engine.formats.keras.open:open_keras"
FORMAT = Format(
    "keras",
    "Keras",
    {
        "keras_v3": Kind("Keras 3 file", "keras", CHECK, OPENINGS, OPEN),
        "keras_h5": Kind("Keras HDF5 file", "keras", CHECK, OPENINGS, OPEN),
        "keras_zip": Kind(
            "Keras file with its labels, in a ZIP",
            "keras",
            "engine.formats.keras.labelled:check",
            "engine.formats.keras.labelled:openings",
            "engine.formats.keras.labelled:open_model",
        ),
        "saved_model": Kind(
            "SavedModel",
            "keras",
            "engine.formats.keras.saved_model:check",
            "engine.formats.keras.saved_model:openings",
            "engine.formats.keras.open:open_saved_model",
        ),
    },
    recognise,
)
