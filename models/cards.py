"""A model card for each shipped model, generated from the catalog: `python -m models.cards` writes them
all.
"""

from __future__ import annotations

from models.catalog import FOLDER, ShippedModel, read_catalog

_CARD = """# {id}

{architecture}, trained on {dataset}; {classes} classes, input {height}x{width}x{channels}.

| | |
|---|---|
| Accuracy on the test part | {test_accuracy:.2%} of {test_images:,} images |
| Accuracy on the validation part | {validation_accuracy:.2%} (the epoch was chosen by it) |
| Parameters | {parameters:,} |
| Multiply-adds for one image | {macs:,} |
| Weights | `models/{weights}`, {megabytes:.2f} MB |
| SHA-256 | `{sha256}` |
| Preprocessing | `{preprocessing}` |
| Training | {epochs} epochs, seed {seed}: `{command}` |
{notes}
Validation and calibration images are drawn from the training part; the test part was used once, for the figure above.
"""


def card(model: ShippedModel) -> str:
    """Return the Markdown card of a model."""
    height, width, channels = model.input_shape
    fields = vars(model) | {
        "height": height,
        "width": width,
        "channels": channels,
        "classes": len(model.classes),
        "megabytes": model.size_bytes / 1e6,
        "notes": f"\n{model.notes}\n" if model.notes else "",
    }
    return _CARD.format(**fields)


def write_cards() -> None:
    """Write the card of every model in the catalog to `models/cards/`."""
    folder = FOLDER / "cards"
    folder.mkdir(exist_ok=True)
    for model in read_catalog().values():
        (folder / f"{model.id.replace('/', '_')}.md").write_text(card(model), encoding="utf-8")


if __name__ == "__main__":
    write_cards()
