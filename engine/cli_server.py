"""`--server URL`: the command line asks an Edgewise elsewhere, which does the work."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engine.client import Client
from engine.errors import BadInput, EdgewiseError
from engine.events import Event
from engine.vocabulary import Run

server_option = click.option(
    "--server",
    metavar="URL",
    callback=lambda context, option, url: url and Client(url, os.environ.get("EDGEWISE_API_KEY", "").strip()),
    help="Ask the Edgewise at this address, with the key in EDGEWISE_API_KEY.",
)


def optimize(
    server: Client, model: str, dataset: str | None, on_event: Callable[[Event], None], **asked: Any
) -> Run:
    """Sends what is a file here, starts a run, hands over its events, and returns it once it has ended."""
    file = Path(model).expanduser()
    if file.is_file():
        asked |= {"name": file.name}
        model = server.upload(file, "model")
    run = server.start(model=model, dataset=_sent(server, dataset), **asked)
    if run.experiment.runtime_note:
        click.echo(f"Note: {run.experiment.runtime_note}", err=True)
    click.echo(f"run {run.id}", err=True)
    try:
        for event in server.events(run.id):
            on_event(event)
    except KeyboardInterrupt:
        server.stop(run.id)
        raise EdgewiseError(f"Cancelled; what is finished is kept: `show {run.id}` with --server.") from None
    return server.run(run.id)


def _sent(server: Client, dataset: str | None) -> str | None:
    path = Path(dataset or "").expanduser()
    if dataset is None or not path.exists():
        return dataset  # a name, of which the server knows whether there is one
    if path.is_file():
        return server.upload(path, "dataset")
    with tempfile.TemporaryDirectory() as folder:
        return server.upload(Path(shutil.make_archive(f"{folder}/data", "zip", path)), "dataset")


def package(
    server: Client, run_id: str, variants: tuple[str, ...], devices: tuple[str, ...], reach: float | None
) -> bytes:
    """Returns one variant's package."""
    if len(variants) > 1 or len(devices) > 1:
        raise BadInput("A server gives one package at a time: name one variant and at most one device.")
    return server.package(run_id, variants[0], reach, next(iter(devices), None))


def report(server: Client, run_id: str, output: Path) -> bytes:
    """Returns a report as the ending of `output` says."""
    kinds = {".html": "html", ".htm": "html", ".md": "md"}
    if output.suffix.lower() not in kinds:
        raise BadInput("A server writes reports as .html or .md: give such a file to --output.")
    return server.report(run_id, "md" if output.suffix.lower() == ".md" else "html")
