"""Experiments on disk: whole or not at all, found again from their folders alone, read by nobody
half-written.
"""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine import events
from engine.errors import BadInput, EdgewiseError
from engine.run import jobs
from engine.store import deleted
from engine.store.files import read_json, write_json
from engine.store.workspace import Workspace
from engine.vocabulary import Recommendation, Variant

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run_id(workspace, asked) -> str:
    """A queued run."""
    return workspace.create(asked())


def variant(name: str, **changes) -> Variant:
    return Variant(**({"id": name, "technique": name.split("@")[0], "status": "done"} | changes))


def sentence(error: Exception) -> str:
    """Returns an error's text after checking that it is one line."""
    assert "\n" not in str(error) and str(error).endswith(".")
    return str(error)


def test_a_run_reads_back_as_it_was_asked(workspace, run_id, asked):
    run = workspace.run(run_id)
    assert run.experiment == asked()
    assert (run.state, run.variants, run.recommendation) == ("queued", [], None)
    assert [row["id"] for row in workspace.runs()] == [run_id]


def test_ids_cannot_be_guessed_nor_mistaken(workspace, asked):
    ids = {workspace.create(asked()) for _ in range(40)}
    assert len(ids) == 40 and all(len(i) >= 22 and i[0] not in "-_" for i in ids)


@pytest.mark.parametrize("wrong", ["nothing", "", ".", "..", "../runs", "a/b", ".draft-x", "\0", "x" * 5000])
def test_an_unknown_id_is_one_sentence(workspace, run_id, wrong):
    for ask in (workspace.run, workspace.experiment, workspace.folder, workspace.delete):
        with pytest.raises(BadInput, match="No run has the id"):
            ask(wrong)


def test_state_and_seconds_come_from_events(workspace, run_id):
    for state in ("running", "cancelled"):
        workspace.append(run_id, events.StateChanged(state=state, reason="You cancelled it."))
    workspace.append(run_id, events.MemoryPeak(bytes=7))
    run = workspace.run(run_id)
    assert (run.state, run.reason, run.peak_memory_bytes) == ("cancelled", "You cancelled it.", 7)
    assert workspace.runs()[0]["state"] == "cancelled"


def test_seconds_count_only_what_the_run_was_at_work(workspace, run_id):
    """30 s of work, a day in the queue, a worker killed after 10 s and an hour later a new one."""
    day = 86_400
    told = [(0, "running"), (30, "cancelled"), (day, "queued"), (day + 5, "running")]
    told += [(day + 15, None), (day + 3615, "running"), (day + 3635, "done")]
    for when, state in told:
        event = events.StateChanged(state=state) if state else events.MemoryPeak(bytes=7)
        workspace.append(run_id, event.model_copy(update={"time": float(when)}))
    assert workspace.run(run_id).seconds == 30 + 10 + 20


def test_a_line_that_was_cut_off_is_left_out_and_harms_no_later_one(workspace, run_id):
    path = workspace.folder(run_id) / "events.jsonl"
    with open(path, "a") as file:
        file.write('{"time": 1.0, "kind": "sta')
    assert workspace.state(run_id) == "queued"
    workspace.append(run_id, events.StateChanged(state="running"))
    assert workspace.state(run_id) == "running"
    with open(path, "ab") as file:
        file.write('{"time": 2.0, "text": "ü'.encode()[:-1])  # cut in the middle of a letter
    assert workspace.state(run_id) == "running"


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_a_run_without_events_has_failed(workspace, run_id, harm):
    harm(workspace.folder(run_id) / "events.jsonl")
    run = workspace.run(run_id)
    assert run.state == "failed" and "events are lost" in run.reason
    workspace.rebuild_index()
    assert workspace.runs()[0]["state"] == "failed"


def test_a_variant_that_was_read_is_read_anew_when_it_was_written_anew(workspace, run_id):
    workspace.write_variant(run_id, variant("fp16", notes=["first"]))
    assert [v.notes for v in workspace.variants(run_id)] == [["first"]]
    Workspace(workspace.home).write_variant(run_id, variant("fp16", notes=["again"]))
    assert [v.notes for v in workspace.variants(run_id)] == [["again"]]


def test_a_variant_of_another_version_is_read_without_what_is_unknown_or_left_out(workspace, run_id):
    folder = workspace.folder(run_id) / "variants"
    newer = variant("fp16").model_dump(mode="json") | {"colour": "blue"}
    write_json(folder / "fp16.json", newer)
    write_json(folder / "ptq_int8.json", {"name": "of a schema that nobody knows"})
    for found in (workspace.variants(run_id), workspace.run(run_id).variants):
        assert [(v.id, v.technique, v.status) for v in found] == [
            ("fp16", "fp16", "done"),
            ("ptq_int8", "ptq_int8", "failed"),
        ]
        assert "written by another version" in found[1].reason and "\n" not in found[1].reason


def test_a_line_of_another_version_is_left_out_and_counted(workspace, run_id):
    workspace.append(run_id, events.StateChanged(state="running"))
    with open(workspace.folder(run_id) / "events.jsonl", "a") as file:
        file.write(
            '{"kind": "teleport", "time": 3.0}\n{"kind": "memory"}\n{"kind": "state", "state": "lost"}\n7\n'
        )
        file.write('{"time": 4.0, "kind": "log", "text": "hello", "shade": "blue"}\n')
    assert [e.kind for e in workspace.events(run_id)] == ["state", "state", "log"]
    assert workspace.log(run_id).unread == 4
    assert workspace.run(run_id).state == "running"


def test_a_log_is_read_on_from_where_it_was(workspace, run_id):
    log = workspace.log(run_id)
    assert len(log.read()) == 1
    other = Workspace(workspace.home)
    for number in range(3):
        other.append(run_id, events.Logged(text=str(number)))
        assert [e.text for e in log.read()[1:]] == [str(n) for n in range(number + 1)]
    with open(log.path, "a") as file:
        file.write('{"kind": "log", "te')
        file.flush()
        assert len(log.read()) == 4
        file.write('xt": "late"}\n')
    assert log.read()[-1].text == "late"
    log.path.write_text(events.written(events.StateChanged(state="done")))  # made anew, and shorter
    assert [e.state for e in log.read()] == ["done"]


def test_many_writers_lose_no_event(workspace, run_id):
    def write(writer: int) -> None:
        for i in range(50):
            workspace.append(run_id, events.Logged(technique=str(writer), text="x" * 3000 + str(i)))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert sum(isinstance(e, events.Logged) for e in workspace.events(run_id)) == 200


def test_variants_come_baseline_first_and_then_as_they_were_finished(workspace, run_id):
    for name in ("fp16", "baseline", "ptq_int8"):
        workspace.write_variant(run_id, variant(name))
        workspace.append(run_id, events.VariantWritten(variant=name, status="done"))
    workspace.write_variant(run_id, variant("fp16", notes=["timed again"]))
    workspace.append(run_id, events.VariantWritten(variant="fp16", status="done"))
    found = workspace.variants(run_id)
    assert [v.id for v in found] == ["baseline", "fp16", "ptq_int8"]
    assert found[1].notes == ["timed again"]


def test_the_index_is_made_anew_from_the_folders(workspace, run_id, asked):
    workspace.create(asked(goal="size"))
    workspace.append(run_id, events.StateChanged(state="failed"))
    workspace.write_result(
        run_id, recommendation=Recommendation(winner="fp16", ranking=["fp16"], reasons=[]).model_dump()
    )
    workspace.append(run_id, events.StateChanged(state="done"))
    before = workspace.runs()
    assert before[-1]["winner"] == "fp16"
    (workspace.home / "runs" / "stray").mkdir()
    workspace.rebuild_index()
    assert workspace.runs() == before


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_a_lost_index_comes_back_by_itself(workspace, run_id, harm):
    before, index = workspace.runs(), workspace.home / "index.sqlite"
    index.unlink() if harm == "deleted" else index.write_bytes(b"no database at all" * 500)
    assert Workspace().runs() == before


def test_a_run_whose_files_are_gone_is_not_listed(workspace, run_id, asked):
    other = workspace.create(asked())
    workspace.delete(run_id)
    assert [row["id"] for row in workspace.runs()] == [other]
    with pytest.raises(BadInput, match="No run has the id"):
        workspace.run(run_id)


def test_a_deleted_run_can_be_taken_back_for_a_day(workspace, run_id, asked):
    workspace.label(run_id, "  Night\nshift ", ["a", "b", "a", " "])
    before = workspace.runs()
    workspace.delete(run_id)
    assert workspace.runs() == [] and deleted.listed(workspace.home) == [run_id]
    assert deleted.experiment_of(run_id, workspace.home) == "Night shift"
    workspace.undelete(run_id)
    assert workspace.runs() == before and before[0]["tags"] == "a, b"
    workspace.delete(run_id)
    old = time.time() - deleted.KEPT_S - 1
    os.utime(workspace.home / "deleted" / run_id, (old, old))
    with pytest.raises(BadInput, match="more than a day ago"):
        workspace.undelete(run_id)
    workspace.delete(workspace.create(asked()))  # the next one makes room
    assert not (workspace.home / "deleted" / run_id).exists()


@pytest.mark.parametrize("wrong", ["../runs", "", ".", "nothing"])
def test_only_a_deleted_run_is_taken_back(workspace, run_id, wrong):
    with pytest.raises(BadInput, match="can't be taken back"):
        workspace.undelete(wrong)


def test_deleting_for_good_frees_the_space(workspace, run_id):
    workspace.delete(run_id)
    assert deleted.empty(workspace.home) > 0 and deleted.listed(workspace.home) == []


@pytest.mark.parametrize("tags", [["x" * 25], ["a,b"], list("abcdefghi")])
def test_a_label_that_is_too_long_is_one_sentence(workspace, run_id, tags):
    with pytest.raises(BadInput, match="tags"):
        workspace.label(run_id, "", tags)


def test_an_index_of_an_earlier_version_is_made_anew(workspace, run_id):
    before = workspace.runs()
    with sqlite3.connect(workspace.home / "index.sqlite") as old:
        old.execute("alter table runs drop column tags")
    assert Workspace().runs() == before


def test_a_run_at_work_is_not_deleted(workspace, run_id):
    with workspace.lease(run_id) as held:
        assert held
        with workspace.lease(run_id) as second:
            assert not second
        with pytest.raises(BadInput, match="still at work"):
            workspace.delete(run_id)
    workspace.delete(run_id)


@pytest.mark.parametrize("version", [2, None, "one", 1.5])
def test_a_later_schema_is_one_sentence(workspace, run_id, version):
    path = workspace.folder(run_id) / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    for ask in (workspace.run, workspace.experiment):
        with pytest.raises(BadInput, match="written with schema") as caught:
            ask(run_id)
        assert "run it again" in sentence(caught.value)
    workspace.rebuild_index()  # and it keeps nobody from reading the others


def test_an_earlier_schema_opens_to_be_looked_at_only(workspace, run_id, asked):
    path = workspace.folder(run_id) / "experiment.json"
    older = {"schema_version": 0, "colour": "blue", "device": "toaster", "techniques": ["magic", "fp16"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | older))
    workspace.write_variant(run_id, variant("magic"))
    workspace.write_result(run_id, recommendation={"winner": 3}, sensitivity=[{"layer": "conv1"}])
    run = workspace.run(run_id)
    assert (run.experiment.device, run.experiment.techniques) == ("toaster", ["magic", "fp16"])
    assert [v.id for v in run.variants] == ["magic"] and (run.recommendation, run.sensitivity) == (None, [])
    workspace.append(run_id, events.StateChanged(state="failed"))
    with pytest.raises(BadInput, match="written with schema 0 and can only be looked at") as caught:
        jobs.resume(run_id, workspace)
    sentence(caught.value)
    assert workspace.state(run_id) == "failed"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}', "\x00\x01"])
def test_a_damaged_run_is_one_sentence(workspace, run_id, text):
    (workspace.folder(run_id) / "experiment.json").write_text(text)
    for ask in (workspace.run, workspace.experiment):
        with pytest.raises(BadInput) as caught:
            ask(run_id)
        sentence(caught.value)


def test_a_relative_home_is_the_same_for_processes_in_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWISE_HOME", "mine")
    made = Workspace()
    assert made.home == tmp_path / "mine"
    monkeypatch.chdir("/")
    assert made.home.is_dir() and Workspace(made.home).runs() == []


def test_threads_that_write_one_file_at_once_lose_nothing(tmp_path):
    path, failed = tmp_path / "v.json", []

    def write(writer: int) -> None:
        try:
            for _ in range(50):
                write_json(path, {"writer": writer, "fill": "x" * 50_000})
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert failed == [] and read_json(path)["writer"] in range(4) and os.listdir(tmp_path) == ["v.json"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, stop, seen = tmp_path / "v.json", threading.Event(), []
    write_json(path, {"n": 0, "fill": "x" * 200_000})

    def read() -> None:
        while not stop.is_set():
            seen.append(json.loads(path.read_text())["n"])

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 200):
        write_json(path, {"n": n, "fill": "x" * 200_000})
    stop.set(), reader.join()
    assert seen == sorted(seen)
    assert os.listdir(tmp_path) == ["v.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert read_json(path) == {"n": 1} and os.listdir(tmp_path) == ["v.json"]
    assert read_json(tmp_path / "none.json") is None


@pytest.mark.parametrize("home", ["/proc/edgewise", "a_file", "a_file/below"])
def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, home):
    (tmp_path / "a_file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="EDGEWISE_HOME") as caught:
        Workspace(home)
    sentence(caught.value)


FULL_DISK = """
import resource, sys
from engine import events
from engine.errors import EdgewiseError
from engine.vocabulary import Experiment, Variant
from engine.store.workspace import Workspace

workspace, run = Workspace(), sys.argv[1]
experiment = workspace.experiment(run)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))  # every file of more than 400 bytes meets a full disk
try:
    {act}
except EdgewiseError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "act",
    [
        "workspace.create(experiment)",
        (
            "workspace.write_variant(run, Variant(id='fp16', technique='fp16', status='done', notes=['x' *"
            " 5000]))"
        ),
        "workspace.append(run, events.Logged(text='x' * 5000))",
        "workspace.write_result(run, sensitivity=['x' * 5000])",
    ],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_half_done(workspace, run_id, act):
    workspace.write_variant(run_id, variant("fp16", notes=["the old one"]))
    before = sorted(str(p) for p in workspace.home.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(act=act), run_id],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        done.stdout.strip()
        == "The disk is full: free some space or set EDGEWISE_HOME to another disk; what was finished is"
        " kept."
    ), done.stderr
    assert sorted(str(p) for p in workspace.home.rglob("*")) == before
    assert [v.notes for v in workspace.variants(run_id)] == [["the old one"]]
    assert workspace.state(run_id) == "queued"
    workspace.append(run_id, events.StateChanged(state="running"))  # once there is space again, it goes on
    assert workspace.state(run_id) == "running"


def test_a_workspace_that_became_read_only_is_one_sentence_where_the_queue_is_looked_at(
    workspace, monkeypatch
):
    def refuse(*given, **named):
        raise OSError(errno.EROFS, "Read-only file system", "lease")

    monkeypatch.setattr("engine.store.workspace.FileLock.acquire", refuse)
    with pytest.raises(EdgewiseError, match="can't be written") as caught:
        jobs.tick(workspace)
    assert sentence(caught.value)


def test_a_clock_that_was_set_back_makes_no_negative_seconds():
    told = [events.StateChanged(state=state, time=time) for state, time in (("running", 90.0), ("done", 5.0))]
    assert events.seconds_at_work(told, 5.0) == 0
