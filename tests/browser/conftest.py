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
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from gradio_client import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
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


class Chromium:
    """The one browser of these tests: what it has fetched and compiled for one page, it has for the next."""

    def __init__(self) -> None:
        self._opened: ExitStack | None = None
        self._window: BrowserContext | None = None

    def window(self) -> BrowserContext:
        if self._window is None:
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            if chromium is None:
                pytest.skip("no Chromium: install Debian's `chromium`, or name one in CHROMIUM")
            self._opened = ExitStack()
            playwright = self._opened.enter_context(sync_playwright())
            started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            self._opened.callback(started.close)
            self._window = started.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        return self._window

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = self._window = None


CHROMIUM = Chromium()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Close the browser after the last test beside this file: while it is there, no other can begin an event loop."""
    yield
    here = Path(__file__).parent
    if nextitem is None or here not in nextitem.path.parents:
        CHROMIUM.close()


@pytest.fixture
def window() -> BrowserContext:
    """Where tests open their pages."""
    return CHROMIUM.window()


@pytest.fixture
def browser(window: BrowserContext) -> Browser:
    """For visitors of whom nobody knows."""
    assert window.browser is not None
    return window.browser


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


@contextmanager
def visiting(window: BrowserContext, server: Server) -> Iterator[Page]:
    """An empty page in which nothing is remembered of the one before; fails if it had script errors, reached out to
    another host, or left a traceback in the server's log."""
    opened = window.new_page()
    opened.set_default_timeout(1000 * PATIENCE)
    watched = Watched(opened, server)
    try:
        yield opened
    finally:  # the window stays for the next one
        stored = {"origin": server.url.rstrip("/"), "storageTypes": "local_storage"}
        window.new_cdp_session(opened).send("Storage.clearDataForOrigin", stored)
        opened.close()
    assert watched.errors == []
    assert watched.elsewhere == []
    assert "Traceback" not in server.log()


@pytest.fixture
def empty_page(window: BrowserContext, server: Server) -> Iterator[Page]:
    """A window of desktop width that follows a link next."""
    with visiting(window, server) as opened:
        yield opened


@pytest.fixture
def page(empty_page: Page, server: Server) -> Page:
    """The page, loaded, at desktop width."""
    empty_page.goto(server.url)
    empty_page.wait_for_selector("#grid .pair")
    return empty_page
