"""The techniques, one file each, written over the protocol of the backends: none imports a framework."""

from engine.techniques import (
    distill,
    dynamic_int8,
    fit_limits,
    fp16,
    hybrid,
    prune_structured,
    prune_unstructured,
    ptq_int4,
    ptq_int8,
    qat_int8,
)
from engine.techniques.technique import Technique

# in the order they run in: what is cheap and likely to win comes first
ALL: tuple[Technique, ...] = (
    ptq_int8.TECHNIQUE,
    dynamic_int8.TECHNIQUE,
    fp16.TECHNIQUE,
    ptq_int4.TECHNIQUE,
    qat_int8.TECHNIQUE,
    prune_structured.TECHNIQUE,
    prune_unstructured.TECHNIQUE,
    hybrid.TECHNIQUE,
    fit_limits.TECHNIQUE,
    distill.TECHNIQUE,
)
TECHNIQUES: dict[str, Technique] = {technique.id: technique for technique in ALL}


def title_of(variant: str) -> str:
    """Returns what a variant is called for people: "Structured pruning, 70 % of the channels gone"; the id
    itself where no technique of that name is known (any more).
    """
    name, _, setting = variant.partition("@")
    if name not in TECHNIQUES:
        return "Your model" if name == "baseline" else variant
    technique = TECHNIQUES[name]
    return ", ".join([technique.title, *([technique.settings.get(setting, setting)] if setting else [])])
