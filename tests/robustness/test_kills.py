"""Runs killed at random moments, and as their last files are written, end as unbroken ones when they are begun again.

BIGROC_KILLS=10 python -m pytest -m campaign -s tests/robustness/test_kills.py kills each kind of run as often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.small_models import export_classifier, smooth_pixels
from robustness.commands import COUNT, Commands, said
from training.test_own_data import COLOURS, write_classes

KILLS = int(os.environ.get("BIGROC_KILLS", "10"))
# What differs from one run to the next by itself.
TIMES = ("seconds", "images_per_second")
# The changes to files that a run ends with.
LAST = 12

MODELS = ("--classifier", "boosts.safetensors", "--control", "controls.safetensors", "--judge", "judges.safetensors")
TINY = ("--batch-size", "16", "--precision", "fp32", "--save-minutes", "0", "--run", "out", "--name", "mine")
IMAGES = ("images.npz", "--classifier", "boosts.safetensors")
HOW = ("--eps", "1", "--steps", "6", "--batch-size", "32")
# Commands that write into the current folder, all of it under names that begin with out.
KINDS = {
    "boost to a folder": ("boost", *IMAGES, "out", *HOW),
    "boost to an npz": ("boost", *IMAGES, "out.npz", *HOW),
    "evaluate": (
        *("evaluate", "images.npz", *MODELS, "--reference", "real.npz", "--eps", "1", "--steps", "3"),
        *("--run", "out", "--output", "out.json", "--csv", "out.csv", "--latex", "out.tex"),
    ),
    "sweep": (
        *("sweep", *IMAGES, "--chooser", "controls.safetensors", "--reference", "real.npz"),
        *("--eps-list", "0", "1", "2", "--steps", "3", "--run", "out", "--output", "out.json"),
    ),
    "train a classifier": ("train", "robust", "--data", "mine", "--arguments", '{"width": 4}', "--epochs", "3", *TINY),
    "train a generator": (
        *("train", "generator", "--family", "vae", "--data", "mine", "--steps", "30"),
        *("--arguments", '{"width": 2, "latent": 4}', "--discriminator-width", "2", *TINY),
    ),
    "train a joint model": (
        *("train", "joint", "--init", "start.safetensors", "--data", "mine", "--steps", "12"),
        *("--generated", "seeds", "--last-steps", "2", "--watched", "6", "--reports", "2", *TINY),
    ),
}


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
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("boosts", "controls", "judges")):
        export_classifier(folder, name, seed + 1)
    np.savez(folder / "images.npz", arr_0=smooth_pixels(500, 32), arr_1=np.arange(500) % 10)
    np.savez(folder / "real.npz", arr_0=smooth_pixels(300, 32, 9) // 2)
    write_classes(folder / "mine", dict.fromkeys(COLOURS, 24), side=(32, 32))
    write_classes(folder / "seeds", dict.fromkeys(COLOURS, 8), side=(32, 32), start=100)
    start = ("train", "standard", "--data", "mine", "--epochs", "1", "--arguments", '{"width": 4}', *TINY)
    assert commands.run((*start, "--name", "start"), folder) == 0, said(folder)
    for suffix in ("safetensors", "json"):
        (folder / "out" / f"start.{suffix}").rename(folder / f"start.{suffix}")
    shutil.rmtree(folder / "out")
    return folder


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_ends_with_the_same_bytes(name: str, inputs: Path, tmp_path: Path, commands: Commands) -> None:
    words, draws = KINDS[name], random.Random(name)

    def place(number: str) -> Path:
        folder = tmp_path / number
        folder.mkdir()
        for path in inputs.iterdir():
            if path.suffix != ".txt":
                (folder / path.name).symlink_to(path)
        return folder

    whole = place("whole")
    began = time.monotonic()
    assert commands.run(words, whole) == 0, said(whole)
    seconds, expected, changes = time.monotonic() - began, written(whole), int((whole / COUNT).read_text())
    assert expected
    hit, wrong = {"at random": 0, "in the last writing": 0, "when all was written": 0}, []
    for number in range(KILLS):
        folder = place(str(number))
        if number % 2 == 0:
            moment, status = "at random", commands.run_killed(words, folder, draws.uniform(0.02, 0.98) * seconds)
        else:
            at = changes - draws.randrange(LAST)
            moment, status = "in the last writing", commands.run(words, folder, at)
        assert status in (0, -signal.SIGKILL, -signal.SIGALRM), said(folder)
        # When all was written, and only the process and its lock were still there, the run had ended.
        ended = {name: data for name, data in written(folder).items() if not name.endswith(".lock")} == expected
        hit["when all was written" if ended else moment] += status != 0
        if commands.run(words, folder) != 0 and not (ended and "exists already" in said(folder)[-1]):
            wrong.append(f"kill {number}, {moment}: {said(folder)[-1:]}")
        elif (found := written(folder)) != expected:
            keys = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
            wrong.append(f"kill {number}, {moment}: {sorted(keys)} differ")
    print(f"\n{name}: {seconds:.1f} s, {changes} changes; of {KILLS} kills: {hit}")
    assert wrong == []
    assert hit["at random"] + hit["in the last writing"] >= KILLS // 2
