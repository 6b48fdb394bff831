"""The Boost tab's comparison of settings as a visitor and as a program uses it."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect
from serving import Server

from bigroc_core.ui.compare_panel import USUAL_STEPS

STATUS = "document.querySelector('#compared-status .status span').innerText"
FIGURES = "#compared-rows figure"


def compare(page: Page, wait_for: str) -> None:
    """Press Compare and wait for the status of this comparison to say so."""
    page.evaluate("document.querySelector('#compared-status .status span').innerText = ''")
    page.locator("#compared").click()
    page.wait_for_function(f"{STATUS}.includes('{wait_for}')")


def set_values(page: Page, text: str) -> None:
    box = page.locator("#compared-values").get_by_role("textbox")
    box.fill(text)
    box.press("Tab")


def set_number(page: Page, label: str, value: str) -> None:
    box = page.get_by_label(f"number input for {label}").and_(page.locator("input:visible")).first
    box.fill(value)
    box.press("Tab")


def rows(page: Page) -> list[str]:
    return [text.split(" mean")[0] for text in page.locator("#compared-rows h3").all_inner_texts()]


def test_it_opens_finished_runs_and_follows_the_controls_above(page: Page) -> None:
    opened = page.evaluate(STATUS)
    assert opened.startswith("An example to begin with: 4 radii on 6 images · imagenette64-vae, through ")
    assert rows(page) == ["as they came", "ε = 0.5", "ε = 1", "ε = 2", "ε = 4"]
    assert page.locator(FIGURES).count() == 5 * 6
    ours = page.eval_on_selector_all(f"{FIGURES} img", "images => images.map(i => [i.complete, i.naturalWidth])")
    assert ours == [[True, 64]] * 30

    set_number(page, "Images", "2")
    set_values(page, "1, 3")
    compare(page, "Done: 2 settings on 2 images")
    assert rows(page) == ["as they came", "ε = 1", "ε = 3"]
    assert page.locator(FIGURES).count() == 3 * 2
    with page.expect_download() as download:
        page.locator("#compared-download").click()
    files = zipfile.ZipFile(download.value.path())
    assert json.loads(files.read("settings.json"))["compared"] == {"eps": [1.0, 3.0]}
    assert len([name for name in files.namelist() if name.startswith("eps-3/")]) == 2
    page.get_by_role("button", name="Repeat the rows").click()
    expect(page.locator("#compared-command .cm-content")).to_contain_text("eps-3 --count 2 --seed 0")

    page.get_by_label("classifier", exact=True).check()
    expect(page.locator("#compared-values")).to_be_hidden()
    compare(page, "Done: 2 settings on 2 images")
    classifiers = ["imagenette64-robust", "imagenette64-standard"]
    assert rows(page) == ["as they came", *classifiers]


def test_what_cannot_be_compared_is_said_at_its_control(page: Page) -> None:
    before = page.evaluate(STATUS)
    refused = {
        "1, 2, 3, 4, 5": "at most 4 settings can be compared at once, not 5",
        "2, 2": "ε = 2 is there twice",
        "": "name 1 to 4 numbers",
        "a lot": "not 'a'",
    }
    for text, said in refused.items():
        set_values(page, text)
        page.locator("#compared").click()
        expect(page.locator("#compared-values").get_by_text(said)).to_be_visible()
    page.get_by_text("Upload", exact=True).and_(page.locator(":visible")).first.click()
    set_values(page, "1, 2")
    page.locator("#compared").click()
    expect(page.locator("#compared-values").get_by_text("In the settings above: Add an image first")).to_be_visible()
    page.get_by_label("classifier", exact=True).check()
    page.locator("#compared").click()
    refusal = page.locator("#compared-classifiers").get_by_text("In the settings above: Add an image first")
    label = page.locator("#compared-classifiers").get_by_text("Classifiers", exact=True)
    expect(refusal).to_be_visible()
    above, below = refusal.bounding_box(), label.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] <= below["y"], "the refusal does not cover the label"
    assert page.evaluate(STATUS) == before


def test_cancel_keeps_what_was_reached(page: Page) -> None:
    set_number(page, "Images", "32")  # so many that it is not done before it is cancelled
    page.get_by_label("steps T", exact=True).check()
    # What is usual for it comes a moment later, and would take the place of what was typed.
    expect(page.locator("#compared-values").get_by_role("textbox")).to_have_value(USUAL_STEPS)
    set_values(page, "1, 200")
    compare(page, "step ")
    page.wait_for_function(f"/T = 200, step [1-9]/.test({STATUS})")
    page.locator("#compared-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled after step')")
    assert re.search(r"Cancelled after step \d+ / 201", page.evaluate(STATUS))
    assert re.fullmatch(r"T = 200, step \d+ of 200", rows(page)[2])


def test_by_keyboard_alone(page: Page) -> None:
    set_number(page, "Images", "1")
    page.locator("#compared-values").get_by_role("textbox").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("0.5, 1")
    page.keyboard.press("Tab")
    page.evaluate("document.querySelector('#compared-status .status span').innerText = ''")
    assert page.evaluate("document.activeElement.innerText") == "Compare"
    page.keyboard.press("Enter")
    page.wait_for_function(f"{STATUS}.includes('Done: 2 settings on 1 image in')")
    page.locator("#compared-rows .strips").focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Originals")


def test_its_link_restores_it_with_the_controls_above(empty_page: Page, server: Server) -> None:
    empty_page.goto(f"{server.url}?tab=boost&count=3&vary=steps&values=2,4")
    box = empty_page.locator("#compared-values").get_by_role("textbox")
    expect(box).to_have_value("2,4")
    expect(empty_page.get_by_label("steps T", exact=True)).to_be_checked()
    empty_page.get_by_role("button", name="Link to this comparison").click()
    shown = empty_page.locator("#compared-link textarea, #compared-link input")
    expect(shown).to_have_value(re.compile(re.escape(server.url) + r"\?tab=boost&"))
    made = parse_qs(urlsplit(shown.input_value()).query)
    assert {name: made[name] for name in ("count", "vary", "values")} == {
        "count": ["3"],
        "vary": ["steps"],
        "values": ["2,4"],
    }


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(FIGURES).first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    strip = page.locator("#compared-rows .strips")
    assert strip.evaluate("strip => strip.scrollWidth > strip.clientWidth"), "the strip scrolls by itself"


def test_programs_call_it_by_name(client: Client, server: Server) -> None:
    status, strip, table, archive, commands, settings = client.predict(
        count=2, steps=2, vary="eps", values="0.5, 1, 2", api_name="/compare"
    )
    assert "Done: 3 settings on 2 images" in status
    assert strip.count("<figure") == 4 * 2
    assert [row[0] for row in table["data"]] == ["ε = 0.5"] * 2 + ["ε = 1"] * 2 + ["ε = 2"] * 2
    assert json.loads(settings)["compared"] == {"eps": [0.5, 1.0, 2.0]}
    assert [line.split()[5] for line in commands.splitlines()] == ["eps-0.5", "eps-1", "eps-2"]
    assert Path(archive).suffix == ".zip"
    result = client.predict(
        count=1, steps=1, vary="classifier", classifiers=["imagenette64-standard"], api_name="/compare"
    )
    assert [row[0] for row in result[2]["data"]] == ["imagenette64-standard"]
    for arguments, said in (
        ({"values": "1,2,3,4,5"}, "At most 4 settings"),
        ({"values": "1, 1"}, "twice"),
        ({"vary": "steps", "values": "201"}, "from 0 to 200"),
        ({"values": ""}, "not none"),
        ({"vary": "norm"}, "What varies"),
        ({"count": 65}, "Images"),
    ):
        with pytest.raises(AppError, match=said):
            client.predict(**arguments, api_name="/compare")
    client.predict(api_name="/cancel_compare")
    assert "Traceback" not in server.log()
