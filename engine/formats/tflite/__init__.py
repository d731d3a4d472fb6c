"""TFLite: float files are opened as Keras models, others are inspected."""

from engine.formats.format import Format, Kind, Start


def recognise(start: Start) -> str | None:
    """Returns "tflite" for a FlatBuffer with its mark."""
    return "tflite" if start.head[4:8] == b"TFL3" else None


FORMAT = Format(
    "tflite",
    "TFLite",
    {
        "tflite": Kind(
            "TFLite",
            "keras",
            "engine.formats.tflite.check:check",
            "engine.formats.tflite.open:openings",
            "engine.formats.tflite.as_keras:open_model",
        )
    },
    recognise,
)
