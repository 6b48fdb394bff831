"""The stories on top of the page, links that run, and results that say which settings they belong to."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect
from serving import visit

expect.set_options(timeout=60_000)


def test_a_story_is_one_click_and_what_it_shows_says_its_settings(page: Page) -> None:
    stories = page.locator(".story")
    assert stories.count() >= 2
    assert all(len(words) > 20 for words in stories.locator("span").all_inner_texts())
    stories.first.click()
    status = page.locator("#status")
    expect(status).to_contain_text("Done: 8 images")
    assert page.locator("#grid .pair").count() == 8
    eps = page.locator("#eps input[type=number]")
    expect(status).to_contain_text(f"ε {float(eps.input_value()):g} (L2)")
    # Once a control has moved on, it is marked so, until the next run; with Live on that would come by itself.
    page.locator("#live input").uncheck()
    eps.fill("0.3")
    eps.press("Tab")
    expect(status).to_have_class(re.compile("stale"))
    page.locator("#boost").click()
    expect(status).not_to_have_class(re.compile("stale"))
    expect(status).to_contain_text("ε 0.3 (L2)")


def test_a_link_to_a_run_runs_it(page: Page) -> None:
    page.get_by_role("button", name="Link to these settings").first.click()
    shown = page.locator("#boost-link textarea, #boost-link input")
    expect(shown).to_have_value(re.compile("run=boost"))
    link = shown.input_value()
    assert parse_qs(urlsplit(link).query)["run"] == ["boost"]
    visit(page, link.replace("count=16", "count=2"))
    expect(page.locator("#status")).to_contain_text("Done: 2 images")
