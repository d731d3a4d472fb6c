"""The dashboard's door: page configuration and navigation, nothing else. `streamlit run app.py` runs it
without routes.
"""

from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"

# a file of ours: the browser would fetch a named icon from another host
st.set_page_config(page_title="Edgewise", page_icon=str(PAGES / "parts" / "icon.svg"), layout="wide")
st.html(PAGES / "parts" / "style.css")

# One list: with sections, Streamlit's list holds more than its items, and a screen reader no longer counts
# them. The numbers say which pages are steps.
st.navigation(
    [
        st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
        st.Page("pages/upload.py", title="1 Upload", icon=":material/upload_file:", url_path="upload"),
        st.Page("pages/configure.py", title="2 Configure", icon=":material/tune:", url_path="configure"),
        st.Page("pages/run.py", title="3 Run", icon=":material/play_circle:", url_path="run"),
        st.Page("pages/compare.py", title="4 Compare", icon=":material/scatter_plot:", url_path="compare"),
        st.Page("pages/deploy.py", title="5 Deploy", icon=":material/package_2:", url_path="deploy"),
        st.Page(
            "pages/experiments.py", title="Experiments", icon=":material/history:", url_path="experiments"
        ),
        st.Page("pages/devices.py", title="Devices", icon=":material/developer_board:", url_path="devices"),
    ],
    expanded=True,
).run()
