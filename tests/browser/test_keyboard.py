"""Every tab used with the keyboard alone: no test here moves or presses the mouse."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as Late
from serving import PATIENCE

pytestmark = pytest.mark.timeout(900)
MANY = 90  # more stops than any tab has between its name and the control that is wanted
# What a sighted person sees of the element in focus: its own outline or shadow, or its label's.
LOOK = """(element) => [element, element.closest('label')].filter(Boolean).map((one) => {
  const style = getComputedStyle(one);
  return [style.outlineStyle === 'none' ? '' : style.outline, style.boxShadow];
}).join()"""


def press_tab_until(page: Page, wanted: str, key: str = "Tab") -> None:
    """Press Tab (or Shift+Tab) until what is in focus matches the selector, in as many presses as a person might."""
    for _ in range(MANY):
        page.keyboard.press(key)
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(
        f"{wanted} is not reached by {MANY} presses of {key}; now at "
        + page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    )


def open_tab(page: Page, name: str) -> None:
    """From the top of the page to the first tab by Tab, and on to the one of this name by the arrow key."""
    press_tab_until(page, '[role="tab"]')
    for _ in range(8):
        if page.evaluate("document.activeElement.innerText") == name:
            break
        page.keyboard.press("ArrowRight")
    in_front = page.evaluate("[document.activeElement.innerText, document.activeElement.ariaSelected]")
    assert in_front == [name, "true"]
    focus_is_seen(page)


def focus_is_seen(page: Page) -> None:
    """What is in focus does not look as it does out of focus."""
    focused = page.evaluate_handle("document.activeElement").as_element()
    assert focused is not None
    page.wait_for_timeout(250)  # until the change of look has faded in
    seen = focused.evaluate(LOOK)
    focused.evaluate("(element) => element.blur()")
    page.wait_for_timeout(250)
    assert focused.evaluate(LOOK) != seen, focused.evaluate("(element) => element.outerHTML.slice(0, 200)")
    focused.evaluate("(element) => element.focus({ focusVisible: true })")


def write(page: Page, label: str, value: str) -> None:
    """Reach a number's box by its label and put another value there."""
    press_tab_until(page, f'input[aria-label="number input for {label}"]')
    page.keyboard.press("Control+A")
    page.keyboard.type(value)


def choose_the_one_before(page: Page, label: str) -> str:
    """Reach a list to choose from, take the choice before the one it has, and return it."""
    box = f'input[role="combobox"][aria-label="{label}"]'
    press_tab_until(page, box)
    before = page.locator(box).input_value()
    # The list opens with the focus, the arrow goes to the one before, Enter takes it: each once the last has been seen.
    page.get_by_role("listbox").and_(page.locator(":visible")).wait_for()
    page.keyboard.press("ArrowUp")
    page.locator('[role="option"].active:visible').and_(page.locator('[aria-selected="false"]')).wait_for()
    page.keyboard.press("Enter")
    expect(page.locator(box)).not_to_have_value(before)  # gradio takes the focus off it, and Tab goes on from there
    return page.locator(box).input_value()


def unfold(page: Page) -> None:
    """Reach the folded settings and unfold them."""
    press_tab_until(page, "button.label-wrap:not(.open)")
    while "All settings" not in page.evaluate("document.activeElement.innerText"):
        press_tab_until(page, "button.label-wrap:not(.open)")
    page.keyboard.press("Enter")
    page.get_by_label("number input for Steps T").and_(page.locator(":visible")).wait_for()


def run(page: Page, button: str, status: str, said: str, key: str = "Shift+Tab") -> None:
    """Reach the button that starts a run, press it, and see the status say so."""
    line = f"document.querySelector('#{status} .status span')"
    page.evaluate(f"{line}.innerText = ''")
    press_tab_until(page, f"#{button}", key)
    focus_is_seen(page)
    page.keyboard.press("Enter")
    page.wait_for_function(f"{line}.innerText.includes('{said}')", timeout=3_000 * PATIENCE)


def upload(page: Page, box: str, file: Path) -> None:
    """Reach a box for uploads, open the system's dialog by the space bar, and choose a file there."""
    press_tab_until(page, f"{box} button")
    focus_is_seen(page)
    for patience in (5, 5, PATIENCE):  # a box that has just been unfolded may not listen yet
        try:
            with page.expect_file_chooser(timeout=1000 * patience) as chooser:
                page.keyboard.press("Space")
            break
        except Late:
            page.locator(f"{box} button").first.focus()
    chooser.value.set_files(file)
    expect(page.locator(box)).to_contain_text(file.stem)


def figure_of_this(page: Page, name: str) -> None:
    """Reach *Make a figure of this*, press it, and reach its PDF."""
    press_tab_until(page, f"#{name}figure-of-this")
    focus_is_seen(page)
    page.keyboard.press("Enter")
    page.locator(f"#{name}drawn-pdf").wait_for()
    press_tab_until(page, f"#{name}drawn-pdf")
    focus_is_seen(page)


def test_boost(page: Page, tmp_path: Path) -> None:
    open_tab(page, "Boost")
    # A choice, and what belongs to it: the examples; and back.
    press_tab_until(page, 'input[type="radio"][value="Examples"]')
    focus_is_seen(page)
    page.keyboard.press("Space")
    page.get_by_text("images made by these generators").first.wait_for()
    press_tab_until(page, 'input[type="radio"][value="Generator"]', "Shift+Tab")
    page.keyboard.press("Space")
    page.get_by_label("number input for Images").and_(page.locator(":visible")).wait_for()
    write(page, "Images", "2")
    press_tab_until(page, 'input[type="range"]')
    focus_is_seen(page)
    page.keyboard.press("ArrowRight")
    write(page, "Steps T", "2")
    unfold(page)
    run(page, "boost", "status", "Done: 3 images")
    press_tab_until(page, '.pair[data-index="2"]')
    focus_is_seen(page)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#closeup').innerText.includes('Image 3')")
    # Another class by its button; the brush wants a hand, but a mask can be given as a file.
    press_tab_until(page, '#closeup [data-class="church"]')
    page.keyboard.press("Enter")
    expect(page.locator('#closeup [data-class="church"]')).to_have_attribute("aria-pressed", "true")
    figure_of_this(page, "")
    press_tab_until(page, "#where button.label-wrap")
    page.keyboard.press("Enter")
    expect(page.locator("#mask-canvas")).to_contain_text("Paint where image")
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(tmp_path / "001.png")
    upload(page, "#mask-files", tmp_path / "001.png")
    expect(page.locator("#mask-note")).to_contain_text("Marked: image 1")


def test_debias(page: Page, tmp_path: Path) -> None:
    open_tab(page, "Debias")
    write(page, "Images", "20")
    write(page, "Validation set size (images)", "50")
    run(page, "debias", "debias-status", "20 images; d fitted on 50", "Tab")
    press_tab_until(page, ".changes")
    focus_is_seen(page)
    figure_of_this(page, "debias-")
    # And back, to images of one's own.
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as mine:
        for number in range(4):
            stream = io.BytesIO()
            Image.fromarray(np.full((9, 9, 3), 40 * number, np.uint8)).save(stream, "PNG")
            mine.writestr(f"{number}.png", stream.getvalue())
    press_tab_until(page, '#debias-source input[value="Upload"]', "Shift+Tab")
    page.keyboard.press("Space")
    expect(page.locator("#debias-upload button").first).to_be_visible()
    upload(page, "#debias-upload", tmp_path / "mine.zip")
    run(page, "debias", "debias-status", "2 images; d fitted on 2", "Tab")


def test_threat_models_and_the_tab_within(page: Page) -> None:
    open_tab(page, "Threat models")
    write(page, "Images", "1")
    write(page, "Steps T", "1")
    run(page, "balls", "balls-status", "Done", "Tab")
    press_tab_until(page, '[role="tab"][data-tab-id="every-class"], [role="tab"][aria-selected="true"]', "Shift+Tab")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.innerText") == "Every class"
    write(page, "Steps T", "1")
    run(page, "aligned", "aligned-status", "Done", "Tab")


def test_interpolate(page: Page) -> None:
    open_tab(page, "Interpolate")
    choose_the_one_before(page, "Source: example")
    unfold(page)
    write(page, "Steps T", "1")
    run(page, "interpolate", "interpolate-status", "Done: 6 frames")


def test_evaluate_starts_and_is_cancelled(page: Page) -> None:
    open_tab(page, "Evaluate")
    write(page, "Images per seed", "1000")
    run(page, "evaluate", "evaluation-status", " s", "Tab")
    page.wait_for_function("!document.querySelector('#evaluate-cancel').disabled")
    run(page, "evaluate-cancel", "evaluation-status", "Cancelled", "Tab")
    page.wait_for_function("!document.querySelector('#evaluate').disabled")


def test_figures(page: Page) -> None:
    open_tab(page, "Figures")
    assert "Fig. 1:" in choose_the_one_before(page, "Figure")  # the tab opens with Fig. 2
    page.get_by_label("number input for Rows").and_(page.locator(":visible")).wait_for()
    write(page, "Rows", "1")
    write(page, "Columns", "1")
    unfold(page)
    write(page, "Steps T", "1")
    run(page, "figure", "figure-status", "Done")
    page.locator("#figure-caption").filter(has_text="cifar10-cgan").wait_for()


def test_what_is_only_read_is_reached_and_scrolled(page: Page) -> None:
    open_tab(page, "Generators")
    page.locator(".maker img").nth(1).wait_for()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.innerText") == "About"
    page.get_by_role("heading", name="Cite").wait_for()
    press_tab_until(page, '[aria-label="Fullscreen"]')
    focus_is_seen(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("PageDown")
    page.wait_for_function("window.scrollY > 100")
    press_tab_until(page, ".show-api")
    focus_is_seen(page)
