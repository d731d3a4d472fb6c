"""One's own pictures as a person brings them: ZIP, starter model, run, comparison, in a real browser."""

import os
import re
from pathlib import Path

import pytest

from engine.store.workspace import Workspace
from engine.techniques import TECHNIQUES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def tiles() -> Path:
    """The magnetic-tile ZIP of the environment."""
    near = (
        Path(os.environ.get("EDGEWISE_UPLOADS", "/nowhere")).parent
        / "datasets"
        / "magnetic_tile"
        / "magnetic_tile_ok_defect.zip"
    )
    path = Path(os.environ.get("EDGEWISE_TILES", near))
    if not path.is_file():
        pytest.skip("the magnetic-tile ZIP is not here: set EDGEWISE_TILES to it")
    return path


def test_magnetic_tiles_from_the_zip_to_the_comparison(page, server, tiles):
    page.goto(f"{server.url}/upload")
    page.get_by_text("My ZIP", exact=True).click()
    page.locator("input[type=file]").first.set_input_files(str(tiles))
    page.get_by_text("Train a starter model on this data").wait_for(timeout=120_000)
    minutes = page.get_by_role("spinbutton", name="Minutes")
    minutes.fill("1")
    minutes.press("Enter")
    page.get_by_role("button", name="Train a starter model").click()
    page.get_by_text(re.compile("of the validation images are right so far")).first.wait_for(timeout=120_000)
    page.reload()  # the training goes on, and is found again
    page.get_by_role("button", name="Cancel the training").wait_for()
    page.get_by_text("The starter model is trained, and chosen.").wait_for(timeout=300_000)
    page.get_by_text("starter/pytorch/small").first.wait_for()
    page.get_by_role("button", name="Configure the run").click()

    page.get_by_role("heading", name="Configure the run").wait_for()
    for name, technique in TECHNIQUES.items():
        if name not in ("ptq_int8", "fp16"):
            page.get_by_text(technique.title, exact=True).click()
            page.wait_for_timeout(250)
    page.get_by_role("button", name=re.compile("Start the run")).click()
    page.get_by_role("button", name="Compare the variants").wait_for(timeout=300_000)
    page.get_by_role("button", name="Compare the variants").click()
    page.get_by_role("heading", name=re.compile("Recommended")).wait_for()
    workspace = Workspace(server.home)
    variants = {v.id: v for v in workspace.variants(workspace.runs()[0]["id"])}
    assert {v.status for v in variants.values()} == {"done"} and {"baseline", "ptq_int8", "fp16"} <= set(
        variants
    )
    assert variants["baseline"].accuracy > 0.7
