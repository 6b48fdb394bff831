"""A page in a process of its own: where it may listen, and what it says of itself once it does."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def config_of(page: subprocess.Popen[bytes], port: int, log: Path, tries: int) -> str:
    """What the page answers under /config, asked so often; a failure that shows its log if it ends before."""
    for _ in range(tries):
        assert page.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            time.sleep(0.2)
    pytest.fail("the page did not come up")
