"""`train` refuses what cannot be trained, and the command in a card tells nothing of the machine it ran on."""

from __future__ import annotations

import sys

import pytest

from bigroc_core.__main__ import main
from bigroc_core.cli.options import command_line


@pytest.mark.parametrize(
    "words",
    [
        ("robust", "--batch-size", "0"),
        ("robust", "--epochs", "0"),
        ("robust", "--eps", "nan"),
        ("robust", "--eps", "-1"),
        ("standard", "--seed", "-1"),
        ("standard", "--lr", "inf"),
        ("generator", "--steps", "-5"),
    ],
)
def test_impossible_options_are_named_before_anything_is_made(tmp_path, capsys, words):
    kind, option, value = words
    family = ["--family", "dcgan"] if kind == "generator" else []
    run = tmp_path / "run"
    assert main(["train", kind, "--name", "tiny", "--run", str(run), *family, option, value]) == 2
    assert f"error: {option} must be" in capsys.readouterr().err
    assert not run.exists()


def test_the_recorded_command_leaves_this_machine_out(monkeypatch):
    words = [
        "train",
        "robust",
        "--name",
        "n",
        "--run",
        "/home/me/run",
        "--arguments",
        '{"width": 40}',
        "--data=/home/me/data",
        "--device",
        "cuda:1",
        "--epochs",
        "22",
    ]
    monkeypatch.setattr(sys, "argv", ["bigroc", *words])
    assert command_line() == (
        "python -m bigroc_core train robust --name n --arguments '{\"width\": 40}' --data data --epochs 22"
    )
