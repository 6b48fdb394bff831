"""Two runs into one output: one goes on, the others say in a line that another is writing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigroc_core.__main__ import main
from bigroc_core.files import held

COMMANDS = {
    "boost to a folder": ["boost", "generator:cifar10-cgan", "OUT", "--count", "2", "--steps", "1"],
    "boost to an npz": ["boost", "generator:cifar10-cgan", "OUT.npz", "--count", "2", "--steps", "1"],
    "interpolate": ["interpolate", "generator:cifar10-cgan", "generator:cifar10-cgan", "OUT", "--steps", "1"],
    "evaluate": ["evaluate", "generator:cifar10-cgan", "--output", "OUT.json"],
    "sweep": ["sweep", "generator:cifar10-cgan", "--output", "OUT.json"],
    "evaluate-classifier": ["evaluate-classifier", "cifar10-robust", "--data", "nowhere", "--output", "OUT.json"],
    "evaluate-joint": ["evaluate-joint", "cifar10-joint", "--data", "nowhere", "--output", "OUT.json"],
    "train": ["train", "generator", "--name", "tiny", "--family", "dcgan", "--run", "OUT", "--data", "nowhere"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_says_that_another_run_is_writing_there(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("OUT", str(tmp_path / "out")) for word in COMMANDS[command]]
    out = Path(next(word for word in words if word.startswith(str(tmp_path))))
    with held(out):
        assert main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {out}: another run is writing there; wait until it has ended, or choose another name for this one"
    ]
    assert list(tmp_path.iterdir()) == []
