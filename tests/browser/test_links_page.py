"""Links that restore a tab, and the papers' settings by name, as a visitor uses them."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect
from serving import Server, visit


@pytest.fixture
def page(empty_page: Page) -> Page:
    """Nothing is loaded yet: each of these begins with a link."""
    return empty_page


def box(page: Page, label: str) -> Locator:
    """The number box of this label."""
    return page.get_by_label(label).and_(page.locator("input[type=number]")).first


def test_a_link_made_here_restores_the_controls_elsewhere(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?tab=boost&generator=cifar10-dcgan&eps=1.5&steps=12&seed=5&count=3&target=Estimated")
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
        "tab": ["boost"],
        "generator": ["cifar10-dcgan"],
        "eps": ["0.14"],
        "seed": ["5"],
    }
    visit(page, shown.input_value())
    expect(box(page, "Strength ε")).to_have_value("0.14")
    page.get_by_role("button", name="All settings").click()
    expect(box(page, "Steps T")).to_have_value("30")
    expect(box(page, "Seed")).to_have_value("5")


def test_a_link_that_asks_for_too_much_says_so_and_restores_the_rest(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?tab=boost&eps=9999&steps=12&shell=rm")
    expect(page.get_by_text("there is no control 'shell'")).to_be_visible()
    expect(page.get_by_text("eps: it takes a number from 0 to 1800, not 9999")).to_be_visible()
    page.get_by_role("button", name="All settings").click()
    expect(box(page, "Steps T")).to_have_value("12")


def test_tabs_without_controls_have_links_too(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?tab=about")
    expect(page.get_by_role("tab", name="About")).to_have_attribute("aria-selected", "true")
    visit(page, f"{server.url}?tab=generators")
    expect(page.get_by_role("tab", name="Generators")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".maker img").first).to_be_visible()  # its samples are drawn when it is looked at


@pytest.mark.parametrize(
    ("tab", "inner", "asked"),
    [
        ("Debias", None, {"tab": "debias", "classifier": "cifar10-standard", "count": "70", "validation_seed": "9"}),
        (
            "Threat models",
            "Every class",
            {"tab": "every-class", "source": "Examples", "example": "church-58.png", "eps": "7.5", "stop_at": ""},
        ),
        (
            "Interpolate",
            None,
            {
                "tab": "interpolate",
                "source": "Generator",
                "source_generator": "cifar10-cgan",
                "source_class": "dog",
                "target_example": "tench-86.png",
                "fractions": "0.25, 0.75",
                "warm_start": "true",
            },
        ),
        (
            "Evaluate",
            None,
            {
                "tab": "evaluate",
                "generator": "cifar10-dcgan",
                "eps_from": "Find it by a sweep",
                "norm": "linf",
                "eps": "0.125",
                "compare_with": "",
                "debias": "150",
                "seeds": "3",
            },
        ),
    ],
)
def test_the_link_of_a_restored_tab_is_the_one_that_was_followed(
    page: Page, server: Server, tab: str, inner: str | None, asked: dict[str, str]
) -> None:
    visit(page, f"{server.url}?{urlencode(asked)}")
    for name in (tab, inner) if inner else (tab,):
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
    # Anything that followed the values, and changed them again, would have done so by now.
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Link to these settings").and_(page.locator(":visible")).click()
    shown = page.locator(f"#{asked['tab']}-link textarea")
    expect(shown).to_have_value(re.compile("tab="))
    made = parse_qs(urlsplit(shown.input_value()).query, keep_blank_values=True)
    assert {name: made.get(name) for name in asked} == {name: [value] for name, value in asked.items()}
    if tab == "Interpolate":
        expect(page.get_by_label("Source: class")).to_be_visible()
        expect(page.get_by_label("Target: example")).to_be_visible()
    if tab == "Evaluate":
        expect(box(page, "Largest ε tried")).to_have_value("0.125")
        page.get_by_role("button", name="Controls and other metrics").click()
        expect(page.get_by_label("Debias targets with (images)").first).to_be_visible()
