"""Tables of variants, for the eye and as CSV. Text in them is made harmless for spreadsheets."""

import csv
import io

import pandas as pd

from engine.vocabulary import Variant
from pages.parts import wording as w

ADMISSIBLE = {"yes": "✓ met", "no": "✗ missed", "unknown": "? no estimate"}
STATUS = {"failed": "✗ failed", "skipped": "– skipped"}


def standing(variant: Variant) -> str:
    """Returns in words, with a sign, where a variant stands."""
    return STATUS.get(variant.status) or ADMISSIBLE[variant.admissible]


def variants(found: list[Variant], device: str) -> pd.DataFrame:
    """Returns a row a variant, figures as numbers so that the table sorts them."""
    rows = [
        {
            "Variant": w.cell(v.id),
            "Limits": standing(v),
            "Accuracy (%)": None if v.accuracy is None else 100 * v.accuracy,
            "95 % interval": w.interval(v.accuracy_low, v.accuracy_high, 100, 1) or w.NONE,
            "Drop (pp)": v.accuracy_drop_pp,
            "Size (kB)": v.size_bytes and v.size_bytes / 1e3,
            "Zipped (kB)": v.compressed_bytes and v.compressed_bytes / 1e3,
            "Measured (ms)": w.measured(v),
            "Estimated on device": w.estimate(v.estimates.get(device)) if v.status == "done" else w.NONE,
            "MACs (million)": v.macs and v.macs / 1e6,
            "Reason": w.cell(v.reason or w.misses(v)),
        }
        for v in found
    ]
    return pd.DataFrame(rows)


def as_csv(found: list[Variant], device: str) -> str:
    """Returns every figure of every variant as CSV, safe to open in a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(
        [
            "variant",
            "technique",
            "status",
            "admissible",
            "accuracy",
            "accuracy_low",
            "accuracy_high",
            "accuracy_drop_pp",
            "p_value",
            "worst_class_recall",
            "size_bytes",
            "compressed_bytes",
            "parameters",
            "nonzero_parameters",
            "macs",
            "sparsity",
            "measured_ms_p50",
            "measured_ms_p95",
            "peak_memory_bytes",
            "estimated_ms",
            "estimated_low_ms",
            "estimated_high_ms",
            "reason",
        ]
    )
    for v in found:
        latency = v.host.latency_ms if v.host else None
        estimate = v.estimates.get(device)
        row = [
            v.id,
            v.technique,
            v.status,
            v.admissible,
            v.accuracy,
            v.accuracy_low,
            v.accuracy_high,
            v.accuracy_drop_pp,
            v.p_value,
            v.worst_class_recall,
            v.size_bytes,
            v.compressed_bytes,
            v.parameters,
            v.nonzero_parameters,
            v.macs,
            v.sparsity,
            latency and latency.p50,
            latency and latency.p95,
            v.host and v.host.peak_memory_bytes,
            estimate and estimate.latency_ms,
            estimate and estimate.low_ms,
            estimate and estimate.high_ms,
            v.reason or w.misses(v),
        ]
        writer.writerow([w.cell(value) for value in row])
    return file.getvalue()
