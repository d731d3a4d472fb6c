"""Takes every page's picture, light and dark, 1440 and 390 pixels wide, on the finished run that ships with
the app: `python -m benchmarks.screenshots`, with Chromium at hand (`make chromium`). Writes
`docs/pages/`, and `docs/compare.png` of the README.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.engine_run import free_port
from engine.run import travel
from engine.store.workspace import Workspace
from models.catalog import EXAMPLE_RUN

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "pages"
PAGES = ("home", "upload", "configure", "run", "compare", "deploy", "experiments", "devices")
SCHEMES, WIDTHS = ("light", "dark"), (1440, 390)
IN_README = ("compare", "light", 1440)  # its top, as it opens
TALLEST, QUALITY = 6000, 70  # pixels; of WebP, where text is still sharp
CHROMIUM = "/usr/bin/chromium"
RUNNING = "() => !document.querySelector('[data-testid=stApp][data-test-script-state=running]')"


def main() -> None:
    """Serves an empty workspace with the example in it, and walks its pages."""
    argparse.ArgumentParser(description=__doc__.partition("\n\n")[0]).parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgewise-screenshots-") as home:
        run = travel.unpack(EXAMPLE_RUN, Workspace(home))
        port = free_port()
        words = ["streamlit", "run", "server.py", "--server.headless", "true", "--server.port", str(port)]
        server = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, env=os.environ | {"EDGEWISE_HOME": home}
        )
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                for scheme in SCHEMES:
                    for width in WIDTHS:
                        _walk(browser, f"http://127.0.0.1:{port}", run, scheme, width)
        finally:
            server.terminate()
            server.wait()
    (OUTPUT / "README.md").write_text(_index())


def _index() -> str:
    lines = [
        "# Every page",
        "",
        "Made by `python -m benchmarks.screenshots`, on the run that ships with the app.",
    ]
    for name in PAGES:
        lines += ["", f"## {name.capitalize()}", ""]
        lines += [
            "| " + " | ".join(f"{s}, {w} px" for s in SCHEMES for w in WIDTHS) + " |",
            "|---|---|---|---|",
        ]
        pictures = (f"![{name}, {s}, {w} pixels]({name}-{s}-{w}.webp)" for s in SCHEMES for w in WIDTHS)
        lines += ["| " + " | ".join(pictures) + " |"]
    return "\n".join([*lines, ""])


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def _walk(browser: Browser, url: str, run: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = context.new_page()
    for name in PAGES:
        path = "" if name == "home" else name
        page.goto(f"{url}/{path}?run={run}&model=digits/pytorch/small&dataset=digits")
        page.get_by_role("heading", level=1).wait_for()
        _settle(page)
        if (name, scheme, width) == IN_README:
            page.screenshot(path=OUTPUT.with_name("compare.png"))
        tall = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": width, "height": min(tall, TALLEST)})
        _settle(page)
        target = OUTPUT / f"{name}-{scheme}-{width}.webp"
        Image.open(io.BytesIO(page.screenshot())).save(target, quality=QUALITY, method=6)
        print(f"{target.name}: {target.stat().st_size:,} bytes", flush=True)
        page.set_viewport_size({"width": width, "height": 1000})
    context.close()


def _settle(page: Page) -> None:
    page.wait_for_function(RUNNING, timeout=60_000)
    page.wait_for_timeout(2500)  # charts and icons come after the text


if __name__ == "__main__":
    main()
