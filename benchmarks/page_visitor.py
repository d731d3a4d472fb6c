"""A visitor of the dashboard without a browser: speaks to the server over a web socket, as Streamlit's own
page does, so that fifty of them fit beside the server on one small machine.
"""

import re
import time
import uuid
from urllib.request import Request, urlopen

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

PATIENCE_S = (
    200.0  # for one pass of a page: the server waits up to 60 s for its turn and opens a file in up to 90
)
IDS = re.compile(rb"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")  # what may be the id of a run


class Visitor:
    """One session. `heard`: all that may be the id of a run in what it was sent; `passes`: seconds of each
    pass of a page.
    """

    def __init__(self, address: str):
        self.address, self.heard, self.passes = address, set(), []
        with urlopen(f"{address}/_stcore/health", timeout=PATIENCE_S) as answer:
            cookie = answer.headers.get("Set-Cookie", "").partition(";")[0]
        self._token = cookie.partition("=")[2].strip('"')
        self._cookie = {"Cookie": cookie} if cookie else {}
        self._socket = connect(
            f"{address.replace('http', 'ws', 1)}/_stcore/stream",
            subprotocols=["streamlit", self._token or "none"],
            additional_headers=self._cookie,
            max_size=None,
            open_timeout=PATIENCE_S,
        )
        self._cached: dict[str, ForwardMsg] = {}
        self._pages: dict[str, str] = {}
        self._page, self._query, self._session = "", "", ""
        self._fragments: set[str] = set()
        self._elements: dict[tuple[int, ...], Element] = {}
        self._states: dict[str, WidgetState] = {}

    def close(self) -> None:
        """Leaves, as a closed tab does."""
        self._socket.close()

    # ---- what it does --------------------------------------------------------------------------------------

    def open(self, page: str, query: str = "") -> None:
        """Opens a page by its address ("" is home), as a link does."""
        if not self._pages:
            self._ask(page_name="")  # which pages there are comes with the first
        self._states.clear()
        self._elements.clear()
        self._page, self._query = self._pages[page], query
        self._ask()

    def look(self) -> None:
        """Has the part of the page drawn anew that moves by itself, as a page that is left open does."""
        for fragment in list(self._fragments)[:1]:
            self._ask(fragment_id=fragment, is_auto_rerun=True)

    def click(self, label: str) -> None:
        """Presses the button that is called so."""
        button = self._find("button", lambda b: b.label.startswith(label) and not b.disabled)
        self._act(WidgetState(id=button.id, trigger_value=True))

    def pick(self, label: str, option: str) -> None:
        """Chooses an option of a segmented control."""
        group = self._find("button_group", lambda g: g.label == label)
        state = WidgetState(id=group.id)
        state.string_array_value.data.append(option)
        self._states[group.id] = state
        self._ask()

    def check_only(self, word: str) -> None:
        """Leaves only that box checked whose label holds a word."""
        for element in self._elements.values():
            if element.WhichOneof("type") == "checkbox" and not element.checkbox.disabled:
                box = element.checkbox
                self._states[box.id] = WidgetState(id=box.id, bool_value=word in box.label)
        self._ask()

    def upload(self, label: str, name: str, data: bytes) -> None:
        """Gives a file to the field that is called so."""
        field = self._find("file_uploader", lambda f: f.label == label)
        asked = BackMsg()
        asked.file_urls_request.request_id = uuid.uuid4().hex
        asked.file_urls_request.file_names.append(name)
        asked.file_urls_request.session_id = self._session
        self._socket.send(asked.SerializeToString())
        urls = self._until(
            lambda m: m.WhichOneof("type") == "file_urls_response"
        ).file_urls_response.file_urls[0]
        boundary = uuid.uuid4().hex
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode() + data + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
        headers = self._cookie | {
            "X-Xsrftoken": self._token,
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        }
        put = Request(f"{self.address}{urls.upload_url}", body, headers, method="PUT")
        urlopen(put, timeout=PATIENCE_S).close()
        state = WidgetState(id=field.id)
        info = state.file_uploader_state_value.uploaded_file_info.add(name=name, size=len(data))
        info.file_id = urls.file_id
        info.file_urls.CopyFrom(urls)
        self._states[field.id] = state
        self._ask()

    # ---- what it sees --------------------------------------------------------------------------------------

    def texts(self, kind: str) -> list[str]:
        """Returns the texts of all elements of a kind: `alert`, `markdown`, `exception`, `badge`."""
        found = [getattr(e, kind) for e in self._elements.values() if e.WhichOneof("type") == kind]
        return [one.message if kind == "exception" else one.body for one in found]

    def sees(self, kind: str, label: str) -> bool:
        """Tells whether there is a button, or a field, that is called so."""
        found = (getattr(e, kind) for e in self._elements.values() if e.WhichOneof("type") == kind)
        return any(one.label.startswith(label) and not one.disabled for one in found)

    def run_in_url(self) -> str:
        """Returns the run that the address names, "" where there is none."""
        found = re.search(r"run=([\w-]+)", self._query)
        return found[1] if found else ""

    # ---- the line ------------------------------------------------------------------------------------------

    def _find(self, kind: str, wanted):
        for element in self._elements.values():
            if element.WhichOneof("type") == kind and wanted(getattr(element, kind)):
                return getattr(element, kind)
        raise LookupError(f"There is no such {kind} on this page: {self.texts('alert')}")

    def _act(self, trigger: WidgetState) -> None:
        self._states[trigger.id] = trigger
        try:
            self._ask()
        finally:
            self._states.pop(trigger.id, None)

    def _ask(self, **more) -> None:
        """Has the page run once, and takes in what comes until it has."""
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string, state.page_script_hash = self._query, self._page
        state.widget_states.widgets.extend(self._states.values())
        for name, value in more.items():
            setattr(state, name, value)
        if "fragment_id" not in more:
            self._fragments.clear()
        began = time.monotonic()
        self._socket.send(asked.SerializeToString())
        ends = ForwardMsg.ScriptFinishedStatus
        again = (ends.FINISHED_EARLY_FOR_RERUN,)
        self._until(lambda m: m.WhichOneof("type") == "script_finished" and m.script_finished not in again)
        self.passes.append(time.monotonic() - began)

    def _until(self, wanted) -> ForwardMsg:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(max(0.1, deadline - time.monotonic())))
            if message.WhichOneof("type") == "ref_hash":
                known = self._cached[message.ref_hash]
                fresh = ForwardMsg()
                fresh.CopyFrom(known)
                fresh.metadata.CopyFrom(message.metadata)
                message = fresh
            elif message.metadata.cacheable:
                self._cached[message.hash] = message
            self.heard |= {one.decode() for one in IDS.findall(message.SerializeToString())}
            self._take(message)
            if wanted(message):
                return message

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            if not message.metadata.run.fragment_ids:
                self._elements.clear()
            self._page = message.new_session.page_script_hash
            if message.new_session.initialize.session_id:
                self._session = message.new_session.initialize.session_id
        elif kind == "navigation":
            self._pages = {
                p.url_pathname if not p.is_default else "": p.page_script_hash
                for p in message.navigation.app_pages
            }
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self._fragments.add(message.auto_rerun.fragment_id)
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._elements[tuple(message.metadata.delta_path)] = message.delta.new_element
