"""A real server (`python app.py`) and a real browser (Debian's Chromium through Playwright) for these tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import PATIENCE, ROOT, Server

expect.set_options(timeout=1000 * PATIENCE)


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Server]:
    """`python app.py` with these flags, once it answers; its files and its log are in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Server(f"http://127.0.0.1:{port}/", folder / "log.txt", folder / "cache")
    environment = os.environ | {"GRADIO_TEMP_DIR": str(started.cache)}
    with started.log_file.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *flags], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        for _ in range(30 * PATIENCE):
            assert process.poll() is None, started.log()
            try:
                urllib.request.urlopen(started.url, timeout=PATIENCE).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"the page did not come up: {started.log()}")
        yield started
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def mcp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("mcp", reason="no MCP library: pip install 'gradio[mcp]'")
    with serving(tmp_path_factory.mktemp("mcp"), "--mcp") as started:
        yield started


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Client]:
    """A program that calls the page's endpoints."""
    made = Client(server.url, verbose=False, httpx_kwargs={"timeout": PATIENCE})
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one file's tests: while it is there, no other test of the process can begin an event loop."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium: install Debian's `chromium`, or name one in CHROMIUM")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """What a page must not do: fail in JavaScript, or ask anyone but its own server for anything."""

    def __init__(self, page: Page, server: Server) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url, server.url))

    def _note(self, address: str, own: str) -> None:
        if not address.startswith((own, "data:", "blob:")):
            self.elsewhere.append(address)


@pytest.fixture
def empty_page(browser: Browser, server: Server) -> Iterator[Page]:
    """A window of desktop width that follows a link next; fails if the page had script errors or reached out to another
    host."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(1000 * PATIENCE)
    watched = Watched(opened, server)
    yield opened
    opened.close()
    assert watched.errors == []
    assert watched.elsewhere == []
    assert "Traceback" not in server.log()


@pytest.fixture
def page(empty_page: Page, server: Server) -> Page:
    """The page, loaded, at desktop width."""
    empty_page.goto(server.url)
    empty_page.wait_for_selector("#grid .pair")
    return empty_page
