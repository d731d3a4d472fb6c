"""README and docs say what was measured and name what exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import readme
from benchmarks.readme import README, ROOT
from deploy.targets import overview
from engine.cli import cli
from engine.techniques import TECHNIQUES
from estimator.devices import all_devices

DOCS = ROOT / "docs"
COMMAND = re.compile(
    r"(?:^    |`)(?:\.venv/bin/)?(?:python -m engine|edgewise) ([a-z-]+)([^`\n]*(?:\n {20,}[^`\n]*)*)", re.M
)


@pytest.mark.parametrize("path", readme.WRITTEN, ids=lambda path: path.name)
def test_figures_are_those_of_the_committed_results(path):
    assert readme.with_figures(path) == path.read_text(), "run python -m benchmarks.readme"
    assert len(readme.results()) >= 1


@pytest.mark.parametrize("page", overview.PAGES)
def test_the_devices_are_those_of_their_files(page):
    text = (DOCS / page).read_text()
    assert overview.with_table(page) == text, "run python -m deploy.targets.overview"
    assert {row["device"] for row in overview.rows()} == {device.name for device in all_devices().values()}


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_the_documentation_builds_without_a_warning(tmp_path):
    """Links, anchors and snippets are checked by the builder, which is strict."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = {path.name for path in tmp_path.rglob("*.html")}
    assert {path.with_suffix(".html").name for path in DOCS.glob("*.md")} <= pages
    assert "What is not protected" in (tmp_path / "security.html").read_text()  # a file from outside docs/
    for path in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="?(https?://[^" >]+)', path.read_text())
        assert fetched == [], path


def commands() -> list[tuple[str, str, str]]:
    """Returns each command of ours that README or docs show: the page, the verb, what follows it."""
    pages = [README, ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    return [(page.name, verb, rest) for page in pages for verb, rest in COMMAND.findall(page.read_text())]


def test_every_command_that_is_shown_exists_with_its_options():
    shown = commands()
    assert len(shown) > 15
    for page, verb, rest in shown:
        known = cli.commands.get(verb)
        assert known is not None, (page, verb)
        options = {name for parameter in known.params for name in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= options, (page, verb, rest)


def test_every_verb_and_every_option_of_the_main_one_is_written_down():
    text = (DOCS / "command-line.md").read_text()
    assert {verb for verb in cli.commands if not re.search(rf"\b{verb}\b", text)} == set()
    options = {name for parameter in cli.commands["optimize"].params for name in parameter.opts}
    assert {name for name in options if name.startswith("--") and name not in text} == set()


def test_names_every_technique_and_both_commands():
    text, page = README.read_text(), (DOCS / "techniques.md").read_text()
    for technique in TECHNIQUES:
        assert f"`{technique}`" in text and f"| `{technique}` |" in page
    assert "make app" in text and "make test" in text and "make demo" in text


def test_says_how_a_space_runs_it():
    front = README.read_text().split("---")[1]
    assert "sdk: docker" in front and "app_port: 8501" in front
    assert not re.search(r"sdk_version|sdk: streamlit", front)
    assert Path(ROOT, "Dockerfile").exists()
