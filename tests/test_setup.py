"""The set-up files: exactly pinned, from no particular index, and complete for what is imported."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from tests.test_imports import OURS, ROOT, modules, sources

FILES = ("requirements.txt", "requirements-test.txt")
# parts that no host of the dashboard needs
ASKED_FOR = {"requirements/opencv.txt", "requirements/mcp.txt", "requirements/cluster.txt"}
CPU_BUILD = "--extra-index-url https://download.pytorch.org/whl/cpu"


def lines(name: str) -> list[str]:
    """Returns the lines of a requirements file and of those that it includes, without comments."""
    found = []
    for line in (ROOT / name).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found += lines(line.removeprefix("-r "))
        elif line and line != CPU_BUILD:
            found.append(line)
    return found


def requirements(name: str) -> list[Requirement]:
    return [Requirement(line) for line in dict.fromkeys(lines(name))]


@pytest.mark.parametrize("name", FILES)
def test_every_version_is_pinned_and_no_other_index_is_named(name):
    assert all(re.fullmatch(r"==[\w.+]+", str(r.specifier)) and not r.url for r in requirements(name))
    assert not any("index" in line or "://" in line for line in lines(name))


def test_pytorch_comes_without_cuda():
    assert CPU_BUILD in (ROOT / "requirements.txt").read_text().splitlines()


def test_a_package_that_two_parts_need_has_one_version():
    names = [r.name for r in requirements("requirements.txt") if not r.marker]
    assert len(names) == len(set(names))


def test_the_extras_are_the_parts_of_the_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dynamic = project["tool"]["setuptools"]["dynamic"]
    files = [dynamic["dependencies"], *dynamic["optional-dependencies"].values()]
    parts = {file for entry in files for file in entry["file"]}
    assert parts == {f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")}
    installed = set(re.findall(r"^-r (.+)$", (ROOT / "requirements.txt").read_text(), re.M))
    tested = set(re.findall(r"^-r (.+)$", (ROOT / "requirements-test.txt").read_text(), re.M))
    assert parts == installed | tested and tested == ASKED_FOR


def test_one_tensorflow_on_every_system():
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")):
        chosen = [
            r.name
            for r in requirements("requirements.txt")
            if r.name.startswith("tensorflow")
            and (not r.marker or r.marker.evaluate({"sys_platform": system, "platform_machine": machine}))
        ]
        assert chosen == (["tensorflow-cpu"] if (system, machine) == ("linux", "x86_64") else ["tensorflow"])


def test_all_that_is_imported_is_required():
    known = [r for name in ("requirements.txt", *sorted(ASKED_FOR)) for r in requirements(name)]
    pinned = {re.sub("[-_.]+", "-", r.name.lower()) for r in known}
    # a package's own files, a runtime of old devices, and what a camera takes
    flat = {path.stem for path in (ROOT / "engine" / "device").glob("*.py")} | {
        "tflite_runtime",
        "tensorrt",
        "rknn",
        "rknnlite",
        "hailo_platform",
        "onnxruntime_qnn",
        "cv2",
    }
    where = packages_distributions()
    names = (
        {name.split(".")[0] for path in sources() for name in modules(path)}
        - set(OURS)
        - set(sys.stdlib_module_names)
        - flat
    )
    lacking = {
        name for name in names if not {re.sub("[-_.]+", "-", d.lower()) for d in where.get(name, [])} & pinned
    }
    assert lacking == set()


def test_what_ships_in_a_package_is_written_for_old_pythons():
    files = list((ROOT / "engine" / "device").glob("*.py"))
    assert {"infer.py", "preprocessing.py"} <= {path.name for path in files}
    for path in files:
        ast.parse(path.read_text(), feature_version=(3, 7))
