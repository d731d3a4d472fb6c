"""The wall: whatever happens in a child becomes one sentence here, and nothing of it stays."""

import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from engine import messages
from engine.errors import BadInput
from engine.wall import processes, sandbox, system_calls
from engine.wall.sandbox import Failed, Limits, Watch
from engine.wall.template import Template

MODULE = "tests.wall.misbehaving"


SHORT = Limits(seconds=30)
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module")
def template():
    with Template(("engine.run.tasks",)) as made:
        yield made


@pytest.fixture(params=["fresh", pytest.param("forked", marks=pytest.mark.skipif(not LINUX, reason="Linux"))])
def act(request):
    """Returns the function that lets a child do something, once in a fresh process and once forked."""
    template = request.getfixturevalue("template") if request.param == "forked" else None

    def act(name: str, limits: Limits = SHORT, watch: Watch | None = None, module=MODULE, **words) -> dict:
        return sandbox.run(module, {"act": name, **words}, limits, watch, template=template)

    yield act
    assert template is None or not template.why_not, template.why_not  # it was forked indeed


def is_gone(pid: int, within_s: float = 2.0) -> bool:
    """Tells whether a process ends in time; a zombie that its own parent must reap counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_child_that_behaves_answers_and_is_heard(act):
    heard = []
    assert act("talk", watch=Watch(on_message=heard.append), words=["a", 1]) == {"echo": ["a", 1]}
    assert [m["fraction"] for m in heard] == [0, 1 / 3, 2 / 3]


@pytest.mark.parametrize(
    ("name", "words"), [("crash", "SIGSEGV"), ("kill", "SIGKILL"), ("leave", "code 3 and no result")]
)
def test_a_death_becomes_a_sentence(act, name, words):
    with pytest.raises(Failed, match=words):
        act(name)


@pytest.mark.parametrize("name", ["eat", "eat_in_a_grandchild"])
def test_too_much_memory_is_stopped(act, name):
    peak = []
    with pytest.raises(Failed, match="more than the 300 MB of memory"):
        act(name, Limits(memory_bytes=300_000_000, seconds=60), Watch(on_memory=peak.append))
    assert max(peak) < 1_500_000_000


def test_pages_of_a_large_data_set_are_no_memory_that_a_child_holds(act, tmp_path):
    (tmp_path / "data").write_bytes(b"1" * 400_000_000)
    peak = []
    result = act(
        "read_a_large_file",
        Limits(memory_bytes=300_000_000, seconds=60),
        Watch(on_memory=peak.append),
        path=str(tmp_path / "data"),
    )
    assert result["total"] > 0
    assert max(peak) > 400_000_000  # they are in memory, and told


def test_an_endless_loop_ends_on_time(act):
    began, pids = time.monotonic(), []
    with pytest.raises(Failed, match="longer than the 2 s"):
        act("loop", Limits(seconds=2), Watch(on_start=pids.append))
    assert time.monotonic() - began < 4
    assert is_gone(pids[0], 0.1)


def test_nothing_that_a_child_started_outlives_it(act):
    answer = act("sleep_with_a_grandchild")
    assert is_gone(answer["pid"]) and is_gone(answer["own"])


PARENT = """
from engine.wall import sandbox
from engine.wall.template import Template
template = Template(("engine.run.tasks",)) if FORKED else None
tell = sandbox.Watch(on_start=lambda pid: print(pid, flush=True),
                     on_message=lambda m: print("up", flush=True))
sandbox.run("tests.wall.misbehaving", {"act": "loop"}, watch=tell, template=template)
"""


@pytest.mark.parametrize(
    "forked", [False, pytest.param(True, marks=pytest.mark.skipif(not LINUX, reason="Linux"))]
)
def test_a_child_dies_with_its_parent(forked):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.replace("FORKED", str(forked))],
        cwd=processes.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid = int(parent.stdout.readline())
    others = [p.pid for p in psutil.Process(parent.pid).children(recursive=True)]
    assert pid in others and len(others) == 1 + forked
    assert parent.stdout.readline().strip() == "up"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert all(map(is_gone, others))


def test_there_is_no_network_behind_the_wall(act):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Failed, match="Error"):
            act("connect", port=port)
        # the same call succeeds where the network is allowed, so it was the wall that stopped it
        assert act("connect", Limits(network=True, seconds=30), port=port) == {}


FILTERED = sys.platform == "linux" and platform.machine() in system_calls.MACHINES


@pytest.mark.skipif(not FILTERED, reason="the filter on system calls is for Linux on x86-64 and ARM64")
def test_no_program_is_started_where_none_may_be(act):
    assert act("start_a_program", Limits(programs=True, seconds=30)) == {"said": "hello\n"}
    with pytest.raises(Failed, match="PermissionError"):
        act("start_a_program", Limits(programs=False, seconds=30))


@pytest.mark.skipif(not FILTERED, reason="the filter on system calls is for Linux on x86-64 and ARM64")
def test_no_socket_leads_out_even_where_the_kernel_forbids_to_leave_the_network(act):
    found = act("open_sockets", Limits(seconds=30))
    assert found.pop("AF_UNIX") == "opened" and set(found.values()) == {"PermissionError"}


def test_the_environment_is_clean(act, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("EDGEWISE_HOME", "/somewhere")
    seen = act("look", Limits(threads=1))
    assert "hunter2" not in json.dumps(seen)
    assert seen["environment"]["EDGEWISE_HOME"] == "/somewhere"
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["home"] == [] and not os.path.exists(seen["environment"]["HOME"])
    assert "EDGEWISE_CHILD" not in seen["environment"]


def test_a_large_file_is_refused(act):
    assert act("write", Limits(file_bytes=2_000_000, seconds=30), bytes=1_000_000) == {}
    with pytest.raises(Failed, match="File too large"):
        act("write", Limits(file_bytes=2_000_000, seconds=30), bytes=3_000_000)


def test_wrong_input_stays_wrong_input(act):
    with pytest.raises(BadInput, match="^The file is a picture of a cat: give a model.$"):
        act("refuse")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("fail", "the layer 'conv9' has no weights"), ("stumble", "KeyError: 'conv1\\nand a second line'")],
)
def test_a_reason_is_one_line(act, name, sentence):
    with pytest.raises(Failed) as caught:
        act(name)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "bytes_",
    [
        "not JSON\n",
        "[1, 2]\n",
        "7\n",
        '{"error": 1}\n',
        '{"error": {"kind": 3}}\n',
        '{"result": 5}\n',
        "\xff\n",
        "[" * 60_000 + "\n",
    ],
)
def test_what_is_no_message_fails_the_child_alone(act, bytes_):
    with pytest.raises(Failed, match="something that is no message"):
        act("babble", bytes=bytes_)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "memory"},
        {"kind": "memory", "bytes": 7},
        {"kind": "state", "state": "done"},
        {"kind": "variant", "variant": "baseline", "status": "done"},
        {"kind": "process", "pid": 1, "started": 0.0, "what": "worker"},
        {"kind": "log"},
        {"kind": "log", "text": ["a"]},
        {"kind": "log", "text": "a", "technique": "baseline"},
        {"kind": "log", "text": "a", "time": 0},
        {"kind": "progress", "fraction": "much"},
        {"kind": "progress", "fraction": 1e9},
        {"kind": "progress", "fraction": float("nan")},
        {"kind": "variant_progress", "variant": "a" * 1000, "fraction": 0.5},
        {"kind": "training", "fraction": 0.5},
        {"text": "a"},
    ],
)
def test_a_child_may_only_tell_how_far_it_is(act, message):
    heard = []
    with pytest.raises(Failed, match="something that is no message"):
        act("say", message=message, watch=Watch(on_message=heard.append))
    assert heard == []


def test_a_long_text_is_cut_by_whoever_sends_it(act):
    heard = []
    act("say", message={"kind": "log", "text": "x" * 100_000}, watch=Watch(on_message=heard.append))
    assert len(heard[0]["text"]) == messages.MOST_LETTERS


def test_a_training_may_tell_its_accuracy(act):
    heard, told = [], {"kind": "training", "fraction": 1, "remaining_s": None, "accuracy": 0.5, "text": "a"}
    act("say", message=told, watch=Watch(on_message=heard.append, allowed=messages.STARTER))
    assert heard == [told]


def test_a_child_that_never_reads_its_request_ends_on_time(act):
    began = time.monotonic()
    with pytest.raises(Failed, match="longer than the 2 s"):
        act("", Limits(seconds=2), module="tests.wall.deaf", words="x" * 1_000_000)
    assert time.monotonic() - began < 5


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


def test_nothing_stays_open_where_a_child_could_not_be_started(act, tmp_path, monkeypatch):
    act("talk", words=[])
    before = open_files()
    with pytest.raises(FileNotFoundError):
        sandbox.run(MODULE, {}, log=tmp_path / "no" / "folder" / "log")
    monkeypatch.setattr(sandbox.sys, "executable", "/no/python")
    with pytest.raises(FileNotFoundError):
        sandbox.run(MODULE, {})
    assert open_files() == before


def test_a_process_with_many_open_files_can_still_listen(act):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert act("talk", words=["a"]) == {"echo": ["a"]}
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_line_without_end_is_cut(act):
    own = psutil.Process().memory_info().rss
    with pytest.raises(Failed, match="message without end"):
        act("flood", Limits(seconds=20))
    assert psutil.Process().memory_info().rss - own < 500_000_000


def test_memory_counts_the_whole_group():
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import subprocess, sys; subprocess.run([sys.executable, '-c', "
                "'x = bytearray(b\"1\" * 200_000_000); print(1, flush=True); input()'])"
            ),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    try:
        assert processes.resident_bytes(child.pid) > 200_000_000
    finally:
        child.communicate(b"\n")
    assert processes.resident_bytes(child.pid) == 0
