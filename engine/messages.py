"""What a child may say to its parent while it works: a few kinds of message, each with bounded fields.

A child may be hostile, so nothing that it sends reaches a run's log unless it is one of these.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MOST_LETTERS = 2_000

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=MOST_LETTERS)]
Name = Annotated[str, Field(max_length=200)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class VariantStarted(_Message):
    """A technique begins with one of its variants."""

    kind: Literal["variant_started"]
    variant: Name


class VariantProgress(_Message):
    """How far one variant is."""

    kind: Literal["variant_progress"]
    variant: Name
    fraction: Fraction
    text: Text = ""


class Progress(_Message):
    """How far a task is as a whole."""

    kind: Literal["progress"]
    fraction: Fraction
    text: Text = ""


class Training(_Message):
    """How far the training of a starter model is: seconds left and accuracy on the validation part so far."""

    kind: Literal["training"]
    fraction: Fraction
    remaining_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    accuracy: Fraction | None = None
    text: Text = ""


class Log(_Message):
    """A sentence for the run's log."""

    kind: Literal["log"]
    text: Text


class VariantMade(_Message):
    """A variant is finished; `engine.run.made` checks what is in it before it is written down."""

    kind: Literal["variant_made"]
    variant: dict[str, Any]


RUN: TypeAdapter[Any] = TypeAdapter(
    Annotated[VariantStarted | VariantProgress | VariantMade | Progress | Log, Field(discriminator="kind")]
)
STARTER: TypeAdapter[Any] = TypeAdapter(Annotated[Progress | Training, Field(discriminator="kind")])


def parsed(message: Any, allowed: TypeAdapter[Any] = RUN) -> dict[str, Any] | None:
    """Returns the message as it was sent, or None when it is not exactly one of the allowed kinds."""
    try:
        found: BaseModel = allowed.validate_python(message)
    except ValidationError:
        return None
    return found.model_dump(exclude_unset=True)


def written(message: dict[str, Any]) -> str:
    """Returns a message of ours as one line, its text cut to what a parent takes."""
    if isinstance(text := message.get("text"), str) and len(text) > MOST_LETTERS:
        message = {**message, "text": text[: MOST_LETTERS - 1] + "…"}
    return json.dumps(message) + "\n"
