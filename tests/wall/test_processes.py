"""Processes are told apart, started, ended and counted; what killed ones leave behind goes away."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from engine.wall import processes


def test_a_process_is_told_from_a_later_one_with_its_number():
    own = processes.identity(os.getpid())
    assert processes.lives(own)
    assert not processes.lives({**own, "started": own["started"] - 60})
    ended = subprocess.Popen([sys.executable, "-c", ""])
    noted = processes.identity(ended.pid)
    ended.wait()
    assert not processes.lives(noted) and processes.resident(ended.pid) == {}
    processes.kill_noted(noted)  # no error, and nobody else is hit


def test_a_process_is_the_same_after_somebody_has_set_the_clock(monkeypatch):
    noted, booted = processes.identity(os.getpid()), psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: booted + 86_400)
    assert processes.lives(noted)


def test_a_detached_process_is_on_its_own_and_leaves_no_zombie(tmp_path):
    made = processes.start_detached("this", ["that"], tmp_path, tmp_path / "log")
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{made['pid']}") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes.lives(made) and not os.path.exists(f"/proc/{made['pid']}")
    assert (
        "import this" not in (tmp_path / "log").read_text()
        and "Zen of Python" in (tmp_path / "log").read_text()
    )


OWNER = """
import sys, time
from pathlib import Path
from engine.wall import processes
with processes.own_folder(Path(sys.argv[1]), "mine-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_that_another_process_takes_away_too_early_is_made_again(tmp_path, monkeypatch):
    made = tempfile.mkdtemp

    def made_and_swept(**named):
        folder = made(**named)
        monkeypatch.setattr(tempfile, "mkdtemp", made)
        processes.sweep(tmp_path, "mine-")
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", made_and_swept)
    with processes.own_folder(tmp_path, "mine-") as folder:
        assert folder.is_dir() and os.listdir(tmp_path) == [folder.name]


def test_who_is_killed_on_purpose_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = OWNER.replace("mine-", processes.CHILDREN)
    words = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        assert os.path.exists(owner.stdout.readline().strip())
        processes.kill_noted(processes.identity(owner.pid))
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(tmp_path):
    with processes.own_folder(tmp_path, "mine-") as folder:
        pass
    assert not folder.exists()
    owners = [
        subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = [owner.stdout.readline().strip() for owner in owners]
    owners[0].send_signal(signal.SIGKILL)
    owners[0].wait()
    try:
        for name in (*folders, tmp_path / "mine-other"):
            os.makedirs(name, exist_ok=True)
            os.utime(name, (0, 0))
        (tmp_path / "mine-link").symlink_to(folders[1])
        with processes.own_folder(tmp_path, "mine-"):
            assert [os.path.exists(name) for name in folders] == [False, True]
            assert not (tmp_path / "mine-other").exists()
    finally:
        owners[1].kill()
        owners[1].wait()
