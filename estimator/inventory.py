"""What is known of a device's predictions: its groups, their errors on held-out families, the points of the
plot.
"""

from typing import Any, NamedTuple

from estimator.coefficients import held_out, load


class Held(NamedTuple):
    """One published row, predicted by a fit that saw no network of its family."""

    network: str
    measured_ms: float
    predicted_ms: float


def groups(device: str) -> dict[str, dict[str, Any]]:
    """The device's fitted groups by `runtime, precision, threads`, best measured first; empty where it has
    none.

    Each holds `name`, `networks` (keys, empty where they may not be listed), `frozen` and `validation`
    (benchmarks/results/estimator_validation.json says what its entries are).
    """
    found = {}
    entries = [(name, entry) for name, entry in load()["groups"].items() if name.startswith(device + "|")]
    for name, entry in sorted(entries, key=lambda item: (-item[1]["validation"]["rows"], item[0])):
        _, runtime, precision, threads = name.split("|")
        count = "all cores" if threads == "0" else f"{threads} thread{'s' if threads != '1' else ''}"
        found[f"{runtime}, {precision}, {count}"] = {
            "name": name,
            "networks": entry.get("networks", []),
            "frozen": entry["frozen"],
            "half_width": entry["half_width"],
            "validation": entry["validation"],
        }
    return found


def points(group: str) -> list[Held]:
    """The held-out points of a group by its `name`; empty where its rows may not be shown."""
    return [Held(*row) for row in held_out().get(group, [])]


def error_table(device: str) -> list[dict[str, Any]]:
    """Rows of the error table; shares in percent, widths as high / low."""
    return [
        {
            "what": what,
            "rows": found["rows"],
            "networks": found["networks"],
            "median error %": 100 * found["leave_one_family_out"]["median_error"],
            "within 10 %": 100 * found["leave_one_family_out"]["within_10"],
            "within 25 %": 100 * found["leave_one_family_out"]["within_25"],
            "rank correlation": found["leave_one_family_out"]["rank_correlation"],
            "coverage %": 100 * found["coverage"],
            "width": found["interval_width"],
            "MACs alone %": 100 * found["rival_macs"]["median_error"],
            "parameters alone %": 100 * found["rival_parameters"]["median_error"],
        }
        for what, group in groups(device).items()
        for found in [group["validation"]]
    ]


def specification(device: Any) -> list[dict[str, str]]:
    """What a device is, figure by figure with its source; what is not known is left out."""
    labels = {
        "soc": "System on chip",
        "cpu": "Processor",
        "cores": "Cores",
        "clock_ghz": "Clock, GHz",
        "instructions": "Instructions",
        "memory_mb": "Memory, MiB",
        "memory_type": "Memory type",
        "bandwidth_gb_s": "Bandwidth in theory, GB/s",
        "measured_bandwidth_gb_s": "Bandwidth measured, GB/s",
        "l2_kb": "Second-level cache, kB",
        "accelerator": "Accelerator",
        "peak_gflops": "Peak FP32, GFLOP/s",
        "peak_fp16_gflops": "Peak FP16, GFLOP/s",
        "peak_int8_gops": "Peak INT8, GOP/s",
        "idle_w": "Power idle, W",
        "load_w": "Power under load, W",
    }
    rows = []
    for field, label in labels.items():
        value = getattr(device, field)
        if value not in (None, "", ()):
            shown = (
                ", ".join(map(str, value))
                if isinstance(value, tuple)
                else f"{value:,g}"
                if isinstance(value, (int, float))
                else value
            )
            rows.append({"What": label, "Figure": shown, "Source": device.sources.get(field, "")})
    return rows
