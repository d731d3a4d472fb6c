"""A real broker, a real Modbus server, and a station that has nothing of Edgewise but its own folder."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pymodbus.client
import pymodbus.server  # noqa: F401
import pytest
from PIL import Image

from deploy.station.simulator import Simulator, serve

ROOT = Path(__file__).resolve().parents[3]
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
GOOD = [str(n) for n in range(9)]  # nines are the defects
WAIT_S = 20


def until(what, seconds: float = WAIT_S):
    """Waits until `what()` is true and returns it; fails the test where it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Broker:
    """mosquitto on a port of its own, which can be stopped and started again; it keeps what it was given."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.port = folder, free_port()
        self.address = f"127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        lines = ["persistence true", f"persistence_location {folder}/", f"listener {self.port} 127.0.0.1"]
        # in tests root may start it, and its files are root's
        lines += options or ["allow_anonymous true"]
        (folder / "conf").write_text("\n".join([*lines, "user root", ""]))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self.folder / "conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: listens(self.port))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def brokers(tmp_path):
    """Returns the function that starts a broker with lines of its configuration."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed here")
    made = []

    def start(*options: str) -> Broker:
        made.append(Broker(tmp_path / f"broker{len(made)}", *options))
        return made[-1]

    yield start
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(brokers) -> Broker:
    return brokers()


class PlcServer:
    """pymodbus's own server in a thread, which can be stopped and started again."""

    def __init__(self):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.simulator = Simulator(quiet=True)
        self.loop = asyncio.new_event_loop()
        self.task = self.loop.create_task(serve(self.simulator, "127.0.0.1", self.port))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        until(lambda: listens(self.port))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        finally:
            self.loop.run_until_complete(asyncio.sleep(0.05))
            self.loop.close()


@pytest.fixture
def plc():
    server = PlcServer()
    yield server
    if server.thread.is_alive():
        server.stop()


@pytest.fixture(scope="session")
def alone(tmp_path_factory) -> Path:
    """A folder with the station's code and nothing else of ours, as a device has it."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "__init__.py", folder / "deploy")
    shutil.copytree(ROOT / "deploy" / "station", folder / "deploy" / "station")
    return folder


@pytest.fixture
def station(alone, built, tmp_path):
    """Returns the function that starts a station on the digits package; killed when the test ends."""
    started = []

    def start(*words: str, package: Path | None = None, **environment: str) -> subprocess.Popen:
        words = ("--package", str(package or built("baseline")), "--state", str(tmp_path / "state"), *words)
        if "--ok-class" not in words:
            words = (*words, "--ok-class", *GOOD)
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.station", *words],
            cwd=alone,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen, stop: bool = False) -> dict:
    """Returns what a station says at its end, which is a good one."""
    if stop:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.fixture(scope="session")
def digits(digits_run) -> tuple[np.ndarray, np.ndarray]:
    """The test part of digits: uint8 [n, 28, 28, 1] and labels."""
    folder = digits_run.workspace.home / "datasets" / "digits"
    return np.load(folder / "test_images.npy"), np.load(folder / "test_labels.npy")


def write_pictures(digits, folder: Path, numbers) -> Path:
    """Writes a folder of digits, each named by its place and its class."""
    folder.mkdir()
    for place, number in enumerate(numbers):
        image = Image.fromarray(digits[0][number][..., 0])
        image.save(folder / f"{place:05}-{digits[1][number]}.png")
    return folder


@pytest.fixture
def pictures(digits, tmp_path):
    """Returns the function that writes a folder of digits."""
    return lambda name, numbers: write_pictures(digits, tmp_path / name, numbers)


@pytest.fixture(scope="session")
def long_belt(digits, tmp_path_factory) -> Path:
    """Digits for as long as a test takes on a busy machine; it stops the station when it has seen enough."""
    numbers = [*range(len(digits[0]))] * 8
    return write_pictures(digits, tmp_path_factory.mktemp("belt") / "pictures", numbers)
