"""Several variants of a run, or one for several devices, in one zip: each a whole package in its folder."""

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deploy.package import write
from deploy.readme import plain
from engine.judge.words import device_name
from engine.vocabulary import Run


def several(run: Run, packages: Mapping[tuple[str, str], Path], output: Path) -> None:
    """Writes the zip. packages: verified ones, by device and variant. Raises OSError."""
    files = {"README.md": readme(run, packages).encode()}
    for path in packages.values():
        with zipfile.ZipFile(path) as archive:
            files |= {f"{path.stem}/{name}": archive.read(name) for name in archive.namelist()}
    # whole or not at all
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".several-") as folder:
        write(Path(folder) / output.name, files)
        (Path(folder) / output.name).replace(output)


def readme(run: Run, packages: Mapping[tuple[str, str], Path]) -> str:
    """Returns a table of what is here."""
    devices = {id: device_name(id) for id, _ in packages}
    count = len({variant for _, variant in packages})
    lines = [
        f"# {count} variant{'s' * (count > 1)} for {', '.join(devices.values())}",
        "",
        "Each folder is a package of its own: set it up as its README.md says, and start with its verify.py.",
        "",
        "| folder | device | variant | bytes | accuracy % | predicted ms |",
        "|---|---|---|---|---|---|",
    ]
    variants = {variant.id: variant for variant in run.variants}
    for (device, name), path in packages.items():
        variant = variants[name]
        estimate = variant.estimates.get(device)
        latency = estimate.latency_ms if estimate else None
        cells = [
            f"`{path.stem}`",
            devices[device],
            plain(name),
            "" if variant.size_bytes is None else f"{variant.size_bytes:,}",
            "" if variant.accuracy is None else f"{100 * variant.accuracy:.2f}",
            "" if latency is None else f"{latency:.3g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
