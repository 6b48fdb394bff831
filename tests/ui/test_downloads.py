"""Files that a killed server left are removed, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bigroc_core.ui.downloads import sweep_now


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
    sweep_now(tmp_path, 50)
    # What was emptied just now goes the next time.
    os.utime(tmp_path / "upload", (old, old))
    sweep_now(tmp_path, 50)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["jobs/abc/inputs/old.npz", "mixed/new.zip", "new/new.png"]
    assert not (tmp_path / "upload").exists()
    assert outside.exists()
