"""The figures of a variant as one flat row, for a table, a spreadsheet or a data frame."""

from typing import Any

from engine.judge import words
from engine.vocabulary import Variant


def row(variant: Variant, device: str) -> dict[str, Any]:
    """Returns the figures of a variant by name; `estimated_` ones are for the device, `measured_` ones of
    this machine. What is not known is None.
    """
    latency = variant.host.latency_ms if variant.host else None
    estimate = variant.estimates.get(device)
    return {
        "variant": variant.id,
        **{name: getattr(variant, name) for name in ("technique", "status", "admissible")},
        **{name: getattr(variant, name) for name in FIGURES},
        "measured_ms_p50": latency.p50 if latency else None,
        "measured_ms_p95": latency.p95 if latency else None,
        "peak_memory_bytes": variant.host.peak_memory_bytes if variant.host else None,
        "estimated_ms": estimate.latency_ms if estimate else None,
        "estimated_low_ms": estimate.low_ms if estimate else None,
        "estimated_high_ms": estimate.high_ms if estimate else None,
        "reason": variant.reason or words.misses(variant),
    }


FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop_pp",
    "accuracy_drop_low_pp",
    "accuracy_drop_high_pp",
    "p_value",
    "worst_class_recall",
    "calibration_error",
    "robust_drop_pp",
    "measured_energy_mj",
    "size_bytes",
    "compressed_bytes",
    "parameters",
    "nonzero_parameters",
    "macs",
    "sparsity",
)
