"""Which class each output means, where trials on pictures point to another order than the data set's."""

from collections.abc import Sequence
from dataclasses import replace

from engine.datasets.layout import composed
from engine.errors import BadInput
from engine.formats.opening import Opening
from engine.vocabulary import ModelFile

PERMUTED = "The class order looks permuted"
NAMED = 20
FOUND = "found"  # asks for the order that the trials point to


def by_labels(opening: Opening, classes: Sequence[str]) -> Opening:
    """Returns an opening whose file names its classes so that it answers in the data set's order.

    Its `facts` then name them in the order of the outputs; where the file names others, they are left out.
    """
    labels = opening.facts.get("classes")
    if not labels:
        return opening
    places = {_plain(name): place for place, name in enumerate(labels)}
    shown = ", ".join(name[:40] for name in labels[:NAMED])
    if sorted(places) != sorted(map(_plain, classes)):
        said = f"The labels in the file ({shown}) are not the classes of the data set, whose order is taken."
        kept = {key: value for key, value in opening.facts.items() if key != "classes"}
        return replace(opening, facts=kept | {"warnings": [*kept.get("warnings", []), said]})
    order = [places[_plain(name)] for name in classes]
    named = [name for _, name in sorted(zip(order, classes, strict=True))]
    said = f"The outputs mean, by the labels in the file: {shown}."
    facts = opening.facts | {"classes": named, "evidence": [*opening.facts.get("evidence", []), said]}
    return replace(opening, predict=lambda x: opening.predict(x)[:, order], facts=facts)


def _plain(name: str) -> str:
    return composed(name).strip().lower()


def warning(as_it_is: float, reordered: float, names: Sequence[str]) -> str:
    """Returns the sentence about outputs that seem to mean `names`, with the accuracy in either order."""
    order = ", ".join(name[:40] for name in names[:NAMED])
    return (
        f"{PERMUTED}: as it is, {as_it_is:.1%} of the images are right; were the outputs to mean {order}"
        f"{' …' if len(names) > NAMED else ''}, it would be {reordered:.1%}. Take that order, which the"
        " command line does with `--class-order found`, or rename the classes of the data set."
    )


def accepted(model: ModelFile, wanted: str | Sequence[str]) -> ModelFile:
    """Returns a model whose outputs mean its classes in another order: `wanted` are all their names, also as
    one text with commas, or "found".

    Raises BadInput where the trials found none, or where the names are not those of the classes.
    """
    if wanted == FOUND:
        names = model.class_order
        if not names:
            raise BadInput(
                f"No other order of the classes was found for {model.name}: leave the class order out, or"
                " name the classes in the order of the outputs."
            )
    else:
        names = [n.strip() for n in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    if sorted(names) != sorted(model.classes):
        known = ", ".join(name[:40] for name in model.classes[:NAMED])
        raise BadInput(
            f"The class order must name each of the {len(model.classes)} classes once ({known}"
            f"{' …' if len(model.classes) > NAMED else ''}), in the order of the model's outputs."
        )
    order = ", ".join(name[:40] for name in names[:NAMED])
    return model.model_copy(
        update={
            "classes": names,
            "class_order": [],
            "evidence": [*model.evidence, f"The outputs mean, as you set it: {order}."],
            "warnings": [sentence for sentence in model.warnings if not sentence.startswith(PERMUTED)],
        }
    )
