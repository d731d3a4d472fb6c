"""`edgewise batch`: many experiments from one file or a folder of models, and a summary of them."""

import csv
import io
from pathlib import Path
from typing import Any

import click

from engine import batch as batches
from engine.cli_options import Number, json_option, names_in, show
from engine.errors import BadInput, EdgewiseError
from engine.judge import markup
from engine.store.workspace import Workspace


@click.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="FILE.yaml|FOLDER")
@click.option("--dataset", help="Of those that name none; as for optimize.")
@click.option("--device", help="Of those that name none.")
@click.option("--techniques", help="Of those that name none, with commas.")
@click.option("--time-budget", "time_budget_s", type=Number(), metavar="S", help="Of each that names none.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the summary as .csv or .md.")
@json_option
def batch(source, dataset, device, techniques, time_budget_s, output, as_json) -> None:
    """Run many experiments one after the other, all checked first, and sum them up."""
    if output is not None and output.suffix not in WRITERS:
        raise BadInput(f"{output.name} is no summary: let it end in {' or '.join(WRITERS)}.")
    workspace, rows = Workspace(), []
    asked = batches.asked_in(
        source, dataset=dataset, device=device, techniques=names_in(techniques), time_budget_s=time_budget_s
    )
    experiments = batches.checked(asked, workspace)
    try:
        for row in batches.run_all(experiments, workspace, lambda event: None):
            rows.append(row)
            click.echo(f"{len(rows)} of {len(experiments)}: {row['model']} {row['state']}", err=True)
            if output is not None:
                output.write_text(WRITERS[output.suffix](rows))
    except KeyboardInterrupt:
        click.echo("Cancelled; what is finished is kept.", err=True)
    show(rows, as_json, lambda: as_text(rows))
    if failed := [row for row in rows if row["state"] != "done"]:
        raise EdgewiseError(f"{len(failed)} of {len(experiments)} runs did not end well.")


def as_text(rows: list[dict[str, Any]]) -> str:
    """Returns a line a run, aligned."""
    lines = [f"{'model':30} {'device':20} {'recommended':30} {'size':>12} {'accuracy':>9} {'predicted':>10}"]
    for row in rows:
        if row["recommended"] is None:
            lines.append(f"{row['model']:30} {row['device']:20} {row['state']}: {row['reason']}")
            continue
        accuracy = "" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f}%"
        guess = "" if row["estimated_ms"] is None else f"{row['estimated_ms']:.3g} ms"
        size = f"{row['size_bytes']:,}"
        lines.append(
            f"{row['model']:30} {row['device']:20} {row['recommended']:30} {size:>12}"
            f" {accuracy:>9} {guess:>10}"
        )
    return "\n".join(lines)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as CSV, safe to open in a spreadsheet."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(batches.COLUMNS)
    for row in rows:
        writer.writerow([markup.cell(row[name]) for name in batches.COLUMNS])
    return written.getvalue()


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a Markdown table."""
    lines = ["| " + " | ".join(batches.COLUMNS) + " |", "|" + "---|" * len(batches.COLUMNS)]
    for row in rows:
        cells = ("" if row[name] is None else markup.plain(row[name]) for name in batches.COLUMNS)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


WRITERS = {".csv": as_csv, ".md": as_markdown}
