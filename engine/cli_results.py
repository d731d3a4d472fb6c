"""Verbs of the command line on what a run left: check it, stress it, pack it, report it."""

from pathlib import Path

import click

from engine import cli_server, face
from engine.cli_options import Number, json_option, limit_options, show
from engine.cli_server import server_option
from engine.errors import BadInput
from engine.judge.operators import why
from engine.judge.printed import robustness_table


@click.command()
@click.argument("model", metavar="MODEL|PACKAGE|RUN")
@click.option("--device", help="A device id; default: the run's.")
@click.option("--runtime")
@click.option("--variant", help="Of the run; default: the recommended one.")
@limit_options
@click.option("--cautious", is_flag=True, help="Predictions count with the upper end of their interval.")
@json_option
def check(model, device, runtime, variant, cautious, as_json, **limits) -> None:
    """Exit 1 with one sentence where a model, a package or a run's variant breaks a limit."""
    kept, broken = face.check(model, device, variant=variant, runtime=runtime, cautious=cautious, **limits)
    if as_json:
        show({"kept": kept, "broken": broken}, True, None)
    elif not broken:
        click.echo("Kept: " + "; ".join(kept))
    if broken:
        raise BadInput(f"{Path(model).name} breaks its budget: {'; '.join(broken)}.")


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("variants", nargs=-1)
@json_option
def robustness(run_id, variants, as_json) -> None:
    """Measure how accurate variants stay on dark, blurred, noisy or turned pictures."""
    found = face.robustness(run_id, *variants)
    show(
        {name: value.model_dump(mode="json") for name, value in found.items()},
        as_json,
        lambda: robustness_table(found),
    )


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("variant")
@json_option
def operators(run_id, variant, as_json) -> None:
    """Measure where a variant's time goes on this machine, operator by operator."""
    known = face.operators(run_id, variant)
    own, baseline = known[variant], known.get("baseline", [])
    show(
        [row.model_dump() for row in own],
        as_json,
        lambda: "\n".join(
            [f"{row.ms:9.4f} ms  {row.calls:4} x {row.name} ({row.kind})" for row in own]
            + [why(own, baseline)]
        ),
    )


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT…")
@click.option("--output", required=True, type=click.Path(path_type=Path))
@click.option(
    "--reach",
    type=Number(),
    metavar="%",
    help="How much of what it answers alone shall be right; where it is less sure, it asks a person.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="For which device, may be said again; else the run's own.",
)
@server_option
@json_option
def package(run_id, variants, output, reach, devices, server, as_json) -> None:
    """Write the zip that runs on the device; of several variants or devices each in a folder of its own."""
    share = None if reach is None else reach / 100
    if server:
        write(output, cli_server.package(server, run_id, variants, devices, share))
    else:
        face.package(run_id, variants, output, reach=share, devices=devices)
    show(
        {"path": str(output), "bytes": output.stat().st_size},
        as_json,
        lambda: f"{output} ({output.stat().st_size:,} bytes), verified: its infer.py ran",
    )


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; its ending tells how: .html, .md or .pdf.",
)
@server_option
@json_option
def report(run_id, output, server, as_json) -> None:
    """Write a run's report: HTML that opens offline, Markdown, or PDF."""
    if server:
        write(output, cli_server.report(server, run_id, output))
    else:
        face.report(run_id, output)
    size = output.stat().st_size
    show({"path": str(output), "bytes": size}, as_json, lambda: f"{output} ({size:,} bytes)")


def write(output: Path, data: bytes) -> None:
    """Writes what a server sent, in a folder that is made where there is none."""
    with face.writing(output) as target:
        target.write_bytes(data)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
@json_option
def export(run_id, output, as_json) -> None:
    """Write a run with all its files as one, for another Edgewise."""
    path = face.export_run(run_id, output)
    size = path.stat().st_size
    show({"path": str(path), "bytes": size}, as_json, lambda: f"{path} ({size:,} bytes)")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def take_in(file, as_json) -> None:
    """Take in a run that `export` wrote, here or elsewhere."""
    run_id = face.import_run(file).id
    show({"id": run_id}, as_json, lambda: run_id)


VERBS = (check, robustness, operators, package, report, export, take_in)
