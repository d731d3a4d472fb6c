"""The ways in which networks usually want their pixels scaled, the commonest first."""

import numpy as np

from engine.formats.opening import Opening
from engine.vocabulary import Preprocessing

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PRESETS = {
    "mnist": ([0.1307], [0.3081]),
    "fashion_mnist": ([0.2860], [0.3530]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


def candidates(opening: Opening, dataset: str, images: np.ndarray | None) -> list[tuple[str, Preprocessing]]:
    """Returns the preprocessings to try, by name, the commonest first."""
    if opening.fixed is not None:
        return [("the scale in the file", opening.fixed)]
    c = opening.channels
    rows: list[tuple[str, float, list[float], list[float]]] = [
        ("0..1", 1 / 255, [0.0], [1.0]),
        ("−1..1", 1 / 255, [0.5], [0.5]),
        ("0..255", 1.0, [0.0], [1.0]),
        ("1..0 (inverted)", 1 / 255, [1.0], [-1.0]),
        ("−0.5..0.5", 1 / 255, [0.5], [1.0]),
    ]
    if dataset in PRESETS and len(PRESETS[dataset][0]) == c:
        rows.append(("the data set's usual mean and deviation", 1 / 255, *PRESETS[dataset]))
    elif images is not None:
        scaled = images.reshape(-1, c) / 255
        rows.append(
            (
                "the data set's mean and deviation",
                1 / 255,
                [round(float(v), 4) for v in scaled.mean(0)],
                [round(float(max(v, 1e-3)), 4) for v in scaled.std(0)],
            )
        )
    if c == 3:
        rows.append(("ImageNet's mean and deviation", 1 / 255, *IMAGENET))
        rows.append(("0..255 less ImageNet's mean", 1.0, [123.68, 116.779, 103.939], [1.0] * 3))
    of_torchvision = opening.facts.get("of_torchvision") or "torchvision/" in (opening.architecture or "")
    if of_torchvision and images is None and c == 3:
        rows.insert(0, rows.pop(-2))
    if opening.scaled_inside:
        rows.insert(0, rows.pop(2))
    colors = ["grey"] if c == 1 else ["rgb", "bgr"]
    return [
        (
            name if color != "bgr" else f"{name}, blue first",
            Preprocessing.model_validate(
                {
                    "height": opening.height,
                    "width": opening.width,
                    "color": color,
                    "layout": opening.layout,
                    "scale": scale,
                    "mean": _wide(mean, c, color),
                    "std": _wide(std, c, color),
                }
            ),
        )
        for color in colors
        for name, scale, mean, std in rows
    ]


def _wide(values: list[float], channels: int, color: str) -> list[float]:
    wide = values if len(values) == channels else [values[0]] * channels
    return wide[::-1] if color == "bgr" else wide
