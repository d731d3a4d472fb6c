"""The house's door: the dashboard and the HTTP routes in one process. `streamlit run server.py` starts it."""

from contextlib import suppress

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from engine import visitors, watch
from engine.errors import EdgewiseError
from engine.http import ROUTES
from engine.run import jobs
from engine.store.workspace import Workspace

# Until `st.navigation` has run once, Streamlit takes a folder named pages/ for its older kind of app, and a
# link that
# is the first to reach a fresh server would open a bare page.
PagesManager.uses_pages_directory = False

app = st.App("app.py", routes=ROUTES)

watch.set_up()

# what a restart interrupted goes on without anybody looking; pages say why a home can't be written
with suppress(EdgewiseError):
    visitors.tidy(Workspace())
    jobs.tick(Workspace())
