"""The Figures tab as a visitor and as a program uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as Late
from serving import PATIENCE, Server

from bigroc_core.figures.recipe import recipe_in

STATUS = "document.querySelector('#figure-status .status span').innerText"


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Figures").click()
    page.locator("#figure-shown img").wait_for()


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label).and_(page.locator("input:visible")).first.click()
    page.get_by_role("option", name=option).first.click()


def type_into(page: Page, label: str, value: str) -> None:
    box = page.get_by_label(label).and_(page.locator("input:visible, textarea:visible")).first
    expect(box).not_to_have_value("")  # a control that appears with the figure's choice gets its value a moment after
    box.fill(value)
    box.press("Tab")
    expect(box).to_have_value(value)


def press(page: Page, button: str, said: str) -> None:
    """Press a button and see what it says; again where Gradio has put that away, as when another event ends."""
    for patience in (20, 20, PATIENCE):
        page.locator(button).click()
        try:
            page.get_by_text(said).first.wait_for(timeout=1000 * patience)
            return
        except Late:
            continue
    pytest.fail(f"{button} did not say {said!r}: {page.locator('#figure-status').inner_text()}")


def test_from_the_opening_figure_to_one_made_and_made_again(page: Page, tmp_path: Path) -> None:
    open_tab(page)
    assert page.locator("#figure-shown img").evaluate("image => image.naturalWidth") > 1500
    choose(page, "Figure", "P1 Fig. 1:")
    page.get_by_label("number input for Rows").and_(page.locator("input:visible")).wait_for()
    type_into(page, "number input for Columns", "2")
    page.get_by_role("button", name="All settings").and_(page.locator(":visible")).click()
    type_into(page, "number input for Steps T", "2")
    page.locator("#figure").click()
    page.wait_for_function(f"{STATUS}.includes('Done')")
    assert "6 images of " in page.locator("#figure-caption").inner_text()
    made = {}
    for ending in ("png", "pdf", "svg"):
        with page.expect_download() as download:
            page.locator(f"#figure-{ending}").click()
        made[ending] = tmp_path / f"made.{ending}"
        download.value.save_as(made[ending])
    assert Image.open(made["png"]).info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert recipe_in(made["png"]) == recipe_in(made["pdf"]) == recipe_in(made["svg"])

    page.get_by_role("button", name="Make a figure again").click()
    page.locator("#again-upload input[type=file]").set_input_files(made["svg"])
    page.locator("#again-upload [aria-label='made.svg']").wait_for()
    page.evaluate("document.querySelector('#figure-status .status span').innerText = ''")
    page.locator("#figure-again").click()
    # It may be of other settings than the controls show.
    page.wait_for_function(f'{STATUS}.includes("Made again from the file\'s recipe, not from the controls")')
    with page.expect_download() as download:
        page.locator("#figure-png").click()
    assert Path(download.value.path()).read_bytes() == made["png"].read_bytes()


def test_a_table_of_what_was_measured_has_no_other_controls(page: Page) -> None:
    open_tab(page)
    choose(page, "Figure", "P2 Table 1")
    expect(page.locator("#figure-upload")).to_be_hidden()
    expect(page.get_by_label("Seed").and_(page.locator("input:visible"))).to_have_count(0)
    page.locator("#figure").click()
    expect(page.locator("#figure-caption")).to_contain_text("P2 Table 1")
    choose(page, "Figure", "Side by side")
    expect(page.locator("#figure-upload")).to_be_visible()
    expect(page.get_by_label("number input for Rows").and_(page.locator("input:visible"))).to_have_value("1")


def test_problems_are_said_at_the_control_and_a_long_figure_can_be_cancelled(page: Page, tmp_path: Path) -> None:
    open_tab(page)
    choose(page, "Figure", "P1 Fig. 6:")
    type_into(page, "Pairs of images", "8")
    press(page, "#figure", "numbers of two images like 8-9")
    page.get_by_role("button", name="Make a figure again").click()
    Image.new("RGB", (8, 8)).save(tmp_path / "holiday.png")
    page.locator("#again-upload input[type=file]").set_input_files(tmp_path / "holiday.png")
    page.locator("#again-upload [aria-label='holiday.png']").wait_for()
    press(page, "#figure-again", "carries no recipe")
    # So many that it is not done before it is cancelled.
    type_into(page, "Pairs of images", "8-9, 10-11, 12-13, 14-15, 16-17, 18-19")
    page.locator("#figure").click()
    page.wait_for_function(f"{STATUS}.includes('interpolating')")
    page.locator("#figure-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled')")


def test_it_fits_a_phone(empty_page: Page, server: Server) -> None:
    empty_page.set_viewport_size({"width": 390, "height": 844})
    # On a phone the last tabs are in a menu.
    empty_page.goto(f"{server.url}?tab=figures")
    empty_page.locator("#figure-shown img").wait_for()
    empty_page.wait_for_timeout(500)
    assert empty_page.evaluate("document.documentElement.scrollWidth") == 390


def test_programs_make_figures_by_name(server: Server, tmp_path: Path) -> None:
    client = Client(server.url, verbose=False, download_files=str(tmp_path), httpx_kwargs={"timeout": PATIENCE})
    models = {"generator": "cifar10-cgan", "classifier": "cifar10-robust"}
    settings = {"figure": "fig4", **models, "rows": 1, "columns": 3, "classes": ["bird"], "steps": 2}
    *_, png, pdf, _svg, command, _recipe = client.predict(**settings, eps=2, api_name="/figure")
    assert Path(pdf).read_bytes().startswith(b"%PDF")
    assert command.startswith("python -m bigroc_core figure fig4 --generator cifar10-cgan")
    *_, again, _pdf, _svg, _command, _recipe = client.predict(handle_file(png), api_name="/figure_again")
    assert Path(again).read_bytes() == Path(png).read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    with pytest.raises(AppError, match="carries no recipe"):
        client.predict(handle_file(str(tmp_path / "other.png")), api_name="/figure_again")
    with pytest.raises(AppError, match="one of fig1, fig2"):
        client.predict(**settings | {"figure": "fig99"}, api_name="/figure")
    client.close()
    assert "Traceback" not in server.log()
