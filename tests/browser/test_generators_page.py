"""The Generators tab as a visitor sees it, and its list as a program gets it."""

from __future__ import annotations

from gradio_client import Client
from playwright.sync_api import Page
from serving import open_tab

from bigroc_core.generators.registry import embedded_generators
from bigroc_core.generators.systems import SYSTEMS

WATCH = """() => { window.heights = []; const look = () => {
  const box = document.querySelector('#makers');
  if (box && box.offsetHeight) window.heights.push(box.offsetHeight);
  requestAnimationFrame(look); }; look(); }"""


def test_samples_come_when_the_tab_is_opened_and_nothing_moves(page: Page) -> None:
    cards = embedded_generators()
    assert page.locator(".maker img").count() == 0
    page.evaluate(WATCH)
    page.get_by_role("tab", name="Generators").click()
    page.wait_for_function(f"document.querySelectorAll('.maker img').length === {len(cards)}", timeout=90_000)
    page.wait_for_function("[...document.querySelectorAll('.maker img')].every(i => i.complete && i.naturalWidth)")
    heights = page.evaluate("window.heights")
    assert max(heights) - min(heights) <= 1, heights
    for card in cards.values():
        shown = page.locator(".maker").filter(has_text=card.name).first.inner_text()
        assert "GMAC" in shown
        assert "–.–" not in shown
    assert page.locator(".roads th[scope=row]:visible").count() == len(SYSTEMS)


def test_a_phone_shows_it_without_scrolling_sideways_or_moving(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    page.evaluate(WATCH)
    open_tab(page, "Generators")
    page.locator(".maker img").first.wait_for(timeout=90_000)
    page.wait_for_timeout(300)
    heights = page.evaluate("window.heights")
    assert max(heights) - min(heights) <= 1, heights
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # Nothing reaches out of its card, where it would be cut off.
    beyond = """cards => cards.flatMap(card => [...card.querySelectorAll('.facts, .facts *')].filter(
        one => one.getBoundingClientRect().right > card.getBoundingClientRect().right).map(one => one.innerText))"""
    assert page.locator(".maker").evaluate_all(beyond) == []


def test_a_program_gets_the_list(client: Client) -> None:
    listed = client.predict(api_name="/generators")
    assert {entry["name"] for entry in listed} == set(embedded_generators())
    assert all(entry["macs"] > 0 and entry["evaluations"] >= 1 for entry in listed)
