"""The README says what was measured and names what exists."""

import re
from pathlib import Path

from benchmarks.readme import README, with_figures
from benchmarks.record import RESULTS
from deploy.targets import overview
from engine.techniques import TECHNIQUES
from estimator.devices import all_devices

ROOT = README.parent


def test_figures_are_those_of_the_committed_results():
    text = README.read_text()
    assert with_figures(text) == text, "run python -m benchmarks.readme"
    assert len(list(RESULTS.glob("*.json"))) >= 1


def test_the_devices_are_those_of_their_files():
    text = README.read_text()
    assert overview.with_table(text) == text, "run python -m deploy.targets.overview"
    assert {row["device"] for row in overview.rows()} == {device.name for device in all_devices().values()}


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_names_every_technique_and_both_commands():
    text = README.read_text()
    for technique in TECHNIQUES:
        assert f"`{technique}`" in text
    assert "make app" in text and "make test" in text and "make demo" in text


def test_says_how_a_space_runs_it():
    front = README.read_text().split("---")[1]
    assert "sdk: docker" in front and "app_port: 8501" in front
    assert not re.search(r"sdk_version|sdk: streamlit", front)
    assert Path(ROOT, "Dockerfile").exists()
