"""The dashboard's door: page configuration and navigation, nothing else. `streamlit run app.py` runs it without routes."""

from pathlib import Path

import streamlit as st

st.set_page_config(page_title="Edgewise", page_icon=":material/tune:", layout="wide")
st.html(Path(__file__).parent / "pages" / "parts" / "style.css")

library = [st.Page("pages/experiments.py", title="Experiments", icon=":material/history:")]
if (Path(__file__).parent / "pages" / "devices.py").exists():
    library.append(st.Page("pages/devices.py", title="Devices", icon=":material/developer_board:"))

st.navigation({
    "": [st.Page("pages/home.py", title="Home", icon=":material/home:", default=True)],
    "Fit a model": [
        st.Page("pages/upload.py", title="1 Upload", icon=":material/upload_file:", url_path="upload"),
        st.Page("pages/configure.py", title="2 Configure", icon=":material/tune:", url_path="configure"),
        st.Page("pages/run.py", title="3 Run", icon=":material/play_circle:", url_path="run"),
        st.Page("pages/compare.py", title="4 Compare", icon=":material/scatter_plot:", url_path="compare"),
        st.Page("pages/deploy.py", title="5 Deploy", icon=":material/package_2:", url_path="deploy"),
    ],
    "Library": library,
}, expanded=True).run()
