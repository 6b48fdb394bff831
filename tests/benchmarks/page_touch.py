"""How quickly the page follows a hand: strength moved and let go, a class clicked, the first picture, the end of a run;
how many clicks and seconds lead to one's own boosted photograph and to a PDF of it; how long the page takes to stand.

A real server, and a real browser (Debian's Chromium through Playwright); what counts is what the page shows, by the
browser's own clock, from the event to the frame after the change.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from page_latency import opened, start_server, tell, waits
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

STATUS = "document.querySelector('#status .status span').innerText"
# When one of `events` was last seen, and the frame after the pictures, or the status line, have changed since.
CLOCK = """() => {
  const times = window.times = {};
  ['input', 'pointerup', 'click'].forEach((name) => document.addEventListener(name, (event) => {
    if (event.isTrusted) times[name] = performance.now();
  }, true));
  const twice = (then) => requestAnimationFrame(() => requestAnimationFrame(then));
  new MutationObserver(() => { times.strengths = performance.now(); })
    .observe(document.querySelector('#strengths'), { subtree: true, childList: true, characterData: true });
  const painted = (name) => twice(() => { times[name] = performance.now(); });
  new MutationObserver(() => painted('pictures'))
    .observe(document.querySelector('#grid'), { subtree: true, attributes: true, attributeFilter: ['src'] });
  new MutationObserver(() => {
    const text = document.querySelector('#status .status span')?.innerText ?? '';
    if (text.startsWith('Done')) painted('done');
    if (text.includes('repainted')) painted('repainted');
  }).observe(document.querySelector('#status'), { subtree: true, childList: true, characterData: true });
}"""
# A generator of 32 pixels and one of 64, with steps as its preset has them.
MODELS = {32: ("cifar10-cgan", "cifar10-robust"), 64: ("imagenette64-vae", "imagenette64-robust")}


def between(page: Page, event: str, shown: str, act: list[tuple[str, tuple[float, ...]]]) -> float:
    """Seconds from the browser's event to the frame that shows what it led to. act: what the mouse does."""
    page.evaluate("(shown) => { window.times[shown] = 0; }", shown)
    for name, values in act:
        getattr(page.mouse, name)(*values)
    page.wait_for_function(f"window.times.{shown} > window.times.{event}", polling=10)
    times = page.evaluate("window.times")
    return (times[shown] - times[event]) / 1e3


def finished(browser: Browser, address: str, side: int, images: int) -> Page:
    """The page with a run of so many images of this size on it, and its strengths computed."""
    generator, classifier = MODELS[side]
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(300_000)
    query = f"?tab=boost&generator={generator}&classifier={classifier}&count={images}&run=boost"
    page.goto(address + query)
    page.wait_for_selector("#grid .pair")
    page.wait_for_function(f"{STATUS}.startsWith('Done: {images}')")
    page.evaluate(CLOCK)
    page.locator("#eps").hover()
    page.wait_for_function("document.querySelector('#strengths pre') !== null")
    return page


def touched(page: Page, side: int, images: int, runs: int) -> None:
    """Measure a finished run under the hand."""
    box = page.locator("#eps input[type=range]").bounding_box()
    assert box is not None
    middle, drags, releases = box["y"] + box["height"] / 2, [], []
    place, random_places = 0.5, random.Random(0)

    def at(share: float) -> tuple[float, float]:
        return box["x"] + share * box["width"], middle

    for _ in range(runs):
        page.mouse.move(*at(place))
        page.mouse.down()
        for _ in range(3):
            # Another of the eight each time.
            place = (place + random_places.uniform(0.3, 0.7)) % 0.9 + 0.05
            drags.append(between(page, "input", "pictures", [("move", at(place))]))
        releases.append(between(page, "pointerup", "done", [("up", ())]))
        # Until the new run's strengths are there: a finished run is what is measured.
        page.wait_for_function("window.times.strengths > window.times.pointerup", polling=50)
    name = f"{images} images of {side} pixels"
    tell(f"{name}: strength moved to pictures", drags)
    tell(f"{name}: strength let go to new result", releases)
    clicks = []
    chips = page.locator("#closeup .towards button")
    for number in range(runs):
        chip = chips.nth(number % chips.count())
        chip.scroll_into_view_if_needed()
        where = chip.bounding_box()
        assert where is not None
        point = (where["x"] + where["width"] / 2, where["y"] + where["height"] / 2)
        clicks.append(between(page, "click", "repainted", [("click", point)]))
    tell(f"{name}: click on a class to its picture", clicks)


def first_photograph(browser: Browser, address: str, folder: Path) -> tuple[tuple[int, float], tuple[int, float]]:
    """Clicks and seconds from opening to an own boosted photograph, and to a PDF of it."""
    rng = np.random.default_rng(0)
    photograph = folder / "photograph.jpg"
    rough = rng.integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC).save(photograph)
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    page.set_default_timeout(300_000)
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#grid .pair")
    page.get_by_text("Upload", exact=True).first.click()  # 1
    with page.expect_file_chooser() as choosing:
        page.locator("#upload button").first.click()  # 2, and the dialog
    choosing.value.set_files(photograph)
    page.get_by_text("1 of 1 images ready").wait_for()
    page.locator("#boost").click()  # 3
    page.wait_for_function(f"{STATUS}.startsWith('Done: 1 image')")
    boosted = 3, time.perf_counter() - began
    page.locator("#figure-of-this").click()  # 4
    page.locator("#drawn-pdf").wait_for()
    with page.expect_download() as waiting:
        page.locator("#drawn-pdf").click()  # 5
    waiting.value.save_as(folder / "figure.pdf")
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")
    page.close()
    return boosted, (5, time.perf_counter() - began)


def starts(runs: int, folder: str) -> None:
    """How long the server takes to answer, beside what importing its libraries takes in the same minute."""
    imports, answers = [], []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import gradio, torch"], check=True)
        imports.append(time.perf_counter() - began)
        process, _, answered = start_server(folder)
        answers.append(answered)
        process.terminate()
        process.wait(20)
    tell("importing gradio and torch", imports)
    tell("start of the server until it answers", answers)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], choices=sorted(MODELS))
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':56}{'median':>10} {'95 %':>10} {'runs':>5}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        starts(options.starts, folder)
        process, address, _ = start_server(folder)
        try:
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page, first = opened(browser, address, options.images, 10)
            stood = [first]
            for _ in range(8):
                another, taken = opened(browser, address, options.images, 10)
                another.close()
                stood.append(taken)
            tell("the page until it stands", stood)
            waits([page])  # the first run of a server loads what later ones find loaded
            alone = [waits([page])[0] for _ in range(options.runs)]
            name = f"{options.images} images of 64 pixels, ten steps"
            tell(f"{name}: Boost to first preview", [preview for preview, _ in alone])
            tell(f"{name}: Boost to done", [done for _, done in alone])
            page.close()
            for side in options.sizes:
                page = finished(browser, address, side, options.images)
                touched(page, side, options.images, options.runs)
                page.close()
            for what, (clicks, seconds) in zip(
                ("own boosted photograph", "PDF of it"), first_photograph(browser, address, Path(folder)), strict=True
            ):
                print(f"opening to {what}: {clicks} clicks and the file dialog, {seconds:.1f} s")
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
