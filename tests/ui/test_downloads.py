"""Files that a killed server left are removed, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from bigroc_core.ui.downloads import files_of, saved, sweep_now


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
