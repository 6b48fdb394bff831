"""The Interpolate tab as a visitor and as a program uses it."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect
from serving import Server

STATUS = "document.querySelector('#interpolate-status .status span').innerText"


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#strips figure").first.wait_for()


def test_from_the_opening_example_to_a_download_of_ones_own(page: Page) -> None:
    open_tab(page)
    assert page.locator("#strips .frames").count() == 2
    assert page.locator("#strips figure").count() == 2 * (6 + 1)
    assert page.locator("#strips figure.waiting").count() == 0

    box = page.get_by_label("Values of c").and_(page.locator("input:visible, textarea:visible"))
    box.fill("0.5, 2")
    page.locator("#interpolate").click()
    page.get_by_text("not 2", exact=False).first.wait_for()
    box.fill("0.5, 1")
    page.get_by_role("button", name="All settings").and_(page.locator(":visible")).click()
    steps = page.get_by_label("number input for Steps T").and_(page.locator("input:visible")).first
    steps.fill("2")
    steps.press("Tab")
    page.locator("#interpolate").click()
    page.wait_for_function(f"{STATUS}.includes('Done: 2 frames')")
    assert page.locator("#strips figure").count() == 2 * (2 + 1)
    assert "c = 0.5" in page.locator("#strips").inner_text()
    with page.expect_download() as download:
        page.locator("#interpolate-download").click()
    files = zipfile.ZipFile(download.value.path())
    assert {
        f"{name}/c-{c}.png" for name in ("imagenette64-robust", "imagenette64-standard") for c in ("0.500", "1.000")
    } <= set(files.namelist())
    assert Image.open(io.BytesIO(files.read("animation.gif"))).n_frames == 2

    steps.fill("200")
    steps.press("Tab")
    page.locator("#interpolate").click()
    page.wait_for_function(f"{STATUS}.includes('/ 800')")
    page.locator("#interpolate-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled after')")


def test_what_is_wrong_in_a_box_that_is_folded_in_is_said_in_sight(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server.url}?tab=interpolate&weights=abc")
    page.wait_for_function("document.querySelector('[role=tab][aria-selected=true]')?.innerText === 'Interpolate'")
    tab = page.get_by_role("tab", name="Interpolate").and_(page.locator(":visible"))
    expect(tab).to_be_in_viewport(ratio=0.8)  # the row cuts off a little below
    page.locator("#interpolate").click()
    # The button has gone to the results, which lie far below the controls.
    said = page.get_by_role("alert").filter(has_text="In All settings: Weights of the resolutions must be numbers")
    expect(said).to_be_in_viewport()


def test_every_visible_control_has_a_name_and_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    open_tab(page)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, button, select, [role=listbox]')]
            .filter((e) => e.offsetParent && !(e.ariaLabel || e.title || e.innerText.trim() || e.labels?.length
                || e.getAttribute('aria-labelledby'))).map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_programs_call_it_by_name_and_bad_requests_get_one_clear_sentence(client: Client, server: Server) -> None:
    result = client.predict(
        source="Generator",
        source_number=2,
        target="Generator",
        target_number=5,
        fractions="0, 1",
        steps=1,
        api_name="/interpolate",
    )
    table = next(part for part in result if isinstance(part, dict) and "headers" in part)
    assert [row[:2] for row in table["data"]] == [
        [name, c] for name in ("imagenette64-robust", "imagenette64-standard") for c in (0, 1)
    ]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"fractions": "0, nan"}, "finite"),
        ({"weights": "0 0 0"}, "all be 0"),
        ({"steps": 500}, "Steps T"),
        ({"source": "Upload"}, "no source image"),
        ({"source_example": "english_springer-34.png"}, "same image"),
    ]
    for arguments, said in bad:
        with pytest.raises(AppError) as refused:
            client.predict(**arguments, api_name="/interpolate")
        assert said.lower() in str(refused.value).lower()
    assert "Traceback" not in server.log()
