"""The page on a full disk, and on one that cannot be written to: a line that names the file, nothing left of it, and
the same request is answered once there is room.

python -m pytest -m campaign tests/robustness/test_page_disk.py, as root, who alone may mount a small disk.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from benchmarks import load
from evaluation.small_models import smooth_pixels
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from robustness.test_full_disks import fill

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]
BYTES = 16 * 2**20
GENERATED = {"source": "Generator", "generator": "cifar10-cgan"}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    disk = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture(scope="module")
def page(disk: Path) -> Iterator[Client]:
    with load.server(load.ROOT, disk) as (address, _):
        yield Client(address, verbose=False, download_files=False)


REQUESTS: dict[str, dict[str, Any]] = {
    "/boost": {**GENERATED, "count": 2, "steps": 2},
    "/interpolate": {"steps": 2},
    "/figure": {"figure": "fig7", "steps": 1, "rows": 1, "columns": 2},
}


def files(disk: Path) -> set[str]:
    return {str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file() and path.name != "filler"}


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(AppError) as raised:
        call()
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert "could not be written on the server (" in text, text
    assert str(raised.value).count("/") == 0, text
    return text


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Another disk in its place, as its own is in use."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], check=True)
    yield
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("endpoint", REQUESTS)
def test_a_run(endpoint: str, page: Client, disk: Path) -> None:
    def call() -> Any:
        return page.predict(api_name=endpoint, **REQUESTS[endpoint])

    before = files(disk)
    filler = fill(disk, 0)
    assert "No space left on device" in refused(call)
    assert files(disk) == before
    filler.unlink()
    with read_only(disk):
        assert "Read-only file system" in refused(call)
    assert files(disk) == before
    assert call()


def test_an_evaluation(page: Client, disk: Path) -> None:
    def ended() -> dict[str, Any]:
        job = page.predict(api_name="/evaluate", **{**GENERATED, "count": 500, "seeds": 1, "steps": 1})
        while (status := page.predict(job, api_name="/evaluation_status"))["state"] in ("queued", "running"):
            time.sleep(0.5)
        return status

    filler = fill(disk, 0)
    try:
        told = ended()["error"]
    except AppError as error:  # where not even its folder could be made
        told = str(error)
    assert "could not be written on the server (No space left on device)" in told
    assert "/" not in told
    filler.unlink()
    assert ended()["state"] == "done"


def test_an_upload(page: Client, disk: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", arr_0=smooth_pixels(40, 64))
    filler = fill(disk, 0)
    # As the page itself sends it; it shows what is answered.
    answer = httpx.post(f"{page.src}gradio_api/upload", files={"files": (tmp_path / "images.npz").open("rb")})
    assert answer.status_code == 507
    assert answer.text.startswith("'the upload' could not be written on the server (No space left on device)")
    assert not [name for name in files(disk) if name.endswith("images.npz")]
    filler.unlink()
    told = page.predict([handle_file(tmp_path / "images.npz")], "cifar10-robust", api_name="/check_upload")
    assert "40 of 40 images ready" in told


def test_the_page_itself_is_still_served(page: Client, disk: Path) -> None:
    filler = fill(disk, 0)
    with urllib.request.urlopen(page.src, timeout=60) as answer:
        assert b"BIGRoC" in answer.read()
    filler.unlink()
