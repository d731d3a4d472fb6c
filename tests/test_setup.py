"""The set-up files: exactly pinned, from no particular index, and complete for what is imported."""

import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from tests.test_imports import OURS, ROOT, modules, sources

FILES = ("requirements.txt", "requirements-test.txt")


def requirements(name: str) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("name", FILES)
def test_every_version_is_pinned_and_no_index_is_named(name):
    assert all(re.fullmatch(r"==[\w.+]+", str(r.specifier)) and not r.url for r in requirements(name))
    assert "index" not in (ROOT / name).read_text() and "://" not in (ROOT / name).read_text()


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
    pinned = {re.sub("[-_.]+", "-", r.name.lower()) for r in requirements("requirements.txt")}
    flat = {
        "infer",
        "preprocessing",
        "decoder",
        "benchmark",
        "tflite_runtime",
    }  # a package's own files, and a runtime of old devices
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
    import ast

    for path in (ROOT / "deploy" / "runtime").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 7))
