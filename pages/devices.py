"""Devices: what each one is, what was measured on it, how wrong predictions for it are, and a what-if by
hand.
"""

import streamlit as st

from estimator import inventory
from estimator.devices import all_devices
from estimator.predict import by_hand, estimate
from pages.parts import charts
from pages.parts import wording as w
from pages.parts.devices import say_ended

devices = all_devices()
st.title("Know your device")
chosen = st.selectbox(
    "Device",
    list(devices),
    index=list(devices).index("raspberry_pi_4"),
    key="device",
    bind="query-params",
    format_func=lambda name: devices[name].name,
)
device = devices[chosen]
st.caption(w.plain(device.runs_well))
say_ended(device)

groups = inventory.groups(chosen)
rows = sum(group["validation"]["rows"] for group in groups.values())
with st.container(horizontal=True):
    st.metric(
        "Measurements",
        w.number(rows),
        border=True,
        help="Published latencies that predictions for this device were fitted to.",
    )
    st.metric("Runtime and precision pairs", w.number(len(groups)), border=True)
    if groups:
        best = next(iter(groups.values()))["validation"]
        st.metric(
            "Median error",
            f"{w.figure(100 * best['leave_one_family_out']['median_error'])}{w.NBSP}%",
            border=True,
            help=f"{next(iter(groups))}: on networks that the fit did not see.",
        )
        st.metric(
            "Intervals that held",
            f"{w.figure(100 * best['coverage'])}{w.NBSP}%",
            border=True,
            help="Meant to be 90 %.",
        )

st.header("What it is")
st.dataframe(inventory.specification(device), hide_index=True, width="stretch")
if device.notes:
    st.caption(w.plain(device.notes))
with st.expander("What each precision really runs as"):
    st.dataframe(
        [
            {
                "Runtime": runtime,
                "Precision": precision,
                "Runs as": found.runs_as,
                "Verdict": found.verdict,
                "Why": found.why,
            }
            for runtime, entry in device.runtimes.items()
            for precision, found in entry.precisions.items()
        ],
        hide_index=True,
        width="stretch",
    )

st.header("How wrong predictions are")
if not groups:
    st.info(
        "No measurements that a fit could rest on. Predictions are transferred from a relative, with wider"
        " intervals; each says from where.",
        icon=":material/info:",
    )
else:
    st.caption("Every network was predicted by a fit that saw no network of its family.")
    what = st.selectbox("Runtime, precision and threads", list(groups))
    group = groups[what]
    points = inventory.points(group["name"])
    if points:
        low = 0.8 * min(min(p.measured_ms, p.predicted_ms) for p in points)
        high = 1.25 * max(max(p.measured_ms, p.predicted_ms) for p in points)
        figure = charts.blank(420)
        figure.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            name="exact",
            hoverinfo="skip",
            line={"color": charts.INK[charts.mode()], "width": 1, "dash": "dot"},
        )
        figure.add_scatter(
            x=[p.measured_ms for p in points],
            y=[p.predicted_ms for p in points],
            mode="markers",
            name="held-out network",
            text=[charts.text(p.network) for p in points],
            marker={"size": 8, "color": charts.COLOURS[charts.mode()]["blue"]},
            hovertemplate="%{text}<br>measured %{x:.3g} ms, predicted %{y:.3g} ms<extra></extra>",
        )
        figure.update_xaxes(type="log", title="Measured (ms)", dtick=1)
        figure.update_yaxes(type="log", title="Predicted (ms)", dtick=1)
        st.plotly_chart(
            figure,
            theme=None,
            config=charts.CONFIG,
            key="held-out",
            alt=(
                f"Predicted against measured latency of {len(points)} rows, {what}. The median error is "
                f"{100 * group['validation']['leave_one_family_out']['median_error']:.1f} %."
            ),
        )
    else:
        st.caption("The source of these rows states no licence, so the single points are not shown.")
    st.dataframe(
        inventory.error_table(chosen),
        hide_index=True,
        width="stretch",
        column_config={
            "what": "Runtime, precision, threads",
            "rows": st.column_config.NumberColumn("Rows", format="localized"),
            "networks": st.column_config.NumberColumn("Networks", format="localized"),
            **{
                name: st.column_config.NumberColumn(format="%.1f")
                for name in (
                    "median error %",
                    "within 10 %",
                    "within 25 %",
                    "coverage %",
                    "MACs alone %",
                    "parameters alone %",
                )
            },
            "rank correlation": st.column_config.NumberColumn(format="%.3f"),
            "width": st.column_config.NumberColumn("Width (high / low)", format="%.2f"),
        },
    )
    with st.expander("Which networks were measured"):
        st.write(
            w.plain(", ".join(group["networks"]))
            or f"{w.number(group['validation']['networks'])} networks of NAS-Bench-201."
        )

st.header("What if")
with st.container(horizontal=True, vertical_alignment="bottom"):
    macs = st.number_input("Million MACs", min_value=0.01, max_value=1e6, value=300.0, width=170)
    parameters = st.number_input("Million parameters", min_value=0.001, max_value=1e4, value=3.5, width=170)
    runtime = st.selectbox("Runtime", list(device.runtimes), width=170)
    precision = st.selectbox("Precision", list(device.runtimes[runtime].precisions), width=170)
guess = estimate(
    by_hand(int(macs * 1e6), int(parameters * 1e6), precision), chosen, runtime, precision=precision
)
with st.container(horizontal=True):
    st.metric(
        "Latency",
        w.ms(guess.latency_ms),
        border=True,
        help=f"90 % interval: {w.interval(guess.low_ms, guess.high_ms)}",
    )
    st.metric("Images per second", w.figure(guess.throughput_per_s), border=True)
    st.metric("Memory", w.with_unit(guess.memory_mb, "MB"), border=True)
    st.metric(
        "Energy",
        w.with_unit(guess.energy_mj, "mJ"),
        border=True,
        help="For one image; blank where no power figure is known.",
    )
st.caption(w.plain(f"{w.estimate(guess)}, {w.confidence(guess)}. {guess.why}"))
