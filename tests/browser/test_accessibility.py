"""The page for those who do not see it well: axe-core over every tab, light and dark, and a name for every control."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import CDPSession, Page
from serving import Server, open_tab, visit

TABS = ("Boost", "Debias", "Threat models", "Every class", "Interpolate", "Evaluate", "Figures", "Generators", "About")
pytestmark = pytest.mark.timeout(900)
# Gradio's own switch between them is a class of the page's body.
THEMES = ("light", "dark")
# Colours are there at once, and not on their way from one theme to the other.
AT_ONCE = "* { transition: none !important; animation: none !important; }"
# How the browser's own accessibility tree calls what can be operated.
CONTROLS = {
    "button",
    "checkbox",
    "combobox",
    "link",
    "radio",
    "searchbox",
    "slider",
    "spinbutton",
    "switch",
    "tab",
    "textbox",
}
# What lies in Gradio's own elements and cannot be mended from here, by what it lies in: a visitor's mistake makes both
# appear. A message in the corner is a button that folds it, around the button that closes it; a refusal at a control is
# a button that puts it away, around another that does the same.
GRADIOS = {"nested-interactive": ".toast-header, .validation-error button"}
# They are marked beforehand, since both go by themselves, and then no name of a place leads to them any more.
MARK = "(all) => document.querySelectorAll(all).forEach((one) => { one.dataset.rule = 'RULE'; })"


@pytest.fixture
def page(empty_page: Page) -> Page:
    """Nothing is loaded yet: each of these begins with a link."""
    return empty_page


def opened(page: Page, name: str) -> Page:
    """The page with this tab in front and all it can unfold unfolded."""
    open_tab(page, name)
    if name == "Generators":
        page.locator(".maker img").nth(1).wait_for()
    page.evaluate(
        """() => document.querySelectorAll('button.label-wrap:not(.open)').forEach(
             (button) => button.checkVisibility() && button.click())"""
    )
    if name == "Boost":
        for lazy in ("#mask-canvas canvas", "#table", "#settings .cm-content", "#compared-command .cm-content"):
            page.locator(lazy).first.wait_for(state="attached")
    page.wait_for_timeout(400)  # until what fades in is there
    return page


def front(page: Page) -> str:
    """A selector of the tab in front."""
    page.evaluate(
        """() => document.querySelectorAll('[role=tabpanel]').forEach(
             (panel) => panel.toggleAttribute('data-front', panel.checkVisibility()))"""
    )
    return "[data-front]"


def violations(page: Page, theme: str, where: str | None = None) -> list[str]:
    """What axe-core finds serious or critical: rule, place and reason. where: a selector of what is looked at."""
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
    for rule, all_of in GRADIOS.items():
        page.evaluate(MARK.replace("RULE", rule), all_of)
    # Only violations are described in full, which is half of its time: the same are found.
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if theme == "dark":  # the light page in other colours
        options["runOnly"] = ["color-contrast"]
    found = []
    for violation in Axe().run(page, where, options).response["violations"]:
        if violation["impact"] not in ("serious", "critical"):
            continue
        for node in violation["nodes"]:
            if f'data-rule="{violation["id"]}"' not in node["html"]:
                found.append(f"{violation['id']}: {node['html'][:150]}: {node['failureSummary'][:250]}")
    return found


def controls(session: CDPSession) -> list[tuple[str, str, str]]:
    """Role, name and HTML of every control that the browser tells a screen reader of."""
    told = []
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
        if node["ignored"] or role not in CONTROLS:
            continue
        where = {"backendNodeId": node["backendDOMNodeId"]}
        described = {} if name.strip() else session.send("DOM.describeNode", where)
        told.append((role, name.strip(), str(described.get("node", {}).get("attributes", ""))))
    return told


def test_axe_finds_nothing_serious_and_every_control_has_a_name(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?__theme=light")
    page.wait_for_selector("#grid .pair")
    page.add_style_tag(content=AT_ONCE)
    assert not page.evaluate("document.body.classList.contains('dark')")
    session = page.context.new_cdp_session(page)
    for name in TABS:
        opened(page, name)
        # What stands around the tabs is looked at once.
        where = None if name == TABS[0] else front(page)
        for theme in THEMES:
            assert violations(page, theme, where) == [], (name, theme)
        told = controls(session)
        assert {role for role, _, _ in told} >= {"button", "tab"}, name
        assert [control for control in told if not control[1]] == [], name


def test_nor_in_what_a_visitors_mistake_shows(page: Page, server: Server) -> None:
    visit(page, f"{server.url}?__theme=dark&tab=boost&shell=rm")
    page.get_by_text("there is no control 'shell'").wait_for()
    page.add_style_tag(content=AT_ONCE)
    assert page.evaluate("document.body.classList.contains('dark')")
    page.get_by_label("Upload", exact=True).first.check()
    page.get_by_role("button", name="Link to these settings").click()
    page.locator("#boost").click()
    page.get_by_text("Add an image first").first.wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(400)
    for theme in THEMES:
        assert violations(page, theme) == [], theme
    assert [control for control in controls(page.context.new_cdp_session(page)) if not control[1]] == []
