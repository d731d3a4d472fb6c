"""A template forks where that is safe; where it is not, a fresh process does the same work."""

import os
import signal
import sys
import threading
import time

import psutil
import pytest

from engine.wall import sandbox
from engine.wall.sandbox import Failed, Limits, Watch
from engine.wall.template import Template

MODULE = "tests.wall.misbehaving"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


def talk(template: Template, **more) -> int:
    """Lets a child talk and returns its parent's pid."""
    parents = []
    watch = Watch(on_start=lambda pid: parents.append(psutil.Process(pid).ppid()), **more)
    assert sandbox.run(
        MODULE, {"act": "talk", "words": [1]}, Limits(seconds=60), watch, template=template
    ) == {"echo": [1]}
    return parents[0]


def test_children_come_from_one_process_that_has_imported_already():
    with Template(("engine.run.tasks", "sqlite3")) as template:
        first = talk(template)
        assert first == talk(template) != os.getpid()
        assert template.resident_bytes() > 1_000_000
    assert not psutil.pid_exists(first) and template.resident_bytes() == 0
    assert talk(template) == os.getpid()


@pytest.mark.parametrize(
    ("module", "why"),
    [("tests.wall.two_threads", "it has 2 threads"), ("tests.wall.broken", "its process does not answer")],
)
def test_where_a_fork_is_unsafe_a_fresh_process_does_it(module, why):
    with Template((module,)) as template:
        assert talk(template) == os.getpid()
        assert template.why_not == why


def test_what_can_not_be_imported_is_left_to_the_child():
    with Template(("no_such_module",)) as template:
        assert talk(template) != os.getpid()


def test_a_template_that_is_at_work_is_not_waited_for():
    with Template(("engine.run.tasks",)) as template:
        first, started = talk(template), threading.Event()
        looping = threading.Thread(target=lambda: loop(template, started))
        looping.start()
        started.wait(30)
        assert talk(template) == os.getpid()
        looping.join()
        assert talk(template) == first


def loop(template: Template, started: threading.Event) -> None:
    with pytest.raises(Failed, match="longer than the 2 s"):
        sandbox.run(
            MODULE,
            {"act": "loop"},
            Limits(seconds=2),
            Watch(on_message=lambda message: started.set()),
            template=template,
        )


def test_a_template_that_is_killed_takes_its_child_along_and_the_next_one_is_fresh():
    with Template(("engine.run.tasks",)) as template:
        own, pids = talk(template), []
        kill = Watch(on_start=pids.append, on_message=lambda message: os.kill(own, signal.SIGKILL))
        with pytest.raises(Failed, match="SIGKILL"):
            sandbox.run(MODULE, {"act": "loop"}, Limits(seconds=30), kill, template=template)
        deadline = time.monotonic() + 2
        while psutil.pid_exists(pids[0]) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not psutil.pid_exists(pids[0])
        assert talk(template) == os.getpid()


def test_a_child_has_the_threads_and_the_seed_of_a_fresh_one():
    with Template(("numpy",)) as template:
        found = [
            sandbox.run(MODULE, {"act": "numbers"}, Limits(threads=2), template=how)
            for how in (None, template, template)
        ]
    assert [seen["threads"] for seen in found] == [found[0]["threads"]] * 3
    assert len({seen["random"] for seen in found}) == 3
