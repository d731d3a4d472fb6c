"""Deploy: build one variant's package, see what is in it, take it to the device."""

import streamlit as st

from deploy import package
from engine.errors import EdgewiseError
from engine.runtimes import saturates_here
from pages.parts import own_device, packages, person, session
from pages.parts import wording as w

home = session.workspace()
st.title("Take it to the device")
run = session.open_run(home)
st.caption(w.subject(run.experiment))

done = [v for v in run.variants if v.status == "done" and v.artifacts]
if not done:
    session.stop_with_link(
        "No variant is finished yet, so there is nothing to pack.", "pages/run.py", "Watch the run"
    )

best = run.recommendation and (run.recommendation.winner or run.recommendation.nearest)
ids = [v.id for v in done]
left, right = st.columns(2, gap="medium")
picked = left.selectbox(
    "Variant",
    ids,
    index=ids.index(best) if best in ids else 0,
    key="package",
    bind="query-params",
    format_func=lambda name: f"{name} (recommended)" if name == best else name,
)
variant = done[ids.index(picked)]
device = right.selectbox(
    "Device",
    packages.devices(run.experiment.device, variant),
    key=f"package_device-{run.id}",
    format_func=lambda id: f"{w.device(id)} (of this run)" if id == run.experiment.device else w.device(id),
    help="The same file for another device: what opens it there, and what it costs there, differ.",
)
st.markdown(
    " · ".join(
        [
            w.size(variant.size_bytes),
            f"{w.percent(variant.accuracy, 0, 0)} accuracy",
            f"{w.device(device)}: {w.estimate(variant.estimates.get(device))}",
        ]
    )
)
if variant.admissible == "no" and device == run.experiment.device:
    st.warning(f"This variant {w.misses(variant)}.", icon=":material/warning:")

reach, is_reached = person.choose(variant)
built = packages.built(run.id, picked, device, reach)
if built is None:
    st.write(
        "The package holds the model, the code that runs it on the device, and up to 36 pictures of the data"
        " set, by which the device shows that it answers as this host did. It is unpacked in a clean folder"
        " and run there before you get it."
    )
    if st.button("Build the package", type="primary", icon=":material/package_2:", disabled=not is_reached):
        with st.status("Packing, then running the package in a clean folder…", expanded=False) as status:
            try:
                path = package.build(run.id, picked, home, reach, device)
                packages.remember(run.id, picked, device, reach, path)
            except (EdgewiseError, OSError) as error:
                status.update(label="The package was not built", state="error")
                session.show_error(error)
                st.stop()
            status.update(label="The package runs", state="complete")
        st.rerun()
    own_device.offer(run, home)
    packages.of_each_device()
    st.stop()

st.success(
    "The package was unpacked in a clean folder and ran there; this processor can't give the answers of its"
    " full 8-bit range, so `verify.py` shows them on the device."
    if saturates_here(variant)
    else "The package was unpacked in a clean folder and gave the answers there that were measured.",
    icon=":material/check_circle:",
)
if core := package.emulated_on(built):
    st.caption(f"Verified on an emulated {core} too; how long that took says nothing about the device.")
st.download_button(
    f"Download the package, {w.size(built.stat().st_size)}",
    built.read_bytes(),
    packages.file_name(device, picked),
    "application/zip",
    type="primary",
    icon=":material/download:",
    on_click="ignore",
)
tree, commands = st.columns(2, gap="medium")
with tree:
    st.header("What is in it")
    st.code(packages.tree(built), language=None)
with commands:
    st.header(f"On the {w.device(device)}")
    st.code(packages.commands(built, packages.file_name(device, picked)), language="bash")
    st.caption("The README in the package says more.")
own_device.offer(run, home)
packages.of_each_device()
