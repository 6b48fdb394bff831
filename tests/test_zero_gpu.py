"""On a ZeroGPU Space: what computes borrows a GPU for as long as its request says, and what is shown gets through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bigroc_core.zero_gpu import MAX_SECONDS, START_SECONDS, seconds_for

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS / "stand_ins"), str(TESTS.parent)])}
    words = [sys.executable, str(TESTS / "on_zero_gpu.py")]
    ran = subprocess.run(words, env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_every_handler_that_computes_borrows_and_ends(seen: dict[str, Any]) -> None:
    assert {name for name, _ in seen["lent"]} == set(seen["marked"])
    assert seen["last"]["boost"] == "Run"
    assert seen["last"]["figure"] == "Rendered"


def test_the_time_asked_for_follows_the_request(seen: dict[str, Any]) -> None:
    lent = dict(seen["lent"][:1]), max(seconds for name, seconds in seen["lent"] if name == "boost.stages")
    assert lent[0]["boost.stages"] == START_SECONDS + 1
    assert START_SECONDS + 1 < lent[1] <= MAX_SECONDS
    assert all(START_SECONDS < seconds <= MAX_SECONDS for _, seconds in seen["lent"])
    # 16 images of 224×224, 30 steps; and more than anybody has a day.
    assert START_SECONDS < seconds_for(16 * 30 * 224 * 224) <= 30
    assert seconds_for(10**12) == MAX_SECONDS < 120


def test_what_is_wrong_with_a_request_is_said_as_everywhere(seen: dict[str, Any]) -> None:
    assert "README.md" in seen["refused"]


def test_models_are_on_cuda_before_anybody_asks(seen: dict[str, Any]) -> None:
    from bigroc_core.classifiers.registry import boosting_classifiers
    from bigroc_core.generators.registry import embedded_generators

    # Not the Hub's, which would have to be fetched.
    assert {name for name, _ in seen["loaded"]} == {*boosting_classifiers(), *embedded_generators()}
    assert {device for _, device in seen["loaded"]} == {"cuda"}


def test_what_is_sent_from_process_to_process_is_small(seen: dict[str, Any]) -> None:
    assert seen["largest"] < 32 * 2**20
