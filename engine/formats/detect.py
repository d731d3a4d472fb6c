"""How does this model want its images? Found by trying: the right scaling is the one that gets the labels
right.

Pure NumPy over `Opening.predict`, whatever framework is behind it. Also names a class order that looks
permuted.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from engine.datasets.trial import TrialPictures
from engine.device.preprocessing import preprocess
from engine.errors import BadInput
from engine.vocabulary import Preprocessing

ROUNDS = (
    (64, 0),
    (300, 12),
    (1_000, 4),
    (5_000, 2),
)  # images tried, and how many of the best go on to that round
IMAGES = 5_000
SECONDS = 12.0
PIXELS_AT_ONCE = 64 * 64 * 64
SAMPLED = 200  # pictures whose mean and deviation become a candidate
DOUBT = 0.05  # below this p-value a less usual candidate is believed
PERMUTED_GAIN = 0.3  # so much more must a permutation give before it is believed
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PRESETS = {
    "mnist": ([0.1307], [0.3081]),
    "fashion_mnist": ([0.2860], [0.3530]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}


@dataclass(frozen=True)
class Opening:
    """One way to open a file, ready to be tried.

    Attributes:
        architecture: What to call it, for bare weights; None where the file holds the network.
        height, width, channels: Of its images. `layout` is that of `predict`'s input.
        classes: How many scores it gives.
        predict: float32 images, preprocessed, to scores float32 [n, classes].
        variations: The same with other activations and the like; tried when the best opening is known.
        fixed: Its preprocessing where the file tells (a quantized input's scale), so that nothing is tried.
    """

    architecture: str | None
    height: int
    width: int
    channels: int
    classes: int
    predict: Callable[[np.ndarray], np.ndarray]
    layout: str = "NCHW"
    variations: Callable[[], Iterable["Opening"]] = tuple
    fixed: Preprocessing | None = None
    scaled_inside: bool = False
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What the trials say: the opening, its preprocessing, evidence and warnings as sentences."""

    opening: Opening
    preprocessing: Preprocessing
    accuracy: float | None
    evidence: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class _Trial:
    opening: Opening
    name: str
    spec: Preprocessing
    right: np.ndarray  # bool [n], which of the pictures it named rightly
    count: int
    accuracy: float
    reordered: float  # accuracy if every output meant the class that it answers most
    order: tuple[int, ...] | None
    seconds: float
    rank: int = 0  # how usual it is among the candidates: 0 is the commonest


def detect(
    openings: Iterable[Opening],
    pictures: TrialPictures,
    dataset: str,
    until: float | None = None,
) -> Found:
    """Tries every opening with every scaling and colour order on labelled images; returns the best.

    Each opening gets the pictures in its own size, as a run would make them. `until` is when to be done, in
    seconds of `time.monotonic`; the commonest scaling is tried on a few images in any case. Of candidates
    between which the images can't tell (McNemar's exact test), the commoner one stands. Raises BadInput when
    no opening tells as many classes apart as the data set has.
    """
    classes = pictures.classes
    until = min(until or math.inf, time.monotonic() + SECONDS)
    openings = list(openings)
    fitting = [opening for opening in openings if opening.classes == len(classes)]
    if not fitting:
        found = ", ".join(map(str, sorted({opening.classes for opening in openings})))
        raise BadInput(
            f"The model tells {found} classes apart and the data set has {len(classes)}: choose the data set "
            "that it was trained on."
        )
    fitting, first_count = _first_count(fitting, dataset, pictures, until)
    pairs = [
        (opening, name, spec)
        for opening in fitting
        for name, spec in candidates(opening, dataset, _sample(pictures, opening))
    ]
    ranks = {(id(opening), name): rank for rank, (opening, name, _) in enumerate(pairs)}
    trials: list[_Trial] = []
    networks: dict[str, float] = {}
    for count, keep in ROUNDS:
        count = min(count, len(pictures.labels)) if trials else first_count
        before, trials = trials, _until(until, pairs[: None if not trials else keep], pictures, count)
        if before and trials[0].count <= before[0].count:
            trials, count = before, before[0].count  # the time broke the round off before it could tell more
            break
        trials = [replace(trial, rank=_rank(ranks, trial)) for trial in trials]
        best = _best(trials)
        if len(networks) == 0:
            variations = [
                (opening, best.name, _of_size(best.spec, opening)) for opening in best.opening.variations()
            ]
            varied = _until(until, variations, pictures, count)
            trials += [replace(trial, rank=_rank(ranks, trial)) for trial in varied]
            for trial in trials:
                name = trial.opening.architecture or ""
                networks[name] = max(trial.accuracy, networks.get(name, 0.0))
            first, best = trials, _best(trials)
        count = trials[0].count
        trials.sort(key=lambda trial: (trial is not best, -max(trial.accuracy, trial.reordered - 0.3)))
        pairs = [(trial.opening, trial.name, trial.spec) for trial in trials]
        if count >= len(pictures.labels) or time.monotonic() + _next_seconds(trials, count) > until:
            break
    return Found(
        best.opening,
        best.spec,
        best.accuracy,
        _evidence(best, trials, first, networks, count),
        _warnings(best, classes),
    )


def _of_size(spec: Preprocessing, opening: Opening) -> Preprocessing:
    return spec.model_copy(update={"height": opening.height, "width": opening.width})


def _rank(ranks: dict[tuple[int, str], int], trial: _Trial) -> int:
    """Returns how usual a trial is; what comes later, as a variation does, is less so."""
    return ranks.setdefault((id(trial.opening), trial.name), len(ranks))


def _sample(pictures: TrialPictures, opening: Opening) -> np.ndarray:
    return pictures.fitted(0, SAMPLED, (opening.height, opening.width, opening.channels))[0]


def _until(
    until: float, pairs: list[tuple[Opening, str, Preprocessing]], pictures: TrialPictures, count: int
) -> list[_Trial]:
    """Tries one pair after the other until the time is over; the first is always tried, if on fewer images.

    A later pair that the time breaks off is left out: only equal numbers of images can be compared.
    """
    trials: list[_Trial] = []
    for pair in pairs:
        if not trials or time.monotonic() < until:
            trial = _try(*pair, pictures, count, until)
            if not trials or trial.count == trials[0].count:
                trials.append(trial)
    return trials


def _first_count(
    openings: list[Opening], dataset: str, pictures: TrialPictures, until: float
) -> tuple[list[Opening], int]:
    """Returns the openings that can be tried, and how many images the first round may try so that it takes
    half of the time.

    Each is run once to find out, which also opens it; where that alone takes the half, the rest of them is
    left out.
    """
    half, seconds = time.monotonic() + (until - time.monotonic()) / 2, []
    sample = min(4, len(pictures.labels))
    for opening in openings:
        if seconds and time.monotonic() > half:
            break
        shape = (opening.height, opening.width, opening.channels)
        tries = candidates(opening, dataset, pictures.fitted(0, sample, shape)[0])
        _try(opening, *tries[0], pictures, 1)
        seconds.append(_try(opening, *tries[0], pictures, sample).seconds / max(sample, 1) * len(tries))
    left = max(until - time.monotonic(), 0) / 2
    return openings[: len(seconds)], int(
        np.clip(left / max(sum(seconds), 1e-9), 8, min(ROUNDS[0][0], len(pictures.labels)))
    )


def _next_seconds(trials: list[_Trial], count: int) -> float:
    """Returns how long the next round would take, from this one's seconds for each image."""
    following = next((round_ for round_ in ROUNDS if round_[0] > count), (0, 0))
    return trials[0].seconds / max(count, 1) * following[0] * min(following[1], len(trials))


def assume(opening: Opening, dataset: str | None = None) -> Found:
    """Returns the commonest preprocessing for want of labelled images, with a warning that it is assumed."""
    name, spec = candidates(opening, dataset or "", None)[0]
    warning = (
        []
        if opening.fixed
        else [
            f"No data set was given, so the scaling {name} is assumed: choose the data set "
            "that the model was trained on, and it will be checked on its images."
        ]
    )
    return Found(opening, spec, None, [], warning)


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
    if (opening.architecture or "").startswith("torchvision/") and images is None and c == 3:
        rows.insert(0, rows.pop(-2))
    if opening.scaled_inside:
        rows.insert(0, rows.pop(2))
    colors = ["grey"] if c == 1 else ["rgb", "bgr"]
    return [
        (
            name if color != "bgr" else f"{name}, blue first",
            Preprocessing(
                height=opening.height,
                width=opening.width,
                color=color,
                layout=opening.layout,
                scale=scale,
                mean=_wide(mean, c, color),
                std=_wide(std, c, color),
            ),
        )
        for color in colors
        for name, scale, mean, std in rows
    ]


def _try(
    opening: Opening,
    name: str,
    spec: Preprocessing,
    pictures: TrialPictures,
    count: int,
    until: float = math.inf,
) -> _Trial:
    began, answers, labels = time.monotonic(), [], []
    shape = (opening.height, opening.width, opening.channels)
    step = int(
        np.clip(PIXELS_AT_ONCE / (opening.height * opening.width), 4, 64)
    )  # so that the time is looked at often enough
    for i in range(0, count, step):
        if answers and time.monotonic() > until:
            break
        fitted, wanted = pictures.fitted(i, min(i + step, count), shape)
        if len(fitted):
            scores = opening.predict(preprocess(fitted, spec.model_dump()))
            answers.append(np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1))
            labels.append(wanted)
    if not answers:
        raise BadInput("No picture of the validation part can be read: check the data set's pictures.")
    given, truth = np.concatenate(answers), np.concatenate(labels)
    return _Trial(
        opening,
        name,
        spec,
        given == truth,
        len(truth),
        float((given == truth).mean()),
        *_reordered(given, truth, opening.classes),
        time.monotonic() - began,
    )


def _best(trials: list[_Trial]) -> _Trial:
    if not trials:
        raise BadInput("The model could not be tried within the time: choose a smaller model.")
    usual = sorted(trials, key=lambda trial: trial.rank)
    top = max(usual, key=lambda trial: trial.accuracy)
    top_reordered = max(usual, key=lambda trial: trial.reordered)
    # a scaling under which one class is always answered gets half of two classes right and tells nothing
    if top_reordered.reordered > top.accuracy + PERMUTED_GAIN:
        return top_reordered
    return next(trial for trial in usual if trial is top or not _surely_better(top, trial))


def _surely_better(one: _Trial, other: _Trial) -> bool:
    """Tells by McNemar's exact test whether `one` names more pictures rightly than chance would explain."""
    if len(one.right) != len(other.right):
        return one.accuracy > other.accuracy
    from scipy.stats import binomtest  # half a second, and needed for uploads alone

    won, lost = int((one.right & ~other.right).sum()), int((other.right & ~one.right).sum())
    return won > lost and binomtest(won, won + lost).pvalue < DOUBT


def _reordered(answers: np.ndarray, labels: np.ndarray, classes: int) -> tuple[float, tuple[int, ...] | None]:
    if classes > 200 or len(labels) == 0:
        return 0.0, None
    confusion = np.zeros((classes, classes), np.int64)
    valid = answers >= 0
    np.add.at(confusion, (answers[valid], labels[valid]), 1)
    order = tuple(int(v) for v in confusion.argmax(axis=1))
    if len(set(order)) < classes:
        return 0.0, None
    return float(confusion.max(axis=1).sum() / len(labels)), order


def _evidence(
    best: _Trial, last: list[_Trial], first: list[_Trial], networks: dict[str, float], count: int
) -> list[str]:
    if best.opening.fixed is not None:
        return [f"The file tells its scaling; it gives {best.accuracy:.1%} on {count:,} validation images."]
    rows = {}
    for trial in [*last, *first]:
        if trial.opening is best.opening and trial is not best and trial.name != best.name:
            fewer = f" on {trial.count:,}" if trial.count != count else ""
            rows.setdefault(trial.name, f"{trial.name} {trial.accuracy:.1%}{fewer}")
    others = ", ".join(list(rows.values())[:6])
    found = [
        f"The scaling {best.name} gives {best.accuracy:.1%} on {count:,} validation images"
        + (f"; {others}." if others else ".")
    ]
    sizes = {
        (trial.opening.height, trial.opening.width): trial.accuracy
        for trial in sorted(first, key=lambda trial: trial.accuracy)
        if trial.opening.architecture == best.opening.architecture
    }
    if len(sizes) > 1:
        shown = sorted(sizes.items(), key=lambda item: -item[1])
        others = ", ".join(f"{w}x{h} {accuracy:.1%}" for (h, w), accuracy in shown[:4])
        found.append(
            "The file does not tell the size of its images;"
            f" {best.opening.width}x{best.opening.height} was taken: {others}."
        )
    if len(networks) > 1 and best.opening.architecture:
        ranked = sorted(
            ((accuracy, name) for name, accuracy in networks.items() if name != best.opening.architecture),
            reverse=True,
        )
        rest = ", ".join(f"{name} {accuracy:.1%}" for accuracy, name in ranked[:3])
        found.append(
            f"Of {len(networks)} networks that the weights fit, {best.opening.architecture} does best on the"
            f" first {min(ROUNDS[0][0], count)} images ({networks[best.opening.architecture]:.1%}); {rest}."
        )
    return found


def _warnings(chosen: _Trial, classes: list[str]) -> list[str]:
    if chosen.order is not None and chosen.reordered > chosen.accuracy + PERMUTED_GAIN:
        order = ", ".join(classes[i][:40] for i in chosen.order[:20])
        return [
            f"The class order looks permuted: as it is, {chosen.accuracy:.1%} of the images are right; were"
            f" the outputs to mean {order}, it would be {chosen.reordered:.1%}: put the classes of the data"
            " set in that order."
        ]
    chance = 1 / len(classes)
    # of two classes, guessing gets half: 2.5 times chance would be more than all
    if chosen.accuracy < min(max(2.5 * chance, 0.3), chance + 0.3 * (1 - chance)):
        return [
            f"No preprocessing that was tried gives more than {chosen.accuracy:.1%} on the validation images:"
            " the model was probably trained on other data, or its preprocessing must be set by hand."
        ]
    return []


def _wide(values: list[float], channels: int, color: str) -> list[float]:
    wide = values if len(values) == channels else [values[0]] * channels
    return wide[::-1] if color == "bgr" else wide
