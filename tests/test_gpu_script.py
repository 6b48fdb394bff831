"""The script that shows what a GPU does runs to its end without one, so that it is ready where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.campaign
def test_the_gpu_script_runs_at_toy_sizes(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "tests" / "benchmarks" / "on_gpu.py"), "--toy", "--device", "cpu"]
    words += ["--networks", "cifar10-robust", "--peers", "ours", "ours, fast", "P1's loop"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*words, "--output", str(tmp_path / "gpu.json")], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert all(check["holds"] for check in told["checks"].values())
    (network,) = told["networks"]
    assert set(network["rows"]) == {"ours", "ours, fast", "P1's loop"}
    losses = [row["loss"] for row in network["rows"].values()]
    assert max(losses) - min(losses) <= 0.02 * max(losses)
    assert told["to file, fast"]["images"] == 20
