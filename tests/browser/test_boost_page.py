"""The Boost tab as a visitor uses it."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page
from serving import Server, open_tab

import bigroc_core as bc
from bigroc_core.images import read_image

STATUS = "document.querySelector('#status .status span').innerText"


def boost(page: Page, wait_for: str = "Done") -> None:
    """Press Boost and wait for this run's status to say so."""
    page.evaluate("document.querySelector('#status .status span').innerText = ''")
    page.locator("#boost").click()
    page.wait_for_function(f"{STATUS}.includes('{wait_for}')")


def set_number(page: Page, selector: str, value: float) -> None:
    """Type a value into a slider's number box, as a keyboard user does."""
    box = page.locator(f"{selector} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def type_into(page: Page, label: str, value: str) -> None:
    """Type into the control with this label."""
    box = page.get_by_label(label).and_(page.locator("input[type=number], textarea, input[type=text]")).first
    box.fill(value)
    box.press("Tab")
    page.wait_for_timeout(150)  # until the page has taken the value over, which a busy machine delays
    page.evaluate("() => new Promise((done) => requestIdleCallback(done, { timeout: 3000 }))")


def download(page: Page, folder: Path) -> zipfile.ZipFile:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    path = folder / "boosted.zip"
    waiting.value.save_as(path)
    return zipfile.ZipFile(path)


def pictures(page: Page, which: str) -> list[str]:
    """The addresses (the pixels themselves) of the grid's pictures: "original" or "boosted"."""
    return page.eval_on_selector_all(f"#grid img[alt^='{which}']", "images => images.map(image => image.src)")


def test_it_opens_with_a_finished_example_and_nothing_empty(page: Page) -> None:
    assert page.evaluate(STATUS).startswith("An example to begin with: 16 images")
    assert page.locator("#grid .pair").count() == 16
    assert len(set(pictures(page, "boosted"))) == 16
    assert set(pictures(page, "original")).isdisjoint(pictures(page, "boosted"))
    sizes = page.eval_on_selector_all("#grid img", "images => images.map(i => [i.complete, i.naturalWidth])")
    assert sizes == [[True, sizes[0][1]]] * 32
    assert sizes[0][1] >= 32
    assert page.locator("#compare img").count() == 2
    ours = "#grid img, #closeup img, #compare img"
    smoothing = page.eval_on_selector_all(ours, "images => images.map(i => getComputedStyle(i).imageRendering)")
    assert set(smoothing) == {"pixelated"}


def test_a_run_streams_and_its_numbers_are_those_of_the_downloaded_files(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="All settings").click()
    type_into(page, "Steps T", "40")
    page.evaluate(
        """() => { window.seen = []; new MutationObserver(() => window.seen.push(
             [document.querySelector('#status .status span').innerText, document.querySelector('#grid').offsetHeight]))
             .observe(document.querySelector('#status').parentElement,
                      {subtree: true, childList: true, characterData: true}); }"""
    )
    boost(page)
    seen = page.evaluate("window.seen")
    steps = {int(found.group(1)) for text, _ in seen if (found := re.match(r"step (\d+) / \d+ ", text))}
    assert len(steps) >= 3, "previews while PGD runs"
    assert len({height for _, height in seen}) == 1, "no layout jumps"

    archive = download(page, tmp_path)
    names = archive.namelist()
    assert len([name for name in names if name.startswith("original/")]) == 16
    boosted = sorted(name for name in names if name.startswith("boosted/"))
    images = torch.stack([read_image(archive.read(name), name=name).pixels for name in boosted])
    before = torch.stack([read_image(archive.read(n.replace("boosted", "original"))).pixels for n in boosted])
    settings = json.loads(archive.read("settings.json"))
    classifier = bc.load_classifier(settings["classifier"], device="cpu")
    targets = torch.tensor([classifier.classes.index(name[:-4].split("-")[1]) for name in boosted])
    with torch.inference_mode():
        p = classifier(images).softmax(1).gather(1, targets[:, None])[:, 0]
    lengths = (images - before).flatten(1).norm(dim=1)
    assert float(lengths.max()) <= settings["eps"] + 0.1  # 8-bit rounding: at most 0.5/255 per value
    rows = list(csv.DictReader(io.StringIO(archive.read("results.csv").decode())))
    np.testing.assert_allclose([float(row["p(y|x) after"]) for row in rows], p.numpy(), atol=1e-3)
    np.testing.assert_allclose([float(row["‖δ‖₂"]) for row in rows], lengths.numpy(), atol=1e-3)
    shown = page.locator("#grid .pair").first.inner_text()
    assert f"{lengths[0]:.2f}" in shown
    assert f"{100 * p[0]:.1f} %" in shown


def test_the_step_slider_shows_the_run_from_its_originals_to_its_end(page: Page) -> None:
    end = pictures(page, "boosted")
    last = page.locator("#step input[type=number]").get_attribute("max")
    set_number(page, "#step", 0)
    page.wait_for_function("document.querySelector('#closeup').innerText.includes('step 0')")
    assert pictures(page, "boosted") == pictures(page, "original")
    assert "‖δ‖₂ 0.00" in page.locator("#closeup").inner_text()
    set_number(page, "#step", float(last or 0))
    page.wait_for_function(f"document.querySelector('#closeup').innerText.includes('step {last}')")
    assert pictures(page, "boosted") == end


def test_a_card_chosen_by_keyboard_is_shown_large(page: Page) -> None:
    page.locator("#grid .pair").nth(4).focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#closeup').innerText.includes('Image 5')")
    assert page.locator("#grid .pair[aria-pressed=true]").get_attribute("data-index") == "4"


def test_cancel_stops_the_computation_and_keeps_what_was_reached(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="All settings").click()
    type_into(page, "Images", "16")
    type_into(page, "Steps T", "200")
    boost(page, wait_for="step ")
    page.locator("#cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled after step')")
    reached = int(re.search(r"step (\d+) / 200", page.evaluate(STATUS)).group(1))  # type: ignore[union-attr]
    assert reached < 200
    assert json.loads(download(page, tmp_path).read("settings.json"))["cancelled_after_step"] == reached
    # The compute is free again: 200 steps would hold it for many seconds.
    type_into(page, "Images", "1")
    type_into(page, "Steps T", "2")
    boost(page)
    assert page.locator("#grid .pair").count() == 1


def test_uploads_are_read_explained_and_boosted(page: Page, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8))
    photo.save(tmp_path / "wide.jpg")
    photo.quantize(16).save(tmp_path / "moving.gif", save_all=True, append_images=[photo.quantize(8)] * 2)
    (tmp_path / "no.png").write_bytes(b"this is text")
    whole = io.BytesIO()
    photo.save(whole, "PNG")
    (tmp_path / "half.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    page.get_by_text("Upload", exact=True).click()
    page.locator("#boost").click()
    page.get_by_text("Add an image first").wait_for()

    page.locator("#upload input[type=file]").set_input_files(
        [tmp_path / name for name in ("wide.jpg", "moving.gif", "no.png", "half.png")]
    )
    page.get_by_text("2 of 4 images ready").wait_for()
    said = page.locator(".inset").all_text_contents()  # notes are folded
    for words in ("the first of several frames", "no.png: is not an image", "half.png: is truncated"):
        assert any(words in text for text in said), words
    boost(page)
    assert page.locator("#grid .pair").count() == 2
    assert "left out: no.png" in page.evaluate(STATUS)


def test_an_impossible_setting_is_explained_at_its_control_and_the_next_run_works(page: Page) -> None:
    page.get_by_role("button", name="All settings").click()
    type_into(page, "Step size α", "-1")
    type_into(page, "Stop early at", "3")
    before = page.evaluate(STATUS)
    page.locator("#boost").click()
    page.get_by_text("In All settings: Step size α must be").wait_for()
    page.get_by_text("Stop early at p(y|x) ≥ must be").wait_for()
    assert page.evaluate(STATUS) == before
    type_into(page, "Step size α", "")
    type_into(page, "Stop early at", "")
    type_into(page, "Images", "2")
    type_into(page, "Steps T", "2")
    boost(page)


def test_the_python_it_shows_repeats_the_run(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.get_by_role("button", name="Repeat this run").click()
    page.locator("#python .cm-content").wait_for()
    script = "\n".join(page.eval_on_selector_all("#python .cm-line", "lines => lines.map(l => l.textContent)"))
    archive = download(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "shown on the page", "exec"), {})
    boosted = sorted(name for name in archive.namelist() if name.startswith("boosted/"))
    assert len(boosted) == 16
    for number, name in enumerate(boosted, 1):
        mine = read_image(tmp_path / "boosted" / f"{number:03d}.png").pixels
        theirs = read_image(archive.read(name)).pixels
        # Rounding differs with the number of threads, and the network amplifies it over the steps.
        assert float((mine - theirs).abs().mean()) < 0.002


def test_it_fits_a_phone_and_follows_the_dark_theme(empty_page: Page, server: Server) -> None:
    page = empty_page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.url}?__theme=dark")
    for tab in ("Boost", "Debias", "About"):
        open_tab(page, tab)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == 390, tab
    open_tab(page, "Boost")
    page.get_by_role("button", name="All numbers").first.click()
    table = page.locator("#table .virtual-table-viewport")
    table.wait_for()
    assert table.evaluate("table => table.scrollWidth > table.clientWidth"), "the table scrolls by itself"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.body.classList.contains('dark')")
