"""A finished run under a visitor's hands: its strength moved, its classes clicked, its images painted on; a reload
loses nothing of it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect
from serving import Server, open_tab, visit

STATUS = "document.querySelector('#status .status span').innerText"
SHOWN = "document.querySelector('#status .status span').dataset.shown"
OWN_STRENGTHS = """(() => {
  const run = document.querySelector('#grid .pairs').dataset.run;
  return Boolean(run) && document.querySelector('#strengths pre')?.dataset.run === run;
})()"""


def boosted(page: Page) -> list[str]:
    return page.eval_on_selector_all("#grid img[alt^='boosted']", "images => images.map(image => image.src)")


class Uploads:
    """What the canvas sends of every stroke, for seconds; a page that is left meanwhile breaks it off."""

    def __init__(self, page: Page) -> None:
        self.page, self.pending = page, 0
        page.on("request", lambda request: self._count(request.url, 1))
        for event in ("requestfinished", "requestfailed"):
            page.on(event, lambda request: self._count(request.url, -1))

    def _count(self, address: str, by: int) -> None:
        self.pending += by * address.endswith("/upload")

    def wait(self) -> None:
        quiet = 0
        while quiet < 3:
            self.page.wait_for_timeout(400)
            quiet = 0 if self.pending else quiet + 1


def value(page: Page, selector: str) -> str:
    return page.locator(f"{selector} input[type=number]").input_value()


def test_strength_class_and_brush_change_a_finished_run_and_a_reload_keeps_it(
    empty_page: Page, server: Server, tmp_path: Path
) -> None:
    page, uploads = empty_page, Uploads(empty_page)
    visit(page, f"{server.url}?tab=boost&generator=cifar10-cgan&count=2&steps=2&eps=1&run=boost")
    page.wait_for_selector("#grid .pair")
    page.wait_for_function(f"{STATUS}.includes('Done: 2 images')")
    # Moved: the pictures follow in the browser itself; let go: the run is made anew.
    page.locator("#eps").hover()
    page.wait_for_function(OWN_STRENGTHS)
    slider = page.locator("#eps input[type=range]").bounding_box()
    assert slider is not None
    middle, at_one = slider["y"] + slider["height"] / 2, boosted(page)
    page.mouse.move(slider["x"] + slider["width"] / 16, middle)
    page.mouse.down()
    page.mouse.move(slider["x"] + slider["width"] / 2, middle)
    page.wait_for_function(f"{SHOWN}?.includes('of 8 computed in 2 steps')")
    followed = boosted(page)
    assert set(followed).isdisjoint(at_one)
    assert "ε 9" in page.evaluate(SHOWN) or "ε 6.25" in page.evaluate(SHOWN)
    page.mouse.up()
    page.wait_for_function(f"{STATUS}.includes('ε {float(value(page, '#eps')):g} (L2)')")
    assert set(boosted(page)).isdisjoint(at_one + followed)
    # Clicked: this image alone is moved towards the class.
    before = boosted(page)
    page.locator("#closeup [data-class=ship]").click()
    page.wait_for_function(f"{STATUS}.includes('Image 1 repainted towards ship')")
    assert [one == two for one, two in zip(before, boosted(page), strict=True)] == [False, True]
    expect(page.locator("#grid .pair").first).to_contain_text("ship")
    # And the strengths are those of this class from now on.
    page.wait_for_function(OWN_STRENGTHS)
    # Painted: outside the paint nothing changes.
    page.get_by_role("button", name="Where images may change").click()
    canvas = page.locator("#mask-canvas canvas").first
    canvas.wait_for()
    expect(page.locator("#mask-canvas")).to_contain_text("Paint where image 1 may change")
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)  # until the canvas has drawn the image, of which nothing tells
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2 + 10, steps=5)
    page.mouse.up()
    expect(page.locator("#mask-note")).to_contain_text("Marked: image 1")
    page.locator("#boost").click()
    page.wait_for_function(f"{STATUS}.includes('Done')")
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "boosted.zip")
    with zipfile.ZipFile(tmp_path / "boosted.zip") as archive:
        name = next(name for name in archive.namelist() if name.startswith("masks/001"))
        mask, came, went = (
            np.asarray(Image.open(io.BytesIO(archive.read(name.replace("masks", folder)))))
            for folder in ("masks", "original", "boosted")
        )
        assert 0 < (mask > 0).mean() < 0.5
        assert ((came != went) <= (mask > 0)).all()
        eps = json.loads(archive.read("settings.json"))["eps"]
    # Loaded again: the same run, with its settings and its masks.
    page.wait_for_function("location.search.includes('run=boost')")
    shown, status = boosted(page), page.evaluate(STATUS)
    uploads.wait()
    page.reload()
    page.wait_for_selector("#grid .pair")
    page.wait_for_function(f"{STATUS} === {json.dumps(status)}")
    assert boosted(page) == shown
    assert float(value(page, "#eps")) == eps
    assert value(page, "#steps") == "2"
    # Other images under their numbers: the masks are not theirs.
    page.get_by_role("button", name="Where images may change").click()
    expect(page.locator("#mask-note")).to_contain_text("Marked: image 1")
    page.get_by_label("Seed", exact=True).first.fill("7")
    expect(page.locator("#mask-note")).to_contain_text("Nothing is marked")
    # Elsewhere: the download itself brings the settings back.
    visit(page, server.url)
    page.get_by_role("button", name="All settings").click()
    page.locator("#settings-file input[type=file]").set_input_files(tmp_path / "boosted.zip")
    expect(page.locator("#eps input[type=number]")).to_have_value(f"{eps:g}")
    expect(page.locator("#steps input[type=number]")).to_have_value("2")
    expect(page.get_by_text("The masks are not in the settings")).to_be_visible()


def test_tabs_have_addresses_and_back_goes_to_the_one_before(page: Page, server: Server) -> None:
    for name, tab in (("Debias", "debias"), ("Threat models", "threat-models"), ("About", "about")):
        open_tab(page, name)
        page.wait_for_function(f"location.search === '?tab={tab}'")
    page.go_back()
    expect(page.get_by_role("tab", name="Threat models")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Every class").click()
    page.wait_for_function("location.search === '?tab=every-class'")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("tab", name="Debias")).to_have_attribute("aria-selected", "true")
    page.reload()
    expect(page.get_by_role("tab", name="Debias")).to_have_attribute("aria-selected", "true")
