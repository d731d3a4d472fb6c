"""Who looks at a page, and what that visitor may do; `engine.visitors` has the rules."""

import secrets
from contextlib import suppress
from pathlib import Path

import streamlit as st
from streamlit.runtime.secrets import secrets_singleton
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string

from engine import visitors
from engine.host import is_public
from engine.store import uploads
from engine.store.workspace import Workspace
from pages.parts import wording as w


def who() -> str:
    """Returns the visitor's word: by login, else by the browser's cookie, else for as long as the page is
    open.
    """
    if not is_public():
        return visitors.OWNER
    if found := signed_in():
        return visitors.known("login", found)
    with suppress(Exception):  # a cookie holds what its sender likes
        token, _ = decode_xsrf_token_string(st.context.cookies["_streamlit_xsrf"])
        if token:
            return visitors.known("cookie", token.hex())
    return visitors.known("cookie", st.session_state.setdefault("visitor", secrets.token_hex()))


def may_change(run: str, home: Workspace) -> bool:
    """Tells whether this visitor may stop, go on with or delete a run."""
    return visitors.may_change(who(), run, home)


def keep(data: bytes, name: uploads.Name, home: Workspace) -> Path:
    """Keeps an uploaded file and returns where; raises BadInput where it is too large, or too much of one
    visitor.
    """
    visitor = who()
    visitors.may_send(visitor, len(data), home.home)
    path = uploads.keep(data, home.home, name)
    uploads.note_sender(path.parent.name, visitor, home.home)
    return path


# ---- login -------------------------------------------------------------------------------------------------


def has_login() -> bool:
    """Tells whether people can sign in here: Streamlit's secrets name a provider (OIDC)."""
    return is_public() and secrets_singleton.load_if_toml_exists() and "auth" in st.secrets


def signed_in() -> str:
    """Returns the e-mail address, else the provider's name, of who has signed in; "" for nobody."""
    if not has_login() or not st.user.is_logged_in:
        return ""
    return str(st.user.get("email") or f"{st.user.get('iss')} {st.user.get('sub')}")


def show_login() -> None:
    """Offers to sign in or out, where that is possible."""
    if not has_login():
        return
    if name := signed_in():
        st.caption(f"Signed in as {w.plain(name)}.")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
    else:
        st.button("Sign in", icon=":material/login:", on_click=st.login)
