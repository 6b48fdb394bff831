"""Boosting with a joint model on the page: its losses, how real images read, and what is left untouched."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client
from playwright.sync_api import Page, expect
from serving import Server, visit

import bigroc_core as bc
from bigroc_core.images.reading import read_image
from bigroc_core.losses import realism

STATUS = "document.querySelector('#status .status span').innerText"
JOINT = "?tab=boost&generator=cifar10-ct&count=6&classifier=cifar10-joint&loss=combined&stop_at=l0&eps=1.5&steps=6"
LOSSES = ", ".join(f"input[type=radio][value={name}]" for name in ("ce", "bce", "ce-bce", "combined"))
THIRD_LINE = "cards => cards.map(card => card.querySelectorAll('.line')[2].innerText)"
SAME = "cards => cards.map(card => new Set([...card.querySelectorAll('img')].map(image => image.src)).size === 1)"


def boost(page: Page) -> None:
    page.evaluate("document.querySelector('#status .status span').innerText = ''")
    page.locator("#boost").click()
    page.wait_for_function(f"{STATUS}.includes('Done')")


def follow(page: Page, link: str, count: str) -> None:
    """Open a link, and wait until its controls are restored."""
    visit(page, link)
    page.wait_for_selector("#grid .pair")
    expect(page.get_by_label("number input for Images").first).to_have_value(count)


def test_the_losses_are_those_that_the_classifier_can_do_each_with_a_line(page: Page) -> None:
    offered = page.locator(LOSSES)
    offered.first.wait_for()
    can = "inputs => inputs.filter(i => !i.disabled).map(i => i.value)"
    assert offered.evaluate_all(can) == ["ce"]
    page.get_by_label("Classifier", exact=True).first.click()
    page.get_by_role("option", name="Joint ResNet-9", exact=True).click()
    expect(page.locator("input[type=radio][value=combined]")).to_be_enabled()
    assert offered.evaluate_all(can) == ["ce", "bce", "ce-bce", "combined"]
    lines = offered.evaluate_all("inputs => inputs.map(i => i.closest('label').innerText.trim())")
    assert all(len(line) > 20 for line in lines)
    page.locator("input[type=radio][value=combined]").check()
    page.get_by_label("Classifier", exact=True).first.click()
    page.get_by_role("option", name="Standard ResNet-9", exact=True).click()
    expect(page.locator("input[type=radio][value=combined]")).to_be_disabled()
    assert page.locator("input[type=radio][value=ce]").is_checked()


def test_its_preset_brings_its_loss_and_its_early_stop(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?tab=boost&generator=cifar10-ct")
    page.get_by_role("button", name="All settings").click()
    page.locator("input[type=radio][value=cifar10-joint]").check()
    expect(page.locator("input[type=radio][value=combined]")).to_be_checked()
    expect(page.get_by_label("Stop early at").first).to_have_value("l0")
    expect(page.get_by_label("Classifier", exact=True).first).to_have_value("Joint ResNet-9")


def test_readings_of_realism_are_those_of_the_downloaded_files(
    empty_page: Page, server: Server, tmp_path: Path
) -> None:
    follow(empty_page, server.url + JOINT, "6")
    boost(empty_page)
    with empty_page.expect_download() as waiting:
        empty_page.locator("#download").click()
    waiting.value.save_as(tmp_path / "boosted.zip")
    with zipfile.ZipFile(tmp_path / "boosted.zip") as archive:
        archive.extractall(tmp_path)
        table = list(csv.DictReader(io.StringIO(archive.read("results.csv").decode())))
    classifier = bc.load_classifier("cifar10-joint")
    for folder, column in (("original", "realism before"), ("boosted", "realism after")):
        files = sorted((tmp_path / folder).iterdir())
        images = torch.stack([read_image(file, size=(32, 32)).pixels for file in files])
        labels = torch.tensor([classifier.classes.index(row["target y"]) for row in table])
        with torch.inference_mode():
            found = realism(classifier(images), labels)
        assert np.allclose([float(row[column]) for row in table], found, atol=2e-3)
    shown = empty_page.locator("#grid .pair").evaluate_all(THIRD_LINE)
    for text, row in zip(shown, table, strict=True):
        read = [float(number) for number in re.findall(r"[0-9.]+", text)]
        assert np.allclose(read, [float(row["realism before"]), float(row["realism after"])], atol=6e-3)
    assert np.mean([float(row["realism after"]) for row in table]) > np.mean(
        [float(row["realism before"]) for row in table]
    )
    assert "of real images" in empty_page.locator("#closeup").inner_text()


def test_what_starts_as_real_is_left_untouched_and_shown_so(empty_page: Page, server: Server) -> None:
    # At p ≥ 0.2 some of these images rest before the first step.
    follow(empty_page, server.url + JOINT.replace("stop_at=l0", "stop_at=0.2").replace("count=6", "count=12"), "12")
    boost(empty_page)
    cards = empty_page.locator("#grid .pair")
    same = cards.evaluate_all(SAME)
    said = cards.evaluate_all("cards => cards.map(c => c.innerText.includes('untouched'))")
    assert said == same
    assert 0 < sum(said) < 12
    assert f"{sum(said)} of 12" in empty_page.locator("#facts").inner_text()
    cards.nth(said.index(True)).click()
    empty_page.wait_for_function("document.querySelector('#closeup').innerText.includes('left it untouched')")


def test_what_only_a_joint_model_can_do_is_refused_with_another(client: Client) -> None:
    for asked in ({"loss": "combined"}, {"loss": "bce"}, {"stop_at": "l0"}):
        with pytest.raises(Exception, match="joint model"):
            client.predict(count=1, steps=1, classifier="cifar10-robust", api_name="/boost", **asked)
    with pytest.raises(Exception, match="Loss: one of"):
        client.predict(count=1, steps=1, loss="wasserstein", api_name="/boost")
    *_, table, _, python, command, _ = client.predict(
        count=2, steps=2, eps=1.0, classifier="cifar10-joint", loss="combined", stop_at="l0", api_name="/boost"
    )
    assert table["headers"][-2:] == ["realism before", "realism after"]
    assert "loss='combined', gradient='normalized', stop_at='l0'" in python
    assert "--loss combined" in command
    assert "--stop-at l0" in command
