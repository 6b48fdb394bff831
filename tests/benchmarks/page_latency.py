"""How long a visitor waits: for the first page, from the click on Boost to the first picture, and to the end.

A real server, and a real browser (Debian's Chromium through Playwright); what counts is what the page shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
# When the status first tells a step taken (the grid shows its images), and when it says that all
# is done, by the browser's own clock.
WATCH = """() => {
  const line = document.querySelector('#status');
  window.waited = { click: performance.now() };
  new MutationObserver(() => {
    const text = line.innerText;
    if (/step [1-9]/.test(text)) window.waited.preview ??= performance.now();
    if (text.includes('Done')) window.waited.done ??= performance.now();
  }).observe(line, { childList: true, subtree: true, characterData: true });
  document.querySelector('#status .status span').innerText = '';
  document.querySelector('#boost').click();
}"""


# When the example first stood there, from the start of the navigation on, by the browser's own clock.
STANDS = """new MutationObserver(() => {
  if (window.stood === undefined && document.querySelector('#grid .pair'))
    requestAnimationFrame(() => requestAnimationFrame(() => { window.stood ??= performance.now(); }));
}).observe(document, { childList: true, subtree: true });"""


def start_server(folder: str) -> tuple[subprocess.Popen[bytes], str, float]:
    """The server, its address, and the seconds until it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, began = f"http://127.0.0.1:{port}/", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"GRADIO_TEMP_DIR": folder},
    )
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return process, address, time.perf_counter() - began
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the server ended before it answered") from None
            time.sleep(0.05)


def opened(browser: Browser, address: str, images: int, steps: int) -> tuple[Page, float]:
    """The page with its controls set, and the seconds until its example stood there."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(STANDS)
    page.goto(f"{address}?tab=boost&count={images}&steps={steps}")
    page.wait_for_function("window.stood !== undefined")
    taken = page.evaluate("window.stood") / 1e3
    expect(page.get_by_label("number input for Images").first).to_have_value(str(images))
    page.wait_for_timeout(1_000)
    return page, taken


def waits(pages: list[Page]) -> list[tuple[float, float]]:
    """Seconds to the first preview and to the end, of pages whose buttons are pressed at the same time."""
    for page in pages:
        page.evaluate(WATCH)
    for page in pages:
        page.wait_for_function("window.waited.done !== undefined", timeout=300_000)
    found = [page.evaluate("window.waited") for page in pages]
    return [((w["preview"] - w["click"]) / 1e3, (w["done"] - w["click"]) / 1e3) for w in found]


def tell(what: str, values: list[float]) -> None:
    """A line: the median and the 95th percentile."""
    last = sorted(values)[max(0, round(0.95 * len(values)) - 1)]
    print(f"{what:56}{statistics.median(values):8.2f} s {last:8.2f} s {len(values):5}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 10])
    options = parser.parse_args()
    print(f"{'':56}{'median':>10} {'95 %':>10} {'runs':>5}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process, address, started = start_server(folder)
        try:
            tell("start of the server until it answers", [started])
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for steps in options.steps:
                name = f"{options.images} images, {steps} steps"
                page, first = opened(browser, address, options.images, steps)
                tell("first page", [first])
                waits([page])  # the first run of a server loads what later ones find loaded
                alone = [waits([page])[0] for _ in range(options.runs)]
                tell(f"{name}: click to first preview", [preview for preview, _ in alone])
                tell(f"{name}: click to done", [done for _, done in alone])
                other, _ = opened(browser, address, options.images, steps)
                both = [one for _ in range(max(1, options.runs // 2)) for one in waits([page, other])]
                tell(f"{name}, two at once: to first preview", [preview for preview, _ in both])
                tell(f"{name}, two at once: to done", [done for _, done in both])
                page.close()
                other.close()
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
