"""The Threat models tab as a visitor and as a program uses it."""

from __future__ import annotations

import json
import zipfile

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page
from serving import Server


def status(name: str) -> str:
    return f"document.querySelector('#{name}-status .status span').innerText"


def set_number(page: Page, label: str, value: str) -> None:
    box = page.get_by_label(f"number input for {label}").and_(page.locator("input:visible")).first
    box.fill(value)
    box.press("Tab")


def test_both_comparisons_open_finished_run_refuse_and_cancel(page: Page) -> None:
    page.get_by_role("tab", name="Threat models").click()
    page.locator("#balls-rows figure").first.wait_for()
    assert page.locator("#balls-rows figure").count() == 3 * 6
    set_number(page, "Images", "2")
    seed = page.get_by_label("Seed", exact=False).and_(page.locator("input[type=number]:visible")).first
    seed.fill("-1")
    seed.press("Tab")
    page.locator("#balls").click()
    page.get_by_text("whole number from 0").first.wait_for()
    seed.fill("0")
    seed.press("Tab")
    # Without a step nothing would move: the slider takes no fewer than one.
    set_number(page, "Steps T", "0")
    assert page.get_by_label("number input for Steps T").and_(page.locator("input:visible")).first.input_value() == "1"
    set_number(page, "Steps T", "2")
    page.locator("#balls").click()
    page.wait_for_function(f"{status('balls')}.includes('Done')")
    assert page.locator("#balls-rows figure").count() == 3 * 2
    with page.expect_download() as download:
        page.locator("#balls-download").click()
    files = zipfile.ZipFile(download.value.path())
    eps = json.loads(files.read("settings.json"))["linf_eps"]
    assert f"L∞, ε = {eps:.4f}" in page.locator("#balls-rows").inner_text()

    page.get_by_role("tab", name="Every class").click()
    page.locator("#aligned-rows figure").first.wait_for()
    assert page.locator("#aligned-rows figure").count() == 1 + 2 * 10
    page.get_by_text("Upload", exact=True).and_(page.locator(":visible")).click()
    page.locator("#aligned").click()
    page.get_by_text("Add an image first").first.wait_for()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"not an image"}
    page.locator("#aligned-upload input[type=file]").set_input_files(broken)
    page.get_by_role("listitem").filter(has_text="broken.png: is not an image").wait_for()
    page.get_by_text("Examples", exact=True).and_(page.locator(":visible")).click()
    set_number(page, "Steps T", "200")
    # Else all of them rest, and the run ends, sooner than it is cancelled.
    stop = page.get_by_label("Stop early").and_(page.locator("input:visible, textarea:visible")).first
    stop.fill("")
    stop.press("Tab")
    page.locator("#aligned").click()
    page.wait_for_function(f"{status('aligned')}.includes('/ 200')")
    page.locator("#aligned-cancel").click()
    page.wait_for_function(f"{status('aligned')}.includes('Cancelled after')")


def test_a_phone_needs_no_sideways_scrolling(empty_page: Page, server: Server) -> None:
    empty_page.set_viewport_size({"width": 390, "height": 844})
    empty_page.goto(f"{server.url}?tab=threat-models")
    empty_page.locator("#balls-rows figure").first.wait_for()
    empty_page.wait_for_timeout(500)
    assert empty_page.evaluate("document.documentElement.scrollWidth") == 390


def test_programs_call_them_by_name(client: Client, server: Server) -> None:
    result = client.predict(count=2, steps=1, classes=["church"], api_name="/threat_models")
    assert [row[0][:2] for row in result[2]["data"]] == ["L2", "L2", "L∞", "L∞"]
    assert json.loads(result[5])["linf_eps"] > 0
    result = client.predict(number=1, steps=1, api_name="/aligned_gradients")
    assert len(result[2]["data"]) == 20
    with pytest.raises(AppError, match="Steps T"):
        client.predict(steps=500, api_name="/threat_models")
    with pytest.raises(AppError, match="image has been uploaded"):
        client.predict(source="Upload", api_name="/aligned_gradients")
    assert "Traceback" not in server.log()
