"""The command line: `python -m engine VERB …`. Every verb has --json; exit 0 done, 1 bad input, 2 failed."""

import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from engine import __version__, ask, cli_server, face
from engine.cli_batch import batch
from engine.cli_options import Number, feeding_options, json_option, limit_options, names_in, show
from engine.cli_results import VERBS
from engine.cli_server import server_option
from engine.errors import BadInput, EdgewiseError
from engine.events import Event, LineChanged, Logged
from engine.judge.printed import in_ms, table
from engine.run import jobs, on_board
from engine.runtimes import RUNTIMES
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Run, parse
from estimator.devices import all_devices


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="edgewise %(version)s")
def cli() -> None:
    """Fit a trained image classifier to an edge device."""


for verb in (*VERBS, batch):
    cli.add_command(verb)


@cli.command()
@click.argument("model")
@click.option("--dataset", help="Labelled images that help to recognise preprocessing.")
@feeding_options
@json_option
def inspect(model: str, dataset: str | None, as_json: bool, **feeding) -> None:
    """Say what a model file is."""
    found = face.inspect(model, dataset, **feeding)
    show(
        found.model_dump(mode="json"),
        as_json,
        lambda: "\n".join(
            f"{name:14} {value}"
            for name, value in found.model_dump(mode="json").items()
            if value not in (None, [])
        ),
    )


@cli.command()
@click.argument("model")
@click.option("--dataset", help="digits, mnist, fashion_mnist, cifar10, or a ZIP or folder of class folders.")
@click.option("--device", required=True, help="One of: " + ", ".join(all_devices()) + ".")
@click.option("--runtime", help=f"What the files are for: {' or '.join(RUNTIMES)}; default: the device's.")
@feeding_options
@click.option("--goal", default="balanced", help="balanced, size, speed or accuracy.")
@click.option(
    "--weights",
    nargs=3,
    type=Number(),
    metavar="SIZE SPEED ACCURACY",
    help="What counts how much for the balanced goal; 1 1 1 is usual.",
)
@limit_options
@click.option("--techniques", help="Comma-separated; default all: " + ",".join(TECHNIQUES) + ".")
@click.option("--time-budget", "time_budget_s", type=Number(), default=300, metavar="S", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--cautious", is_flag=True, help="Check limits against the upper end of each estimate's interval."
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Copy the result and the artifacts to this folder."
)
@server_option
@json_option
def optimize(
    model,
    dataset,
    device,
    runtime,
    architecture,
    input_size,
    class_order,
    goal,
    weights,
    techniques,
    time_budget_s,
    seed,
    cautious,
    output,
    server,
    as_json,
    **limits,
) -> None:
    """Run every technique on a model and recommend one variant."""
    asked = {
        "architecture": architecture,
        "input_size": input_size,
        "class_order": class_order,
        "runtime": runtime,
        "goal": goal,
        "weights": weights and dict(zip(("size", "speed", "accuracy"), weights, strict=True)),
        "techniques": names_in(techniques),
        "seed": seed,
        "time_budget_s": time_budget_s,
        "cautious": cautious,
    }
    on_event = (lambda event: None) if as_json else tell
    if server:
        if output is not None:
            raise BadInput("--output copies what was made here: with --server, take it by `package`.")
        run = cli_server.optimize(
            server, model, dataset, on_event, device=device, constraints=limits, **asked
        )
    else:
        experiment = face.ask_for(model, limits, dataset=dataset, device=device, **asked)
        run = _run_here(experiment, output, on_event, as_json)
    show(run.model_dump(mode="json"), as_json, lambda: table(run))
    if run.state != "done":
        raise EdgewiseError(f"The run {run.state}: {run.reason}")


def _run_here(
    experiment: Experiment, output: Path | None, on_event: Callable[[Event], None], as_json: bool
) -> Run:
    """Runs an experiment in this workspace, and copies what came of it to a folder."""
    workspace = Workspace()
    if output is not None:
        make_folder(output)
    if experiment.runtime_note:
        click.echo(f"Note: {experiment.runtime_note}", err=True)
    run_id = jobs.start(experiment, workspace)
    if not as_json:
        click.echo(f"run {run_id}", err=True)
    try:
        jobs.finish(run_id, workspace, on_event)
    except KeyboardInterrupt:
        raise EdgewiseError(f"Cancelled; what is finished is kept: python -m engine show {run_id}") from None
    run = workspace.run(run_id)
    if output is not None:
        try:
            shutil.copytree(workspace.folder(run_id) / "artifacts", output / "artifacts", dirs_exist_ok=True)
            (output / "run.json").write_text(run.model_dump_json(indent=1))
        except OSError as error:
            raise EdgewiseError(
                f"{output} can't be written ({error.strerror or 'not all files'}): the run itself is kept,"
                f" see `python -m engine show {run_id}`."
            ) from None
    return run


def make_folder(folder: Path) -> None:
    """Makes a folder for what is written at the end; raises BadInput now, not after minutes of work."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: give a folder to --output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{folder} can't be made ({error.strerror}): give another folder to --output."
        ) from None


@cli.command("train-starter")
@click.option("--dataset", required=True, help="A ZIP or folder of class folders, or a preset.")
@click.option("--size", default="small", show_default=True, help="small or medium.")
@click.option("--framework", default="pytorch", show_default=True, help="pytorch or keras.")
@click.option("--time-budget", "seconds", type=Number(), default=120, metavar="S", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--no-mirror",
    is_flag=True,
    help="A picture and its mirror image are of different classes, as with letters.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Write the model to this file."
)
@json_option
def train_starter(dataset, size, framework, seconds, seed, no_mirror, output, as_json) -> None:
    """Train a small model of ours on your own pictures."""
    from engine import starter

    asked = parse(
        starter.Asked,
        {
            "dataset": ask.dataset_named(dataset),
            "size": size,
            "framework": framework,
            "seconds": seconds,
            "seed": seed,
            "mirror": not no_mirror,
        },
    )
    make_folder(output.parent)
    if output.is_dir():
        raise BadInput(f"{output} is a folder: give a file to --output.")
    model = starter.train(
        asked,
        Workspace().home,
        lambda m: (
            None
            if as_json
            else click.echo(f"  {100 * m.get('fraction', 0.0):3.0f} %  {m.get('text', '')}", err=True)
        ),
    )
    try:
        shutil.copyfile(model.path, output)
    except OSError as error:
        raise EdgewiseError(
            f"{output} can't be written ({error.strerror}): give another file to --output."
        ) from None
    model = model.model_copy(update={"path": str(output)})
    show(
        model.model_dump(mode="json"),
        as_json,
        lambda: f"{output} ({model.size_bytes:,} bytes): {model.evidence[0]}",
    )


@cli.command()
@click.argument("model")
@click.option("--device", default="all", help="A device id, or all.")
@click.option("--runtime")
@click.option("--threads", type=int)
@click.option("--precision")
@json_option
def estimate(model, device, runtime, threads, precision, as_json) -> None:
    """Predict latency and memory of a model on devices."""
    from engine.run.estimate import estimates_of

    found = estimates_of(model, device, runtime, threads, precision)
    show(
        {name: value.model_dump(mode="json") for name, value in found.items()},
        as_json,
        lambda: "\n".join(
            f"{name:18} {value.runtime:12} {in_ms(value)}  {value.why}" for name, value in found.items()
        ),
    )


@cli.command()
@server_option
@json_option
def runs(server, as_json) -> None:
    """List the runs of this workspace."""
    rows = server.runs() if server else Workspace().runs()
    show(
        rows,
        as_json,
        lambda: (
            "\n".join(
                f"{r['id']}  {r['state']:9}  {r['model']}  {r['device']}  {r['winner'] or ''}" for r in rows
            )
            or "No runs yet."
        ),
    )


@cli.command("show")
@click.argument("run_id", metavar="RUN")
@server_option
@json_option
def show_run(run_id, server, as_json) -> None:
    """Show one run."""
    run = server.run(run_id) if server else on_board.read(run_id, Workspace())
    show(run.model_dump(mode="json"), as_json, lambda: table(run))


@cli.command()
@json_option
def devices(as_json) -> None:
    """List the devices."""
    names = {device.id: device.name for device in all_devices().values()}
    show(names, as_json, lambda: "\n".join(f"{key:22} {name}" for key, name in names.items()))


@cli.command()
@json_option
def datasets(as_json) -> None:
    """List the data sets."""
    from engine.datasets import DATASETS

    show(
        {key: info.title for key, info in DATASETS.items()},
        as_json,
        lambda: "\n".join(f"{key:15} {info.title}" for key, info in DATASETS.items()),
    )


@cli.command()
@json_option
def models(as_json) -> None:
    """List the shipped models."""
    from models.catalog import CATALOG

    show(
        {
            key: {"test_accuracy": m.test_accuracy, "size_bytes": m.size_bytes, "parameters": m.parameters}
            for key, m in CATALOG.items()
        },
        as_json,
        lambda: "\n".join(
            f"{key:26} {100 * m.test_accuracy:6.2f} %  {m.size_bytes / 1e6:6.2f} MB"
            for key, m in CATALOG.items()
        ),
    )


@cli.command()
@json_option
def techniques(as_json) -> None:
    """List the techniques."""
    show(
        {t.id: {"title": t.title, "text": t.text, "variants": t.variants} for t in TECHNIQUES.values()},
        as_json,
        lambda: "\n".join(f"{t.id:20} {t.text}" for t in TECHNIQUES.values()),
    )


@cli.command()
def mcp() -> None:
    """Serve the workspace to programs that speak the Model Context Protocol."""
    try:
        from engine.mcp import main
    except ImportError as error:
        raise BadInput(
            f"This takes the extra `mcp` ({error}): pip install -r requirements/mcp.txt."
        ) from None
    main()


@cli.command()
@click.argument("scheduler")
def worker(scheduler: str) -> None:
    """Make techniques for other machines' runs, as a worker of the Dask scheduler at tcp://HOST:PORT."""
    try:
        from engine.cluster.worker import serve
    except ImportError as error:
        raise BadInput(
            f"This takes the extra `cluster` ({error}): pip install -r requirements/cluster.txt."
        ) from None
    serve(scheduler)


@cli.command()
@click.argument("device")
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@json_option
def calibrate(device, results, as_json) -> None:
    """Correct a device's predictions with benchmarks measured on yours."""
    from engine.store.calibrations import add_calibration

    summary = add_calibration(device, results, Workspace())
    show(summary, as_json, lambda: summary["text"])


def tell(event: Event) -> None:
    """Prints one line about an event on the error stream."""
    if isinstance(event, LineChanged):
        click.echo(
            f"  {event.technique}: {event.status}" + (f", {event.reason}" if event.reason else ""),
            err=True,
        )
    elif isinstance(event, Logged):
        click.echo(f"  {event.technique}: {event.text}", err=True)


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        cli(standalone_mode=False)
        return 0
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        return 2
    except click.ClickException as error:
        click.echo(error.format_message(), err=True)
        return 1
    except BadInput as error:
        click.echo(str(error), err=True)
        return 1
    except EdgewiseError as error:
        click.echo(str(error), err=True)
        return 2
    except Exception as error:  # a defect of ours: the sentence for everyone, the trace for whoever mends it
        traceback.print_exc()
        click.echo(
            f"An internal error: {type(error).__name__}: {error}. Please report it with the lines above.",
            err=True,
        )
        return 2
