"""Writes a benchmark's result as JSON and as a Markdown table: machine, versions, seed, command, rows,
targets.
"""

import json
import os
import platform
import shlex
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = (
    "torch",
    "onnx",
    "onnxruntime",
    "torch-pruning",
    "tensorflow-cpu",
    "ai-edge-litert",
    "numpy",
    "scikit-learn",
    "streamlit",
)


def machine() -> dict:
    """Returns processor, cores, memory and system, without the machine's name."""
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        model = next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            model,
        )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict:
    """Returns the installed versions of what the figures depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(name: str, title: str, columns: list[str], rows: list[list], targets: list[dict], **more) -> Path:
    """Writes results/<name>.json and .md. targets: {"target", "figure", "met"} each; misses are shown, not
    hidden.
    """
    command = "python -m " + " ".join(
        ["benchmarks." + Path(sys.argv[0]).stem, *map(shlex.quote, sys.argv[1:])]
    )
    data = {
        "title": title,
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
        "columns": columns,
        "rows": rows,
        "targets": targets,
        **more,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    path = RESULTS / f"{name}.md"
    path.write_text(markdown(data))
    return path


def markdown(data: dict) -> str:
    """Returns the table with the targets under it."""
    m = data["machine"]
    lines = [
        f"# {data['title']}",
        "",
        f"`{data['command']}` on {data['date']}: {m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, "
        f"Python {m['python']}; " + ", ".join(f"{k} {v}" for k, v in data["versions"].items()),
        "",
        "| " + " | ".join(data["columns"]) + " |",
        "|" + "---|" * len(data["columns"]),
    ]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in data["rows"]]
    lines += ["", "| target | figure | met |", "|---|---|---|"]
    lines += [f"| {t['target']} | {t['figure']} | {'yes' if t['met'] else 'no'} |" for t in data["targets"]]
    return "\n".join(lines) + "\n"


def _cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")
