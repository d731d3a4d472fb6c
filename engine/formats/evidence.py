"""What trials on labelled pictures showed, and what they leave in doubt, as sentences."""

from collections.abc import Sequence

from engine.datasets.trial import TrialPictures
from engine.device.image import FITS
from engine.formats.class_order import warning
from engine.formats.trials import Trial, surely_more

OTHERS_NAMED = 6


def sentences(believed: Trial, tried: Sequence[Trial], pictures: TrialPictures) -> list[str]:
    """Returns what speaks for the trial that is believed.

    tried: each way on as many pictures as it was tried on.
    """
    on = f"{believed.count:,} validation images"
    if believed.opening.fixed is not None:
        return [f"The file tells its scaling; it gives {believed.accuracy:.1%} on {on}."]
    found = [_of_scalings(believed, tried, on), *_of_fits(believed, tried, pictures)]
    same_network = [
        t
        for t in tried
        if t.opening.architecture == believed.opening.architecture
        and (t.name, _way(t)) == (believed.name, _way(believed))
    ]
    sizes = {
        (t.opening.height, t.opening.width): t.accuracy
        for t in sorted(same_network, key=lambda t: t.accuracy)
    }
    if len(sizes) > 1:
        shown = sorted(sizes.items(), key=lambda item: -item[1])
        others = ", ".join(f"{w}x{h} {accuracy:.1%}" for (h, w), accuracy in shown[:4])
        found.append(
            "The file does not tell the size of its images;"
            f" {believed.opening.width}x{believed.opening.height} was taken: {others}."
        )
    return found + _of_networks(believed, tried)


def _of_scalings(believed: Trial, tried: Sequence[Trial], on: str) -> str:
    rows = {}
    for trial in tried:
        same = trial.opening is believed.opening and _way(trial) == _way(believed)
        if same and trial.name != believed.name:
            fewer = f" on {trial.count:,}" if trial.count != believed.count else ""
            rows[trial.name] = f"{trial.name} {_share(trial):.1%}{fewer}"
    others = ", ".join(list(rows.values())[:OTHERS_NAMED])
    ordered = ", its classes in another order," if believed.permuted else ""
    return f"The scaling {believed.name}{ordered} gives {_share(believed):.1%} on {on}" + (
        f"; {others}." if others else "."
    )


def _way(trial: Trial) -> tuple[str, bool]:
    return trial.spec.fit, trial.spec.upright


def _of_fits(believed: Trial, tried: Sequence[Trial], pictures: TrialPictures) -> list[str]:
    """Says how pictures come to the network's size, where the ways to do it differ."""
    opening = believed.opening
    if len(pictures.ways((opening.height, opening.width, opening.channels))) == 1:
        return []
    rows = {
        _way(trial): f"{_named(trial, pictures)} {_share(trial):.1%}"
        + (f" on {trial.count:,}" if trial.count != believed.count else "")
        for trial in tried
        if trial.opening is opening and trial.name == believed.name and _way(trial) != _way(believed)
    }
    others = "; ".join(rows.values())
    return [
        f"The pictures are brought to {opening.width}x{opening.height}: {_named(believed, pictures)}"
        + (f" ({_share(believed):.1%}; {others})." if others else ".")
    ]


def _share(trial: Trial) -> float:
    return trial.reordered if trial.permuted else trial.accuracy


def _named(trial: Trial, pictures: TrialPictures) -> str:
    how = FITS[trial.spec.fit]
    if not pictures.turned:
        return how
    return how + (", upright by the EXIF note" if trial.spec.upright else ", as stored without the EXIF note")


def _of_networks(believed: Trial, tried: Sequence[Trial]) -> list[str]:
    networks: dict[str, float] = {}
    for trial in tried:
        name = trial.opening.architecture or ""
        networks[name] = max(trial.accuracy, networks.get(name, 0.0))
    chosen = believed.opening.architecture
    if len(networks) < 2 or not chosen:
        return []
    rest = sorted(((share, name) for name, share in networks.items() if name != chosen), reverse=True)
    named = ", ".join(f"{name} {share:.1%}" for share, name in rest[:3])
    return [
        f"Of {len(networks)} networks that the weights fit, {chosen} does best on the validation images"
        f" ({believed.accuracy:.1%}; on the same or fewer: {named})."
    ]


def class_order(believed: Trial, classes: list[str]) -> list[str]:
    """Returns the classes in the order that the outputs seem to mean, where that is another one."""
    return [classes[i] for i in believed.order] if believed.permuted and believed.order else []


def warnings(believed: Trial, running: Sequence[Trial], classes: list[str]) -> list[str]:
    """Returns what is in doubt: an order of the classes that looks permuted, that nothing works, or another
    network that as many pictures speak for. running: the trials on as many pictures as the one believed.
    """
    if order := class_order(believed, classes):
        return [warning(believed.accuracy, believed.reordered, order)]
    chance = 1 / len(classes)
    # of two classes, guessing gets half: 2.5 times chance would be more than all
    if believed.accuracy < min(max(2.5 * chance, 0.3), chance + 0.3 * (1 - chance)):
        return [
            f"No preprocessing that was tried gives more than {believed.accuracy:.1%} on the validation"
            " images: the model was probably trained on other data, or wants its pictures in a way that is"
            " not tried here. Choose the data set that it was trained on, or build the preprocessing into"
            " the model."
        ]
    return _level_networks(believed, running)


def _level_networks(believed: Trial, running: Sequence[Trial]) -> list[str]:
    """Says which other networks that the weights fit the pictures don't tell from the one believed, where
    these answer otherwise at all.
    """
    names = dict.fromkeys(
        str(trial.opening.architecture)
        for trial in running
        if trial.opening.facts.get("guess")
        and trial.opening.architecture != believed.opening.architecture
        and not surely_more(believed.right, trial.right)
        and (trial.given != believed.given).any()
    )
    if not names:
        return []
    return [
        f"The file does not tell {believed.opening.facts.get('guess')}: {believed.opening.architecture} is"
        f" assumed, and {believed.count:,} pictures don't tell it from {', '.join(list(names)[:3])}. Where it"
        " is one of these, name it: --architecture NAME (on the page: Architecture)."
    ]
