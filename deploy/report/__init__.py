"""A run as a document that its readers can carry away: HTML that opens offline, Markdown, or PDF."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from deploy.report.contents import contents
from engine.errors import BadInput
from engine.judge.markup import plain
from engine.run.on_board import OnBoard, judged, on_board
from engine.run.robustness import robustness_of
from engine.store.workspace import Workspace
from engine.vocabulary import Robustness, Run

NOWHERE = OnBoard()
UNMEASURED: Mapping[str, Robustness] = MappingProxyType({})
SUFFIXES = (".html", ".md", ".pdf")
# names in a run are foreign: HTML escapes them by itself, Markdown by the filter `plain`
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(["html.j2"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["plain"] = plain


def html(run: Run, robust: Mapping[str, Robustness] = UNMEASURED, board: OnBoard = NOWHERE) -> str:
    """Returns the report as one HTML file: no script, nothing loaded, a style for print.

    robust: what was measured on damaged pictures, by variant; board: what was on the user's own. Raises
    BadInput for a run without a measured baseline.
    """
    return TEMPLATES.get_template("report.html.j2").render(contents(run, robust, board))


def markdown(run: Run, robust: Mapping[str, Robustness] = UNMEASURED, board: OnBoard = NOWHERE) -> str:
    """Returns the report as Markdown; raises BadInput as `html` does."""
    return TEMPLATES.get_template("report.md.j2").render(contents(run, robust, board))


def pdf(run: Run, robust: Mapping[str, Robustness] = UNMEASURED, board: OnBoard = NOWHERE) -> bytes:
    """Returns the report as PDF on A4; raises BadInput as `html` does, and where WeasyPrint is missing."""
    try:
        weasyprint = import_module("weasyprint")
    except (ImportError, OSError):  # or a library of the system that it needs
        raise BadInput(
            "A PDF takes WeasyPrint, which is not installed here: `pip install weasyprint`, or write HTML and"
            " print it from the browser, which has its own style for paper."
        ) from None
    made: bytes = weasyprint.HTML(string=html(run, robust, board), url_fetcher=_nothing).write_pdf()
    return made


def material(run_id: str, workspace: Workspace) -> tuple[Run, dict[str, Robustness], OnBoard]:
    """Returns what a report is made of: a run as its measurements judge it, and what was measured later."""
    board = on_board(run_id, workspace)
    return judged(workspace.run(run_id), board), robustness_of(run_id, workspace), board


def write(run_id: str, path: Path, workspace: Workspace) -> None:
    """Writes a run's report; the ending tells how. Raises BadInput for another ending, or a folder that can't
    be written.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(f"A report is written as {', '.join(SUFFIXES)}: give such an ending to '{path.name}'.")
    run, robust, board = material(run_id, workspace)
    if path.suffix == ".pdf":
        made = pdf(run, robust, board)
    else:
        made = (html if path.suffix == ".html" else markdown)(run, robust, board).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made)
    except OSError as error:
        raise BadInput(f"{path} can't be written ({error.strerror}): give another place.") from None


def _nothing(url: str) -> dict[str, str]:
    raise ValueError(f"a report loads nothing, and asked for {url[:80]}")
