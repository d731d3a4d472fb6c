"""Options that several verbs of the command line share."""

import json
import math

import click

from engine.judge.limits import LIMITS


class Number(click.ParamType):
    """A finite number of 0 or more; anything else is one sentence."""

    name = "number"

    def convert(self, value, param, ctx):
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not math.isfinite(number) or number < 0:
            self.fail(f"{value} is not a limit: give a number of 0 or more.", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def limit_options(command):
    """Adds an option for each limit that a variant may have to keep."""
    for limit in reversed(LIMITS.values()):
        metavar = limit.unit.upper() or "F"
        command = click.option(limit.option, limit.id, type=Number(), metavar=metavar)(command)
    return click.option("--recall-class", metavar="NAME", help="The class that --min-class-recall is about.")(
        command
    )


def feeding_options(command):
    """Adds the options that say what a file leaves open: the network of bare weights, the size of its images
    and the order of its classes.
    """
    command = click.option(
        "--class-order",
        metavar="NAMES",
        help="The classes in the order of the model's outputs, with commas; or `found`: the order that the"
        " images point to.",
    )(command)
    command = click.option(
        "--architecture",
        metavar="NAME",
        help="The network that bare weights belong to, where Edgewise can't place them: resnet18, or"
        " resnet18,stride=2,pool=no, or chain:28:p0s1m2,p0s1m2:max:relu:flat.",
    )(command)
    return click.option(
        "--input-size",
        nargs=2,
        type=click.IntRange(1, 4096),
        metavar="H W",
        help="Height and width of the model's images, where the file does not tell them.",
    )(command)


def names_in(text: str | None) -> list[str] | None:
    """Returns names that stand with commas between them; None where nothing was said."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def show(data, as_json: bool, text) -> None:
    """Prints data as JSON or as text."""
    click.echo(json.dumps(data, indent=1) if as_json else text())
