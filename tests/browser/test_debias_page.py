"""The Debias tab as a visitor uses it."""

from __future__ import annotations

import json
import re

import torch
from playwright.sync_api import Page

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.debiasing import class_histogram, histogram_entropy
from bigroc_core.images import from_uint8, to_uint8

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
