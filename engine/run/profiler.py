"""What a child measures of a file's operators: the milliseconds of each, by ONNX Runtime's own profiler."""

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.device.model import OnnxRuntime
from engine.run.images import one_input
from engine.run.requests import TimeOperators

ROUNDS, WARM_UP = 60, 10
CONVERT = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")
ORDER = ("Transpose", "ReorderInput", "ReorderOutput")
INTEGER = ("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
EVENT = "_kernel_time"


def operators(request: TimeOperators, send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Runs each file under the profiler; returns OperatorTimes as plain data by variant id."""
    found = {}
    for number, (name, path) in enumerate(request.paths.items()):
        send({"kind": "progress", "fraction": number / len(request.paths), "text": name})
        file = request.folder / path
        found[name] = timed(file, one_input(request.model, path), name in request.int4, request.threads)
    return found


def timed(file: Path, one: Any, int4: bool, threads: int) -> list[dict[str, Any]]:
    """Returns a row an operator, the dearest first: the sum over its nodes of each one's median time."""
    with tempfile.TemporaryDirectory() as folder:
        opened = OnnxRuntime(file, threads, int4, profile=str(Path(folder, "profile")))
        for _ in range(WARM_UP + ROUNDS):
            opened.run_once(one)
        events = json.loads(Path(opened.session.end_profiling()).read_text())
    nodes: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(EVENT):
            nodes.setdefault(event["name"], []).append(event["dur"] / 1000)
            kinds[event["name"]] = (event["args"]["op_name"], kind_of(event["args"]))
    rows: dict[tuple[str, str], list[float]] = {}
    for node, times in nodes.items():
        rows.setdefault(kinds[node], []).append(statistics.median(times[WARM_UP:]))
    listed = [
        {"name": name, "kind": kind, "calls": len(each), "ms": sum(each)}
        for (name, kind), each in rows.items()
    ]
    return sorted(listed, key=lambda row: -row["ms"])


def kind_of(told: dict[str, Any]) -> str:
    """Returns what a node does, by its operator and the type of what goes in."""
    name = told["op_name"]
    if name in CONVERT:
        return "conversion"
    if name in ORDER:
        return "layout"
    types = [kind for tensor in told.get("input_type_shape", [])[:1] for kind in tensor]
    return "int8" if name in INTEGER or set(types) & {"int8", "uint8"} else "float"
