"""Several variants of a run in one zip, to be compared on the device: each a whole package in its folder."""

import tempfile
import zipfile
from pathlib import Path

from deploy.package import write
from deploy.readme import plain
from engine.vocabulary import Run
from estimator.devices import all_devices


def several(run: Run, packages: dict[str, Path], output: Path) -> None:
    """Writes the zip. packages: verified ones, by variant. Raises OSError."""
    files = {"README.md": readme(run, packages).encode()}
    for path in packages.values():
        with zipfile.ZipFile(path) as archive:
            files |= {f"{path.stem}/{name}": archive.read(name) for name in archive.namelist()}
    # whole or not at all
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".several-") as folder:
        write(Path(folder) / output.name, files)
        (Path(folder) / output.name).replace(output)


def readme(run: Run, packages: dict[str, Path]) -> str:
    """Returns a table of what is here."""
    device = all_devices().get(run.experiment.device)
    lines = [
        f"# {len(packages)} variants for {device.name if device else run.experiment.device}",
        "",
        "Each folder is a package of its own: set it up as its README.md says, and start with its verify.py.",
        "",
        "| folder | variant | bytes | accuracy % | predicted ms |",
        "|---|---|---|---|---|",
    ]
    for variant in run.variants:
        if variant.id in packages:
            estimate = variant.estimates.get(run.experiment.device)
            latency = estimate.latency_ms if estimate else None
            cells = [
                f"`{packages[variant.id].stem}`",
                plain(variant.id),
                "" if variant.size_bytes is None else f"{variant.size_bytes:,}",
                "" if variant.accuracy is None else f"{100 * variant.accuracy:.2f}",
                "" if latency is None else f"{latency:.3g}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
