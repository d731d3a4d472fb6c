"""One variant by class: recall, and what was taken for what."""

import plotly.graph_objects as go

from pages.parts.charts.template import COLOURS, FAINT, INK, SEQUENTIAL, blank, mode, text


def recall(classes: list[str], ours: list[float | None], theirs: list[float | None]) -> tuple[go.Figure, str]:
    """Draws recall by class, the variant's beside the baseline's; the worst class first.

    A class without test images (None) is left out.
    """
    known = {i: value for i, value in enumerate(ours) if value is not None}
    theirs = {i: value for i, value in enumerate(theirs) if value is not None and i in known}
    order = sorted(known, key=lambda i: -known[i])
    names = [text(classes[i])[:40] for i in order]
    figure = blank(90 + 26 * len(order))
    colours = COLOURS[mode()]
    if theirs:
        figure.add_scatter(
            x=[100 * theirs[i] for i in order if i in theirs],
            y=[name for name, i in zip(names, order, strict=True) if i in theirs],
            mode="markers",
            name="your model",
            marker={
                "symbol": "diamond",
                "size": 11,
                "color": colours["orange"],
                "line": {"width": 1, "color": INK[mode()]},
            },
            hovertemplate="your model: %{x:.1f} %<extra></extra>",
        )
    figure.add_scatter(
        x=[100 * known[i] for i in order],
        y=names,
        mode="markers",
        name="this variant",
        marker={"symbol": "circle", "size": 8, "color": colours["blue"]},
        hovertemplate="this variant: %{x:.1f} %<extra></extra>",
    )
    low = 100 * min([*known.values(), *theirs.values()])
    figure.update_xaxes(title_text="Recall (%)", range=[max(0, low - 3), 100.8], nticks=6)
    figure.update_yaxes(type="category", gridcolor=FAINT[mode()])
    worst = order[-1]
    return (
        figure,
        (
            f"Recall by class. The worst is {classes[worst]} with {100 * known[worst]:.1f} %, "
            f"the best {classes[order[0]]} with {100 * known[order[0]]:.1f} %."
        ),
    )


def confusion(classes: list[str], counts: list[list[int]]) -> tuple[go.Figure, str]:
    """Draws what was taken for what. Colour is the share of the true class, the figure is the count."""
    shares = [[value / max(sum(row), 1) for value in row] for row in counts]
    names = [text(name)[:24] for name in classes]
    figure = blank(max(280, 90 + 28 * len(names)))
    figure.add_heatmap(
        z=shares,
        x=names,
        y=names,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        colorscale=SEQUENTIAL[mode()],
        text=[[value or "" for value in row] for row in counts],
        texttemplate="%{text}" if len(names) <= 20 else None,
        customdata=counts,
        hovertemplate="%{y} taken for %{x}: %{customdata} images<extra></extra>",
    )
    figure.update_xaxes(title_text="Taken for", type="category", showgrid=False)
    figure.update_yaxes(title_text="True class", type="category", autorange="reversed", showgrid=False)
    wrong = sorted(
        ((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n), reverse=True
    )
    most = "; ".join(f"{classes[i]} taken for {classes[j]} {n} times" for n, i, j in wrong[:3])
    return figure, f"Confusion matrix. {most or 'No image was taken for another class'}."
