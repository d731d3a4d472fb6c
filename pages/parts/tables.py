"""Tables of variants, for the eye and as CSV. Text in them is made harmless for spreadsheets."""

import csv
import io

import pandas as pd

from engine.judge.limits import energy, estimated
from engine.judge.table import row
from engine.judge.words import holds_words
from engine.run.on_board import OnBoard
from engine.vocabulary import Variant
from pages.parts import wording as w

NOWHERE = OnBoard()
ON_BOARD = "On your device (ms)"
ADMISSIBLE = {"yes": "✓ met", "no": "✗ missed", "unknown": "? not known"}
STATUS = {"failed": "✗ failed", "skipped": "– skipped"}


def standing(variant: Variant) -> str:
    """Returns in words, with a sign, where a variant stands."""
    if variant.status == "done" and not variant.usable:
        return "✗ at chance"
    if not variant.usable:
        return "✗ unusable"
    if variant.admissible == "yes" and variant.kept:
        return f"✓ met {'as measured' if 'measured' in variant.kept.values() else 'for sure'}"
    return STATUS.get(variant.status) or ADMISSIBLE[variant.admissible]


def variants(found: list[Variant], device: str, board: OnBoard = NOWHERE) -> pd.DataFrame:
    """Returns a row a variant, figures as numbers so that the table sorts them; with a column of what the
    user's own device measured, where it has.
    """
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
            **({ON_BOARD: board.ms(v.id)} if board.found else {}),
            "Estimated on device": w.estimate(v.estimates.get(device)) if v.status == "done" else w.NONE,
            "MACs (million)": v.macs and v.macs / 1e6,
            "Worst recall (%)": None if v.worst_class_recall is None else 100 * v.worst_class_recall,
            "Confidence off by (%)": None if v.calibration_error is None else 100 * v.calibration_error,
            "Lost on damaged (pp)": v.robust_drop_pp,
            "Memory (MB)": estimated(v, device, "memory_mb"),
            "Energy (mJ)": energy(v, device),
            "Parameters": v.parameters,
            "Zeros (%)": None if v.sparsity is None else 100 * v.sparsity,
            "Reason": w.cell(v.reason or w.misses(v)),
        }
        for v in found
    ]
    return pd.DataFrame(rows)


def as_csv(found: list[Variant], device: str) -> str:
    """Returns every figure of every variant as CSV, safe to open in a spreadsheet."""
    file = io.StringIO()
    writer = csv.writer(file)
    rows = [row(v, device) for v in found]
    writer.writerow(rows[0] if rows else [])
    for figures in rows:
        writer.writerow([w.cell(value) for value in figures.values()])
    return file.getvalue()


def matching(frame: pd.DataFrame, wanted: str | None) -> pd.DataFrame:
    """Returns the rows in which some text holds every word that is searched for, in any case."""
    return frame[[holds_words(row, wanted or "") for row in frame.itertuples(index=False)]]
