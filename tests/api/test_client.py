"""The client, and the command line with --server, against a server that answers on a socket."""

import json
import os
import socket
import sys

import pytest

from engine import client
from engine.cli import main
from engine.client import Client
from engine.errors import BadInput, EdgewiseError
from engine.events import StateChanged
from engine.run import jobs

ASKED = {"model": "digits/pytorch/small", "dataset": "digits", "device": "raspberry_pi_4"}


@pytest.fixture
def command(live, capsys, monkeypatch):
    """Runs the command line against the server, without a workspace of its own."""
    for module in ("cli", "face"):
        monkeypatch.setattr(f"engine.{module}.Workspace", lambda *given: pytest.fail("it looked here"))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engine", *words, "--server", live])
        code = main()
        return code, *capsys.readouterr()

    return run


def test_an_upload_goes_on_where_it_broke_off(live, home, tmp_path, monkeypatch):
    monkeypatch.setattr(client, "PART", 500)
    file = tmp_path / "data.zip"
    file.write_bytes(os.urandom(1300))
    asking, sent = Client(live), []
    monkeypatch.setattr(asking, "_json", broken_after(3, asking._json, sent))
    with pytest.raises(ConnectionError):
        asking.upload(file, "dataset")
    (part,) = Client(live).uploads()
    assert (part["received_bytes"], part["complete"]) == (1000, False)
    sha256 = Client(live).upload(file, "dataset")
    assert (home.home / "uploads" / sha256 / "data.zip").read_bytes() == file.read_bytes()


def broken_after(count, ask, sent):
    def asked(*words, **query):
        if len(sent) == count:
            raise ConnectionError
        sent.append(words)
        return ask(*words, **query)

    return asked


def test_events_are_taken_up_again_after_the_last_one_that_came(live, home, monkeypatch):
    monkeypatch.setattr(jobs, "tick", lambda home: None)
    asking = Client(live)
    run = asking.start(**ASKED, techniques=["ptq_int8"]).id
    told = asking.events(run)
    assert next(told).state == "queued"
    home.append(run, StateChanged(state="cancelled"))
    assert [event.state for event in told] == ["cancelled"]
    assert asking.stop(run).state == "cancelled"
    with pytest.raises(EdgewiseError, match="recommends nothing, because it is cancelled"):
        asking.recommendation(run)


def test_a_refusal_is_the_server_s_sentence_and_silence_is_one(live, home, monkeypatch):
    with pytest.raises(BadInput, match="nothing at this address"):
        Client(live).run("none/such")
    with pytest.raises(BadInput, match="No device is called 'toaster'"):
        Client(live).start(**ASKED | {"device": "toaster"})
    monkeypatch.setenv("EDGEWISE_API_KEY", "schlüssel")
    with pytest.raises(BadInput, match="asks for its key"):
        Client(live).runs()
    assert Client(f"{live}/api/v1/", "schlüssel").runs() == []
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        with pytest.raises(client.Silent, match="does not answer .*refused"):
            Client(f"http://127.0.0.1:{unheard.getsockname()[1]}").runs()
    with pytest.raises(BadInput, match="no server's address"):
        Client("file:///etc")


def test_the_command_line_shows_lists_and_reports_what_a_server_has(command, done, tmp_path):
    code, out, _ = command("runs", "--json")
    assert code == 0 and json.loads(out)[0]["id"] == done
    code, out, _ = command("show", done)
    assert code == 0 and "Recommended: hybrid" in out
    code, out, err = command("report", done, "--output", str(tmp_path / "new" / "report.md"))
    assert code == 0 and "digits/pytorch/small" in (tmp_path / "new" / "report.md").read_text()
    for words, says in (
        (["report", done, "--output", "report.pdf"], ".html or .md"),
        (["package", done, "hybrid", "fp16", "--output", "p.zip"], "one package at a time"),
        (["package", done, "fp17", "--output", "p.zip"], "has no variant 'fp17'"),
        (["optimize", "nothing.onnx", "--device", "raspberry_pi_4"], "No model is called"),
    ):
        code, _, err = command(*words)
        assert code == 1 and says in err and len(err.strip().splitlines()) == 1
