"""The estimator on its own: `python -m estimator fit|validate|predict`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from estimator import coefficients
from estimator.types import Precision

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


@click.group(help=__doc__)
def main() -> None:
    """Gathers the verbs."""


@main.command()
@click.option("--rows", "folder", help="Folder of rows; default: EDGEWISE_MEASUREMENTS, else shipped.")
@click.option("--output", type=click.Path(path_type=Path), default=coefficients.FILE)
def fit(folder: str | None, output: Path) -> None:
    """Fit coefficients.json to measured rows."""
    from estimator.fitting import fit, rows

    before = coefficients.load() if coefficients.FILE.exists() else None
    content, points = fit.fit(rows.folder(folder), before)
    output.write_text(coefficients.dump(content))
    (output.parent / coefficients.HELD_OUT.name).write_text(coefficients.dump(points))
    count = sum(group["validation"]["rows"] for group in content["groups"].values())
    click.echo(f"{len(content['groups'])} groups, {count} rows -> {output}")


@main.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--write", is_flag=True, help="Write benchmarks/results/estimator_validation.*.")
@click.option("--test", type=click.Path(path_type=Path), help="Rows kept aside: check against these instead.")
def validate(as_json: bool, write: bool, test: Path | None) -> None:
    """Print the validation of the shipped coefficients."""
    from estimator.fitting import targets, validate

    if test:
        click.echo(validate.kept_aside(test), nl=False)
        return
    content = coefficients.load()
    table = {name: group["validation"] for name, group in content["groups"].items()}
    page = validate.markdown(table, content["confidence"], content["ranks"])
    record = coefficients.dump(
        {
            "command": "python -m estimator validate --write",
            "groups": table,
            "confidence": content["confidence"],
            "ranks": content["ranks"],
            "targets": targets.rows(table, content["ranks"]),
        }
    )
    click.echo(record if as_json else page, nl=False)
    if write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "estimator_validation.json").write_text(record)
        (RESULTS / "estimator_validation.md").write_text(page)


@main.command()
@click.argument("model")
@click.option("--device", default="all", show_default=True)
@click.option("--runtime")
@click.option("--threads", type=int)
@click.option("--precision", type=click.Choice(get_args(Precision)))
def predict(
    model: str, device: str, runtime: str | None, threads: int | None, precision: Precision | None
) -> None:
    """Predict a model file's cost."""
    from estimator.devices import all_devices
    from estimator.predict import estimate
    from estimator.profile.graph import profile

    found = profile(model)
    names = sorted(all_devices()) if device == "all" else [device]
    answers = [estimate(found, name, runtime, threads, precision) for name in names]
    click.echo(json.dumps([a.model_dump() for a in answers], indent=1))


def in_one_sentence(command: Callable[[], None]) -> None:
    """Runs the command; bad input ends with exit code 1 and one sentence on stderr."""
    try:
        command()
    except FileNotFoundError as error:
        sys.exit(f"There is no file {error.filename}: check its path.")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    in_one_sentence(main)
