"""Links that restore the Boost tab, and the papers' settings by name, as a visitor uses them."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect
from serving import Server


def box(page: Page, label: str) -> Locator:
    """The number box of this label."""
    return page.get_by_label(label).and_(page.locator("input[type=number]")).first


def test_a_link_made_here_restores_the_controls_elsewhere(page: Page, server: Server) -> None:
    page.goto(f"{server.url}?tab=boost&generator=cifar10-dcgan&eps=1.5&steps=12&seed=5&count=3&target=Estimated")
    page.get_by_role("button", name="All settings").click()
    expect(box(page, "Strength ε")).to_have_value("1.5")
    expect(box(page, "Steps T")).to_have_value("12")
    expect(box(page, "Seed")).to_have_value("5")
    expect(page.get_by_label("Classes to draw")).to_be_hidden()  # an unconditional generator
    page.get_by_label("The papers' settings").click()
    page.get_by_role("option", name="StyleGAN2-ADA (P1 Table 1").click()
    expect(box(page, "Strength ε")).to_have_value("0.14")
    expect(box(page, "Steps T")).to_have_value("30")
    page.get_by_role("button", name="Link to these settings").click()
    shown = page.locator("#boost-link textarea, #boost-link input")
    expect(shown).to_have_value(re.compile(re.escape(server.url) + r"\?tab=boost&"))
    made = parse_qs(urlsplit(shown.input_value()).query)
    assert {name: made[name] for name in ("tab", "generator", "eps", "seed")} == {
        "tab": ["boost"], "generator": ["cifar10-dcgan"], "eps": ["0.14"], "seed": ["5"],
    }  # fmt: skip
    page.goto(shown.input_value())
    expect(box(page, "Strength ε")).to_have_value("0.14")
    page.get_by_role("button", name="All settings").click()
    expect(box(page, "Steps T")).to_have_value("30")
    expect(box(page, "Seed")).to_have_value("5")


def test_a_link_that_asks_for_too_much_says_so_and_restores_the_rest(page: Page, server: Server) -> None:
    page.goto(f"{server.url}?tab=boost&eps=99&steps=12&shell=rm")
    expect(page.get_by_text("there is no control 'shell'")).to_be_visible()
    expect(page.get_by_text("eps: it takes a number from 0 to 16, not 99")).to_be_visible()
    page.get_by_role("button", name="All settings").click()
    expect(box(page, "Steps T")).to_have_value("12")
