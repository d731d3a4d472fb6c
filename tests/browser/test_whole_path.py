"""The whole path as a person walks it: example, configure, run, refresh, compare, download, and the zip
runs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError

from engine import events
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FRAMEWORKS = {
    "torch",
    "torchvision",
    "tensorflow",
    "keras",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "cv2",
    "sklearn",
    "scipy",
    "fastapi",  # the API, which nobody has asked yet
}


def start_example(page, server, techniques: set[str]) -> str:
    """Clicks from the home page to a run of these techniques with a budget of a minute; returns the run's
    id.
    """
    page.goto(server.url)
    page.get_by_role("button", name="Try the bundled example").click()
    page.get_by_role("heading", name="Configure the run").wait_for()
    give_a_minute(page)
    for name, technique in TECHNIQUES.items():
        if name not in techniques:
            page.get_by_text(technique.title, exact=True).click()
            page.wait_for_timeout(250)
    page.get_by_role("button", name=re.compile("Start the run")).click()
    page.get_by_role("heading", name="Watch the run").wait_for()
    page.wait_for_url(re.compile(r"run\?run="))
    return re.search(r"run=([\w-]+)", page.url).group(1)


def give_a_minute(page) -> None:
    """Types a time budget of one minute. A page that is still being drawn may take a field's text back."""
    budget = page.get_by_role("spinbutton", name="Time budget (minutes)")
    for _ in range(6):
        budget.fill("1")
        budget.press("Enter")
        with suppress(TimeoutError):
            return page.get_by_text(re.compile("about [12]\\smin")).first.wait_for(timeout=10_000)
    raise AssertionError("the page does not take a time budget")


def wait_for_end(page) -> None:
    """Waits until the run page offers the next step."""
    page.get_by_role("button", name="Compare the variants").wait_for(timeout=300_000)


def test_from_the_example_to_a_package_that_runs(page, server, tmp_path):
    run = start_example(page, server, {"ptq_int8", "fp16"})
    page.get_by_text("Baseline · done").wait_for(timeout=120_000)
    page.reload()
    page.get_by_role("heading", name="Watch the run").wait_for()
    assert run in page.url
    wait_for_end(page)
    assert {v.status for v in Workspace(server.home).variants(run)} == {"done"}

    page.get_by_role("button", name="Compare the variants").click()
    page.get_by_role("heading", name="Compare variants").wait_for()
    page.get_by_role("heading", name=re.compile("Recommended")).wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    assert run in page.url
    page.get_by_role("button", name="Make the package").click()

    page.get_by_role("heading", name="Take it to the device").wait_for()
    page.get_by_role("button", name="Build the package").click()
    button = page.get_by_role("button", name=re.compile("Download the package"))
    button.wait_for(timeout=120_000)
    with page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "package.zip")
    assert runs(tmp_path / "package.zip", tmp_path / "unpacked") in [str(digit) for digit in range(10)]
    assert not FRAMEWORKS & server.modules()


def runs(package, folder) -> str:
    """Unpacks a package and runs it away from this project; returns the class that it names."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "infer.py", "sample.png", "--json"],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["class"]


def test_killed_technique_fails_alone(page, server):
    run = start_example(page, server, {"ptq_int8", "prune_structured"})
    workspace = Workspace(server.home)
    kill(workspace, run, "prune_structured")
    page.get_by_text(re.compile("Structured pruning (failed|done)")).first.wait_for(timeout=120_000)
    wait_for_end(page)
    found = {v.id: v for v in workspace.variants(run)}
    failed = [v for v in found.values() if v.status == "failed"]
    assert failed and all(v.technique == "prune_structured" and v.reason for v in failed)
    assert found["baseline"].status == found["ptq_int8"].status == "done"
    assert page.get_by_text(failed[0].reason.split(".")[0][:30]).first.is_visible()


def kill(workspace: Workspace, run: str, technique: str) -> None:
    """Kills the process of a technique as soon as it is at work."""
    deadline = time.time() + 180
    while time.time() < deadline:
        told = workspace.events(run)
        working = [e for e in told if isinstance(e, events.ProgressMade) and e.technique == technique]
        children = [e for e in told if isinstance(e, events.ProcessStarted) and e.what == technique]
        if working and children:
            os.killpg(children[-1].pid, signal.SIGKILL)
            return
        time.sleep(0.1)
    raise AssertionError(f"{technique} never started")


def test_cancel_stops_every_process_and_keeps_what_is_finished(page, server):
    run = start_example(page, server, {"ptq_int8", "prune_structured"})
    page.get_by_text("INT8 after training · done").wait_for(timeout=120_000)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the run").click()
    began = time.time()
    page.get_by_text("The run was cancelled").wait_for()
    workspace = Workspace(server.home)
    pids = [e.pid for e in workspace.events(run) if isinstance(e, events.ProcessStarted)]
    while any(alive(pid) for pid in pids):
        assert time.time() < began + 3, "processes of a cancelled run still live"
        time.sleep(0.05)
    assert any(v.id == "ptq_int8" for v in workspace.variants(run))


def alive(pid: int) -> bool:
    """Tells whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
