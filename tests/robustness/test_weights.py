"""Weights, cards and models.toml, damaged or made to harm: read, or refused by one line, quickly and in little memory.

python tests/robustness/test_weights.py 10000 [FORMAT …]      reads so many mutants of each format
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

MUTANTS = int(os.environ.get("BIGROC_FUZZ_MUTANTS", "150"))
FORMATS = ("safetensors", "torch-zip", "torch-legacy", "card", "models.toml")


@pytest.mark.timeout(max(300, 5 * MUTANTS))
def test_mutated_files_are_read_or_refused_by_one_line():
    # In a process of its own: its memory is its own, and a crash is seen.
    done = subprocess.run([sys.executable, __file__, str(MUTANTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{MUTANTS} mutants") == len(FORMATS)


def main(mutants: int, *names: str) -> int:
    """Fuzz; 1 if anything but a refusal came out."""
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    from robustness.mutants import fuzz
    from robustness.weight_formats import WEIGHT_FORMATS

    warnings.simplefilter("ignore")
    assert set(WEIGHT_FORMATS) == set(FORMATS)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names or FORMATS:
            (Path(scratch) / name).mkdir()
            outcome = fuzz(name, WEIGHT_FORMATS[name], mutants, 0, Path(scratch) / name)
            print(f"{name}: {outcome.mutants} mutants, {outcome.past} past the first check", flush=True)
            faults += outcome.faults
    print(*faults[:50], sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
