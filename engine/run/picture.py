"""What a child does with one picture: it goes through several files, each in its own runtime."""

import base64
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from engine.device.image import NoPicture, decode
from engine.device.model import open_model
from engine.device.preprocessing import preprocess, probabilities
from engine.errors import BadInput
from engine.run.artifacts import decoded
from engine.run.requests import TryPicture

TIMES, LONGEST_S = 9, 0.1  # how often a picture is timed, and for how long a file at most
SHOWN = 5  # classes


def picture(request: TryPicture, send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Returns the picture as the model sees it (`pixels`, base64 of uint8, in `shape`) and, by variant, the
    likeliest classes with their probabilities and the median time of one run in ms.
    """
    how = request.model.preprocessing
    shape = (how.height, how.width, 1 if how.color == "grey" else 3)
    try:
        image = decode(base64.b64decode(request.picture), shape, how.fit, how.upright)
    except NoPicture as error:
        raise BadInput(f"This can't be read as a picture: it {error}.") from None
    answers = {}
    for variant, artifact in request.artifacts.items():
        path = decoded(artifact, request.folder)
        loaded = open_model(path, request.threads, variant in request.int4, exact=variant in request.exact)
        one = preprocess(image[None], how.as_fed(path).model_dump())
        shares = probabilities(loaded.predict(one), request.model.outputs)[0]
        likeliest = shares.argsort()[::-1][:SHOWN]
        answers[variant] = {
            "likeliest": [[int(i), min(max(float(shares[i]), 0.0), 1.0)] for i in likeliest],
            "ms": _median_ms(partial(loaded.run_once, one)),
        }
    return {
        "pixels": base64.b64encode(image.tobytes()).decode(),
        "shape": list(image.shape),
        "answers": answers,
    }


def _median_ms(run: Callable[[], object]) -> float:
    """Returns the median time of a few runs; those of a slow file end early."""
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < TIMES and (not times or time.perf_counter() - began < LONGEST_S):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
