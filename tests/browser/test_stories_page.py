"""The stories on top of the page, links that run, and results that say which settings they belong to."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect
from serving import open_tab, visit

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
    # One that is refused changes nothing of that.
    page.get_by_role("button", name="All settings").first.click()
    early = page.get_by_label("Stop early at p(y|x) ≥").first
    early.fill("7")
    page.locator("#boost").click()
    expect(page.locator(".validation-error").filter(visible=True).first).to_contain_text("from 0 to 1")
    expect(status).to_have_class(re.compile("stale"))
    early.fill("")
    page.locator("#boost").click()
    expect(status).not_to_have_class(re.compile("stale"))
    expect(status).to_contain_text("ε 0.3 (L2)")
    # So it is of what is compared beneath, by the same controls, and on other tabs.
    compared = page.locator("#compared-status")
    expect(compared).to_have_class(re.compile("stale"))
    page.locator("#compared").click()
    expect(compared).not_to_have_class(re.compile("stale"))
    expect(compared).to_contain_text("Done: ")
    # Loaded again: what was compared asks for more than the run, which still has these settings.
    page.wait_for_function("location.search.includes('run=compared')")
    page.reload()
    expect(status).to_contain_text("ε 0.3 (L2)")
    expect(compared).to_contain_text("Done: ")
    expect(status).not_to_have_class(re.compile("stale"))
    open_tab(page, "Debias")
    studied = page.locator("#debias-status")
    expect(studied).not_to_have_class(re.compile("stale"))
    expect(studied).to_contain_text("through")
    page.get_by_label("Validation seed").filter(visible=True).first.fill("5")
    expect(studied).to_have_class(re.compile("stale"))


def test_a_link_to_a_run_runs_it(page: Page) -> None:
    page.get_by_role("button", name="Link to these settings").first.click()
    shown = page.locator("#boost-link textarea, #boost-link input")
    expect(shown).to_have_value(re.compile("run=boost"))
    link = shown.input_value()
    assert parse_qs(urlsplit(link).query)["run"] == ["boost"]
    visit(page, link.replace("count=16", "count=2"))
    expect(page.locator("#status")).to_contain_text("Done: 2 images")
