"""Runs killed at random moments, and as their last files are written, end as unbroken ones when they are begun again.

BIGROC_KILLS=10 python -m pytest -m campaign tests/robustness/test_kills.py kills each kind of run as often.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.small_models import export_classifier, smooth_pixels
from training.test_own_data import COLOURS, write_classes

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("BIGROC_KILLS", "10"))
# What differs from one run to the next by itself.
TIMES = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Killed:
    """A command that writes into the current folder, all of it under out. last: a file that appears shortly before its
    end."""

    words: tuple[str, ...]
    last: str


MODELS = ("--classifier", "boosts.safetensors", "--control", "controls.safetensors", "--judge", "judges.safetensors")
TINY = ("--batch-size", "16", "--precision", "fp32", "--save-minutes", "0")
BOOST = (
    "boost",
    "images.npz",
    "--classifier",
    "boosts.safetensors",
    "--eps",
    "1",
    "--steps",
    "6",
    "--batch-size",
    "32",
)
KINDS = {
    "boost to a folder": Killed((*BOOST, "out"), "out/.bigroc-partial/000000000480.done"),
    "boost to an npz": Killed((*BOOST, "out.npz"), ".out.npz.bigroc-partial/assembled.tmp"),
    "evaluate": Killed(
        (
            *("evaluate", "images.npz", *MODELS, "--reference", "real.npz", "--eps", "1", "--steps", "3"),
            *("--run", "out", "--output", "out.json"),
        ),
        "out/*-0-000000-*.npz",
    ),
    "sweep": Killed(
        (
            *("sweep", "images.npz", "--classifier", "boosts.safetensors", "--chooser", "controls.safetensors"),
            *("--reference", "real.npz", "--eps-list", "0", "1", "2", "--steps", "3", "--run", "out"),
            *("--output", "out.json"),
        ),
        "out/*-0-000000-*.npz",
    ),
    "train a classifier": Killed(
        (
            *("train", "robust", "--name", "mine", "--data", "mine", "--arguments", '{"width": 4}', "--epochs", "3"),
            *(*TINY, "--run", "out"),
        ),
        "out/mine.safetensors",
    ),
    "train a generator": Killed(
        (
            *("train", "generator", "--family", "vae", "--name", "mine", "--data", "mine", "--steps", "30"),
            *("--arguments", '{"width": 2, "latent": 4}', "--discriminator-width", "2", *TINY, "--run", "out"),
        ),
        "out/mine.safetensors",
    ),
    "train a joint model": Killed(
        (
            *("train", "joint", "--name", "mine", "--init", "start.safetensors", "--data", "mine", "--steps", "12"),
            *("--generated", "seeds", "--last-steps", "2", "--watched", "6", "--reports", "2", *TINY, "--run", "out"),
        ),
        "out/mine.safetensors",
    ),
}


def command(words: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = (folder / "messages.txt").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "bigroc_core", *words], cwd=folder, env=environment, stdout=log, stderr=log
        )


def finished(words: tuple[str, ...], folder: Path) -> float:
    """Seconds that it took; the messages where it failed."""
    began = time.monotonic()
    status = command(words, folder).wait()
    assert status == 0, (folder / "messages.txt").read_text(errors="replace")[-2_000:]
    return time.monotonic() - began


def timeless(value: Any) -> Any:
    """JSON without what differs by itself."""
    if isinstance(value, dict):
        return {key: timeless(one) for key, one in value.items() if key not in TIMES}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def written(folder: Path) -> dict[str, Any]:
    """All files under out and their contents."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or not name.lstrip(".").startswith("out"):
            continue
        lines = path.suffix == ".jsonl"
        if path.suffix in (".json", ".jsonl"):
            texts = path.read_text("utf-8").splitlines() if lines else [path.read_text("utf-8")]
            found[name] = [timeless(json.loads(text)) for text in texts]
        else:
            # What a trainer goes on from holds the clock.
            found[name] = b"" if name.endswith("state.pt") else path.read_bytes()
    return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("boosts", "controls", "judges")):
        export_classifier(folder, name, seed + 1)
    np.savez(folder / "images.npz", arr_0=smooth_pixels(500, 32), arr_1=np.arange(500) % 10)
    np.savez(folder / "real.npz", arr_0=smooth_pixels(300, 32, 9) // 2)
    write_classes(folder / "mine", dict.fromkeys(COLOURS, 24), side=(32, 32))
    write_classes(folder / "seeds", dict.fromkeys(COLOURS, 8), side=(32, 32), start=100)
    start = ("train", "standard", "--name", "start", "--data", "mine", "--epochs", "1", *TINY, "--run", "begun")
    finished((*start, "--arguments", '{"width": 4}'), folder)
    for suffix in ("safetensors", "json"):
        (folder / "begun" / f"start.{suffix}").rename(folder / f"start.{suffix}")
    return folder


def moments(seconds: float) -> Iterator[float | None]:
    """When to kill: every other time at random, else (None) as the last files are written."""
    for number in range(KILLS):
        yield random.Random(number).uniform(0.3, 1.0) * seconds if number % 2 == 0 else None


def kill(kind: Killed, folder: Path, after: float | None) -> bool:
    """Whether it was killed before it had ended."""
    process = command(kind.words, folder)
    began = time.monotonic()
    while process.poll() is None:
        passed = time.monotonic() - began
        if (after is not None and passed >= after) or (after is None and any(folder.glob(kind.last))):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_ends_with_the_same_bytes(name: str, inputs: Path, tmp_path: Path) -> None:
    kind = KINDS[name]

    def place(number: str) -> Path:
        folder = tmp_path / number
        folder.mkdir()
        for path in inputs.iterdir():
            if path.name != "messages.txt":
                (folder / path.name).symlink_to(path)
        return folder

    whole = place("whole")
    seconds = finished(kind.words, whole)
    expected = written(whole)
    assert expected
    killed = 0
    for number, moment in enumerate(moments(seconds)):
        folder = place(str(number))
        killed += kill(kind, folder, moment)
        finished(kind.words, folder)
        found = written(folder)
        assert found.keys() == expected.keys(), f"{name}, kill {number}"
        assert [key for key in found if found[key] != expected[key]] == [], f"{name}, kill {number}"
    assert killed >= KILLS // 2
