"""The layers of a variant as one HTML file: a chart and a table, no script, nothing loaded."""

from collections.abc import Sequence

from deploy.report import TEMPLATES, charts
from engine.judge import figures as f
from engine.judge import words
from engine.judge.layers import LayerRow
from engine.techniques import title_of
from engine.version import VERSION
from engine.vocabulary import Run

COLUMNS = (
    *("Layer", "Operator", "Size", "Size before", "MACs", "MACs before", "Predicted", "Before", "Bound by"),
    *("Bits", "Bits before", "Channels", "Channels before", "Lost at INT8", "Lost at INT4", "Lost pruned"),
)


def html(run: Run, variant: str, device: str, rows: Sequence[LayerRow]) -> str:
    """Returns the page of a variant's layers on a device."""
    return TEMPLATES.get_template("layers.html.j2").render(
        title=f"{title_of(variant)}, layer by layer",
        version=VERSION,
        run=run.id,
        model=run.experiment.model.name,
        device=words.device_name(device),
        chart=charts.layers(rows, words.device_name(device)),
        columns=COLUMNS,
        rows=[_cells(row) for row in rows],
    )


def _cells(row: LayerRow) -> list[str]:
    ends = f.interval(row.low_ms, row.high_ms) if row.ms else ""
    return [
        row.name if row.op else "an inference by itself",
        row.op,
        *(f.size(value) if value else f.NONE for value in (row.bytes, row.bytes_before)),
        *(f.number(value) if value else f.NONE for value in (row.macs, row.macs_before)),
        f.ms(row.ms) + (f" ({ends})" if ends else ""),
        f.ms(row.ms_before),
        row.bound,
        *(
            f.NONE if value is None else str(value)
            for value in (row.bits, row.bits_before, row.channels, row.channels_before)
        ),
        *(f.points(row.sensitivity.get(change)) for change in ("int8", "int4", "prune")),
    ]
