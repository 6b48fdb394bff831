"""A visitor's own images on the Boost tab: they keep their sizes, and the settings follow them."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments.requests import presets_of

STATUS = "document.querySelector('#status .status span').innerText"
SIZES = ((60, 40), (40, 60), (90, 90), (60, 40))


def value(page: Page, selector: str) -> float:
    return float(page.locator(f"{selector} input[type=number]").input_value())


def set_number(page: Page, selector: str, wanted: float) -> None:
    box = page.locator(f"{selector} input[type=number]")
    box.fill(str(wanted))
    box.press("Tab")
    page.wait_for_timeout(300)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A zip of pictures of several sizes."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for number, (width, height) in enumerate(SIZES):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(stream, "PNG")
            archive.writestr(f"{number}.png", stream.getvalue())
    return tmp_path / "mine.zip"


def test_images_of_several_sizes_keep_them_and_become_a_figure(page: Page, pictures: Path, tmp_path: Path) -> None:
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("#upload input[type=file]").set_input_files(pictures)
    expect(page.locator("#upload-note")).to_contain_text("4 of 4 images ready")
    expect(page.locator("#upload-note")).to_contain_text("each keeps its own size")
    expect(page.locator("#boost")).to_be_in_viewport(ratio=1)
    set_number(page, "#steps", 2)
    page.evaluate("document.querySelector('#status .status span').innerText = ''")
    page.locator("#boost").click()
    page.wait_for_function(f"{STATUS}.includes('Done')")
    expect(page.locator("#facts")).to_contain_text("/255")
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "boosted.zip")
    with zipfile.ZipFile(tmp_path / "boosted.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("boosted/"))
        assert tuple(Image.open(io.BytesIO(archive.read(name))).size for name in names) == SIZES
        assert json.loads(archive.read("settings.json"))["files"] == ["mine.zip"]
    page.locator("#figure-of-this").click()
    page.locator("#drawn-pdf").wait_for()
    with page.expect_download() as waiting:
        page.locator("#drawn-pdf").click()
    waiting.value.save_as(tmp_path / "boosted.pdf")
    assert (tmp_path / "boosted.pdf").read_bytes().startswith(b"%PDF")


def test_what_was_done_to_them_is_one_line_that_opens(page: Page, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGBA", (50, 50), (10, 20, 30, 40)).save(tmp_path / f"{number}.png")
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("#upload input[type=file]").set_input_files([tmp_path / f"{number}.png" for number in range(3)])
    notes = page.locator("#upload-note details.notes")
    expect(notes.locator("summary")).to_contain_text("2 more")
    assert not notes.locator("li").first.is_visible()
    notes.locator("summary").click()
    assert notes.locator("li").count() == 3
    assert notes.locator("li").last.is_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth === 390")


def test_a_preset_is_marked_only_while_its_values_hold(page: Page) -> None:
    marked = page.locator("#preset input:checked")
    expect(marked).to_have_count(1)
    before = value(page, "#eps")
    set_number(page, "#eps", before + 0.35)
    expect(marked).to_have_count(0)
    expect(page.locator("#origin")).to_contain_text("by hand")
    set_number(page, "#eps", before)
    expect(marked).to_have_value("recommended")
    page.locator("#preset input[value=strong]").check()
    strong = presets_of(next(iter(generator_cards())))["strong"]["eps"]
    expect(page.locator("#eps input[type=number]")).to_have_value(re.compile(rf"^{strong:g}(\.0)?$"))
    expect(page.locator("#origin")).not_to_contain_text("by hand")


def test_another_generator_leaves_norm_and_loss_as_they_are(page: Page) -> None:
    page.locator("#norm input[value=linf]").check()
    page.wait_for_function("document.querySelector('#eps input[type=number]').valueAsNumber < 1")  # L∞'s own
    eps = value(page, "#eps")
    page.locator("input[aria-label='Generator']").first.click()
    page.get_by_role("option").last.click()
    page.wait_for_timeout(1500)
    expect(page.locator("#norm input[value=linf]")).to_be_checked()
    assert value(page, "#eps") == eps


def test_losses_that_the_classifier_cannot_do_are_greyed_with_the_reason(page: Page) -> None:
    losses = page.locator("#loss input")
    expect(losses.first).to_be_attached()
    disabled = losses.evaluate_all("all => all.map(one => [one.value, one.disabled])")
    assert dict(disabled) == {"ce": False, "bce": True, "ce-bce": True, "combined": True}
    expect(page.locator("#loss")).to_contain_text("need a joint model")
