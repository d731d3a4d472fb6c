"""Pages in a real browser, on handmade runs: links, keyboard, both themes, a phone, and what axe finds."""

import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from engine.store import boards
from engine.store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pages"))
import seed

pytestmark = pytest.mark.timeout(180)
PAGES = ("", "upload", "configure", "run", "compare", "deploy", "experiments", "devices")


def open_page(page, server, name: str, run: str) -> None:
    """Opens a page and waits until it is drawn."""
    page.goto(f"{server.url}/{name}?run={run}&model=digits/pytorch/small&dataset=digits")
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=stApp][data-test-script-state=running]')"
    )
    page.wait_for_timeout(700)


def test_first_link_into_a_fresh_server_opens_the_whole_app(page, server):
    run = seed.finished(Workspace(server.home))
    open_page(page, server, "compare", run)
    assert page.get_by_role("link", name="1 Upload").is_visible()
    assert page.get_by_role("heading", name="Compare variants").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), (("light", 1440), ("dark", 390)))
def test_axe_finds_nothing(browser, server, scheme, width):
    run = seed.finished(home := Workspace(server.home))
    boards.keep(run, "hybrid", seed.on_board(30), home)
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page, found = context.new_page(), []
    for name in PAGES:
        open_page(page, server, name, run)
        for violation in Axe().run(page).response["violations"]:
            where = [node["html"][:200] for node in violation["nodes"]]
            found.append((name, violation["impact"], violation["id"], where))
    context.close()
    assert found == []


@pytest.mark.slow
def test_phone_needs_no_sideways_scrolling(browser, server):
    run = seed.finished(home := Workspace(server.home))
    boards.keep(run, "hybrid", seed.on_board(30), home)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page, wide = context.new_page(), {}
    for name in PAGES:
        open_page(page, server, name, run)
        wide[name] = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollWidth")
    context.close()
    assert {name: width for name, width in wide.items() if width > 390} == {}


def test_keyboard_reaches_the_main_button_with_visible_focus(page, server):
    open_page(page, server, "", "")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(
            "() => document.activeElement.matches('button') &&"
            " document.activeElement.textContent.includes('Try the bundled')"
        ):
            break
    else:
        raise AssertionError("Tab never reached the main button")
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Configure the run").wait_for()


@pytest.mark.slow
def test_run_stays_in_the_url_through_the_sidebar_and_back(page, server):
    run = seed.finished(Workspace(server.home))
    open_page(page, server, "compare", run)
    page.get_by_role("link", name="5 Deploy").click()
    page.get_by_role("heading", name="Take it to the device").wait_for()
    page.wait_for_function(f"() => location.search.includes('{run}')")
    page.go_back()
    page.get_by_role("heading", name="Compare variants").wait_for()
    page.get_by_text("Recommended").first.wait_for()


@pytest.mark.slow
def test_hostile_names_run_no_script(page, server):
    name = '<img src=x onerror="document.title=1">[a](javascript:alert(1))'
    run = seed.finished(Workspace(server.home), model=seed.model(name=name, classes=[name] * 10))
    for where in ("compare", "run", "deploy", "experiments", ""):
        open_page(page, server, where, run)
        assert page.title() != "1"
        assert page.locator("[data-testid=stMain] img[src=x]").count() == 0
        assert page.locator("[data-testid=stMain] a[href^=javascript]").count() == 0


@pytest.mark.slow
def test_charts_have_text(page, server):
    run = seed.finished(Workspace(server.home))
    open_page(page, server, "compare", run)
    page.locator(".js-plotly-plot").first.wait_for()
    described = page.evaluate("() => document.querySelector('[data-testid=stMain]').innerHTML")
    assert "Scatter plot of test accuracy against size for 9 variants" in described


@pytest.mark.slow
def test_nothing_is_fetched_from_another_host(page, server):
    run, asked = seed.finished(Workspace(server.home)), []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("", "compare"):
        open_page(page, server, name, run)
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []


@pytest.mark.slow
def test_upload_survives_a_refresh(page, server):
    weights = Path(__file__).resolve().parents[2] / "models" / "weights" / "digits_pytorch_small.safetensors"
    page.goto(f"{server.url}/upload?dataset=digits")
    page.get_by_text("My file").click()
    page.locator("input[type=file]").set_input_files(str(weights))
    page.get_by_text("242,410").wait_for(timeout=90_000)
    page.wait_for_function("() => /model=[0-9a-f]{64}/.test(location.search)")
    page.reload()
    page.get_by_text("242,410").wait_for()
    page.get_by_role("button", name="Configure the run").click()
    page.get_by_text("digits_pytorch_small.safetensors").wait_for()
