"""Files from outside, damaged or made to harm: read, or refused by one line, quickly and in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MUTANTS = int(os.environ.get("BIGROC_FUZZ_MUTANTS", "60"))


def fuzzed(*arguments: str, timeout: float | None = None) -> str:
    """A process of its own: its memory is its own, and a crash of a decoder is seen."""
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(max(300, 5 * MUTANTS))
def test_mutated_files_are_read_or_refused_by_one_line():
    said = fuzzed("--mutants", str(MUTANTS))
    assert said.count(f"{MUTANTS} mutants") == 20  # formats
