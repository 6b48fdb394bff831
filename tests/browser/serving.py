"""The running page that the tests beside this drive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
# Seconds until what is waited for counts as failed: far more than it takes, since others may use the machine too.
PATIENCE = 180


@dataclass(frozen=True)
class Server:
    """The address of the running page, its log so far, and the folder it keeps files in."""

    url: str
    log_file: Path
    cache: Path

    def log(self) -> str:
        return self.log_file.read_text()


def visit(page: Page, address: str) -> None:
    """Go to an address from an open page, which would otherwise take the end of its connection for a lost one on a slow
    machine, and load itself again instead.
    """
    page.goto("about:blank")
    page.goto(address)


def open_tab(page: Page, name: str) -> None:
    """Open a tab by its name, from the menu where the window is too narrow for all of them."""
    page.wait_for_selector("button[role=tab]:visible")
    tab = page.locator("button[role=tab]:visible").filter(has_text=name)
    if tab.count():
        tab.click()
    else:
        page.get_by_label("More tabs").click()
        page.locator(".overflow-dropdown").get_by_role("button", name=name).click()
