"""The Debias tab as a visitor uses it."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from pathlib import Path

import torch
from playwright.sync_api import Page, expect

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.debiasing import class_histogram, histogram_entropy
from bigroc_core.figures.recipe import recipe_in
from bigroc_core.images import encode_png, from_uint8, to_uint8

STATUS = "document.querySelector('#debias-status .status span').innerText"


def set_slider(page: Page, label: str, value: int) -> None:
    box = page.get_by_label(f"number input for {label}").and_(page.locator("input:visible")).first
    box.fill(str(value))
    box.press("Tab")


def test_histograms_and_marks_are_those_of_equation_2(page: Page) -> None:
    page.get_by_role("tab", name="Debias").click()
    assert page.locator("#histograms .histogram").count() == 2
    set_slider(page, "Images", 120)
    set_slider(page, "Validation set size", 100)
    page.evaluate("document.querySelector('#debias-status .status span').innerText = ''")
    page.locator("#debias").click()
    page.wait_for_function(f"{STATUS}.includes('120 images')")

    page.get_by_role("button", name="Settings and result as JSON").click()
    # The editor draws its lines a moment after the panel opens; its last one closes the object.
    page.locator(".cm-line:visible").filter(has_text=re.compile(r"^\}$")).wait_for()
    shown = json.loads("".join(page.eval_on_selector_all(".cm-line:visible", "ls => ls.map(l => l.textContent)")))
    assert (shown["count"], shown["validation_count"]) == (120, 100)
    generator = bc.load_generator(shown["generator"])
    classifier = bc.load_classifier(shown["classifier"], device="cpu")
    held_out, _ = generator.sample(100, seed=shown["validation_seed"])
    images, _ = generator.sample(120, seed=shown["seed"])
    shift = bc.fit_debias(classifier, from_uint8(to_uint8(held_out)))
    logits = logits_of(classifier, from_uint8(to_uint8(images)))
    torch.testing.assert_close(torch.tensor(shown["d"]), shift, atol=1e-4, rtol=0)
    plain, debiased = logits.argmax(1), (logits + shift).argmax(1)
    changed = int((plain != debiased).sum())
    assert f"{changed} change class" in page.evaluate(STATUS)
    assert page.locator("#changes figure.changed").count() == min(changed, 96)
    for side, labels in (("without", plain), ("with", debiased)):
        counts = class_histogram(labels, len(classifier.classes))
        bars = page.locator(f"#histograms .histogram.{side}")
        assert [int(text) for text in bars.locator("td.value").all_inner_texts()] == counts.tolist()
        assert f"{histogram_entropy(counts):.3f} nats" in bars.locator("caption").inner_text()


def test_a_validation_set_that_is_not_separate_is_refused_at_its_control(page: Page) -> None:
    page.get_by_role("tab", name="Debias").click()
    box = page.get_by_label("Validation seed").and_(page.locator("input:visible"))
    box.fill("0")
    box.press("Tab")
    page.locator("#debias").click()
    page.get_by_text("the two sets have to be separate").wait_for()


def test_cancel_ends_a_study(page: Page) -> None:
    page.get_by_role("tab", name="Debias").click()
    set_slider(page, "Images", 2000)
    set_slider(page, "Validation set size", 2000)
    page.locator("#debias").click()
    page.wait_for_function(f"{STATUS}.includes('/ 2,000')")
    page.locator("#debias-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled at')")


def test_images_of_ones_own_come_back_as_a_zip_and_as_a_figure(page: Page, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as mine:
        for number in range(24):
            image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(number))
            mine.writestr(f"{number:02d}.png", encode_png(image))
    page.get_by_role("tab", name="Debias").click()
    # What the tab opens with is of as many images as its controls say.
    expect(page.locator("#debias-status")).to_contain_text("200 images; d fitted on 1,000")
    page.locator("#debias-figure-of-this").click()
    page.locator("#debias-drawn-pdf").wait_for()
    with page.expect_download() as download:
        page.locator("#debias-drawn-pdf").click()
    download.value.save_as(tmp_path / "debias.pdf")
    assert sum(recipe_in(tmp_path / "debias.pdf").settings["with"]) == 200

    page.locator("input[type=radio][value=Upload]:visible").check()
    page.locator("#debias").click()
    expect(page.get_by_text("Add images, a zip or an .npz first").first).to_be_visible()
    page.locator("#debias-upload input[type=file]").set_input_files(tmp_path / "mine.zip")
    expect(page.locator("#debias-note")).to_contain_text("24 images, 30×20 pixels")
    expect(page.locator("#debias-note")).to_contain_text("kept as they are")
    page.locator("#debias").click()
    expect(page.locator("#debias-status")).to_contain_text("12 images; d fitted on 12")
    # The figure was of the study before; and the files follow the one that is shown.
    expect(page.locator("#debias-drawn")).to_be_hidden()
    page.get_by_role("button", name="Repeat this: Python").and_(page.locator(":visible")).click()
    expect(page.locator("#debias-command .cm-content")).to_contain_text("boost images boosted")
    with page.expect_download() as download:
        page.locator("#debias-download").click()
    with zipfile.ZipFile(download.value.path()) as taken:
        rows = list(csv.DictReader(taken.read("results.csv").decode().splitlines()))
        assert [row["came as"] for row in rows][:2] == ["mine.zip/00.png", "mine.zip/02.png"]
        assert {f"images/{row['file']}" for row in rows} <= set(taken.namelist())
        assert json.loads(taken.read("settings.json"))["files"] == ["mine.zip"]
