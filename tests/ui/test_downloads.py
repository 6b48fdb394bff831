"""Files that a killed server left are removed, and no others."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from bigroc_core.files import NotWritten
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.downloads import files_of, saved, saved_together, sweep_now


def test_old_files_go_and_new_ones_and_those_of_jobs_stay(tmp_path: Path) -> None:
    old = time.time() - 100
    for name in ("upload/old.png", "mixed/old.zip", "mixed/new.zip", "jobs/abc/inputs/old.npz", "new/new.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    outside = tmp_path.with_name("outside.txt")
    outside.write_text("x")
    (tmp_path / "upload" / "link").symlink_to(outside)
    for path in (*tmp_path.rglob("*old*"), tmp_path / "upload" / "link", outside):
        os.utime(path, (old, old), follow_symlinks=False)
    held_by_a_server = tmp_path / ".jobs-abc.lock"
    held_by_a_server.write_text("")
    opening = tmp_path / "opening" / "example.zip"
    opening.parent.mkdir()
    opening.write_text("x")
    for path in (held_by_a_server, opening):
        os.utime(path, (old, old))
    sweep_now(tmp_path, 50, [opening, tmp_path / "gone.zip"])
    # What was emptied just now goes the next time.
    os.utime(tmp_path / "upload", (old, old))
    sweep_now(tmp_path, 50)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".jobs-abc.lock", "jobs/abc/inputs/old.npz", "mixed/new.zip", "new/new.png", "opening/example.zip"]
    assert not (tmp_path / "upload").exists()
    assert outside.exists()


def test_a_page_knows_the_files_that_it_opens_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as page:
        gr.DownloadButton("Download", saved("boosted.zip", b"x"))
        gr.Image(np.zeros((4, 4, 3), np.uint8))
    assert {path.suffix for path in files_of(page)} == {".zip", ".webp"}
    assert all(path.is_file() for path in files_of(page))


def test_pictures_out_of_sight_are_files_that_the_page_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    shades = [np.full((4, 4, 3), shade, np.uint8) for shade in (0, 100, 0)]
    with gr.Blocks() as page:
        shown = controls.html_with_files("".join(pictures.picture(shade, "a shade") for shade in shades))
        assert controls.html_with_files("<b>none</b>").value == "<b>none</b>"
    assert "data:" not in shown.value
    addresses = re.findall(r'loading="lazy" src="gradio_api/file=([^"]+)"', shown.value)
    # The same picture is one file.
    assert len(addresses) == 3
    assert sorted(map(Path, set(addresses))) == sorted(files_of(page))
    for address, shade in zip(addresses, shades, strict=True):
        with Image.open(address) as read:
            assert np.array_equal(np.asarray(read), shade)


def test_pictures_without_room_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def full() -> Iterator[bytes]:
        yield b"x"
        monkeypatch.setattr(Path, "write_bytes", refused)
        yield b"y"

    def refused(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NotWritten, match=r"1\.png"):
        saved_together(full(), ".png")
    assert not list(tmp_path.iterdir())
