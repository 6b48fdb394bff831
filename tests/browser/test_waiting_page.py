"""Two visitors at once: who has to wait sees the place in the line, and gets the result once it is free."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect
from serving import PATIENCE, Server, visit

PICTURES = "[...document.querySelectorAll('#grid img')].map((image) => image.src)"
RAN = "sessionStorage.getItem('run')"


def test_behind_a_long_job_another_visitor_sees_the_place_in_the_line(browser: Browser, server: Server) -> None:
    contexts = [browser.new_context(viewport={"width": 1280, "height": 900}) for _ in range(2)]
    first, second = (context.new_page() for context in contexts)
    for page in (first, second):
        page.set_default_timeout(1000 * PATIENCE)
    # Minutes long where nobody cancels it.
    visit(first, f"{server.url}?tab=boost&count=64&steps=200&run=boost")
    expect(first.locator("#status .status.running")).to_contain_text("step ")
    # A large run, and so one of the same line.
    visit(second, f"{server.url}?tab=debias&count=20&validation_count=50&run=debias")
    waiting = second.locator("#debias-status .status.running")
    expect(waiting).to_have_text(re.compile(r"^Waiting; 0 before it, (a few seconds|about \d+ (s|min))$"))
    # Given up before it begins: nothing was run, and nothing says so.
    visit(second, f"{server.url}?tab=boost&count=2&steps=2&run=boost")
    expect(second.locator("#status .status")).to_contain_text("Done: 2 images")
    second.wait_for_function(f"{RAN} !== null")
    shown, ran = second.evaluate(PICTURES), second.evaluate(RAN)
    second.locator("#live input").uncheck()
    second.get_by_role("radio", name="Examples").first.check()
    second.locator("#boost").click()
    expect(second.locator("#status .status")).to_contain_text("Waiting; ")
    second.locator("#cancel").click()
    expect(second.locator("#status .status.stopped")).to_contain_text("Cancelled before it began")
    expect(second.locator("#status")).to_have_class(re.compile("stale"))
    second.wait_for_timeout(1000)
    assert (second.evaluate(PICTURES), second.evaluate(RAN)) == (shown, ran)
    visit(second, f"{server.url}?tab=debias&count=20&validation_count=50&run=debias")
    expect(waiting).to_contain_text("Waiting; ")
    first.locator("#cancel").click()
    expect(first.locator("#status .status.stopped")).to_contain_text("Cancelled after step")
    expect(second.locator("#debias-status .status.finished")).to_contain_text("20 images; d fitted on 50")
    for context in contexts:
        context.close()
    assert "Traceback" not in server.log()
