"""What all tests share: no test touches the user's own workspace, and one real run on digits serves many of
them.
"""

import os
import shutil
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

from deploy import package
from engine import events
from engine.formats.inspect import inspect_model
from engine.run import jobs, measuring, worker
from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES
from engine.vocabulary import Experiment, Run
from engine.wall import sandbox

# pytest's workers start with it: threads of libraries would spin while other tests are at work on the other
# cores (see engine.wall.limits)
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}

ROOT = Path(__file__).resolve().parent.parent
TEST_FILES = ("test_images.npy", "test_labels.npy")
READ_THE_RUN = (
    "deploy/test_npu.py",
    "deploy/test_opencv.py",
    "deploy/test_package.py",
    "deploy/test_recipe.py",
    "deploy/test_scripts.py",
    "deploy/test_targets.py",
    "station/test_line.py",
    "emulated/test_arm64.py",
    "engine/test_cli.py",
    "run/test_answers.py",
    "run/test_jobs.py",
    "run/test_trying.py",
    "techniques/test_techniques.py",
)

settings.register_profile("edgewise", database=None, deadline=None)
settings.load_profile("edgewise")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keeps a file's tests together, and the files that read `digits_run` too, so that it is made once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "digits_run" if file.endswith(READ_THE_RUN) else file

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Points EDGEWISE_HOME at a folder that goes away, so that a forgotten argument harms nobody's runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWISE_HOME", str(tmp_path_factory.mktemp("own-home")))
        patch.delenv("EDGEWISE_PUBLIC", raising=False)
        yield


@dataclass
class DigitsRun:
    """A finished run: where it is, what it gave, and which tasks worked while the test part was out of
    reach.
    """

    workspace: Workspace
    id: str
    blind: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.workspace.folder(self.id)

    @property
    def run(self) -> Run:
        return self.workspace.run(self.id)

    def variant(self, variant_id: str):
        """Returns one variant; fails the test when it isn't done."""
        found = next(v for v in self.run.variants if v.id == variant_id)
        assert found.status == "done", found.reason
        return found

    def file(self, variant_id: str) -> Path:
        """Returns the file of a variant that a runtime opens."""
        artifact = self.variant(variant_id).artifacts[0]
        return self.folder / (artifact.decoded_path or artifact.path)


def digits_experiment(**changes) -> Experiment:
    """Returns an experiment on the small digits network; nothing of it has run yet."""
    asked = {
        "model": inspect_model("digits/pytorch/small"),
        "dataset": "digits",
        "device": "raspberry_pi_4",
        "techniques": list(TECHNIQUES),
        "time_budget_s": 10,
    }
    return Experiment(**(asked | changes))


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> DigitsRun:
    """All techniques on digits, for real, in about a minute. Only the task that measures accuracy finds a
    test part.
    """
    made = DigitsRun(Workspace(tmp_path_factory.mktemp("digits-run")), "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWISE_HOME", str(made.workspace.home))
        patch.setattr(sandbox, "run", _without_test_part(made, sandbox.run))
        # that times are taken counts here, not how exact they are: half a minute less
        patch.setattr(measuring, "FIRST_S", 0.1)
        patch.setattr(measuring, "LAST_S", 0.2)
        made.id = made.workspace.create(digits_experiment())
        made.workspace.append(made.id, events.StateChanged(state="running"))
        worker.work(made.id)
    assert made.run.state == "done", made.run.reason
    return made


def _without_test_part(made: DigitsRun, run):
    """Returns sandbox.run as it is, but with the test files elsewhere while any task but `accuracy` is at
    work.
    """
    hidden = _Hidden(made.workspace.home / "datasets" / "digits", made.workspace.home / "elsewhere")

    def guarded(module: str, request: dict, *rest, **named):
        if request["task"] == "accuracy":
            with hidden.open():
                return run(module, request, *rest, **named)
        if not hidden.data.exists():
            return run(module, request, *rest, **named)
        made.blind.append(request.get("technique", request["task"]))
        with hidden:
            assert not [name for name in TEST_FILES if (hidden.data / name).exists()]
            return run(module, request, *rest, **named)

    return guarded


class _Hidden:
    """The test files are elsewhere while any child is inside; several may be at once, and `open` waits until
    none is.
    """

    def __init__(self, data: Path, elsewhere: Path):
        self.data, self.elsewhere = data, elsewhere
        self.changed, self.inside, self.reading = threading.Condition(), 0, False

    def __enter__(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.reading)
            self.inside += 1
            if self.inside == 1:
                self._move(self.data, self.elsewhere)

    def __exit__(self, *_):
        with self.changed:
            self.inside -= 1
            if self.inside == 0:
                self._move(self.elsewhere, self.data)
            self.changed.notify_all()

    @contextmanager
    def open(self):
        """Keeps the test files in their place."""
        with self.changed:
            self.changed.wait_for(lambda: not self.inside and not self.reading)
            self.reading = True
        try:
            yield
        finally:
            with self.changed:
                self.reading = False
                self.changed.notify_all()

    def _move(self, source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for name in TEST_FILES:
            shutil.move(source / name, target / name)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Workspace:
    """An empty workspace; what is still at work in it when the test ends is stopped."""
    monkeypatch.setenv("EDGEWISE_HOME", str(tmp_path / "home"))
    made = Workspace()
    yield made
    # cancelling one run starts the next in the queue, so the newest go first
    for row in made.runs():
        jobs.cancel(row["id"], made)


@pytest.fixture
def asked():
    """Returns the function that makes an experiment on digits: `asked(techniques=[…])`."""
    return digits_experiment


@pytest.fixture(scope="session")
def built(digits_run):
    """Returns the function that builds a variant's zip, once."""
    return lambda name: package.build(digits_run.id, name, digits_run.workspace)


@pytest.fixture
def unpacked(built, tmp_path):
    """Returns the function that unpacks a variant's zip in a clean folder."""

    def unpack(name: str) -> Path:
        folder = tmp_path / "clean"
        with zipfile.ZipFile(built(name)) as archive:
            archive.extractall(folder)
        return folder

    return unpack
