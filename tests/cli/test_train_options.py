"""`train` refuses what cannot be trained, and the command in a card tells nothing of the machine it ran on."""

from __future__ import annotations

import argparse
import dataclasses
import sys

import pytest

from bigroc_core.__main__ import build_parser, main
from bigroc_core.cli.fields import add_options, values_of
from bigroc_core.cli.options import command_line
from bigroc_core.settings import setting
from bigroc_core.training.recipes import ClassifierRecipe, GeneratorRecipe, JointRecipe


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


RECIPES = {
    "robust": (ClassifierRecipe(name="n", eps=0.5), []),
    "standard": (ClassifierRecipe(name="n"), []),
    "generator": (GeneratorRecipe(name="n", family="dcgan"), ["--family", "dcgan"]),
    "joint": (
        JointRecipe(name="n", init="i", real="r", generated=("g",), weights=(1.0,), size=(32, 32)),
        [],
    ),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_command_without_options_trains_by_the_recipes_own_defaults(kind):
    recipe, words = RECIPES[kind]
    options = build_parser().parse_args(["train", kind, "--name", "n", *words])
    found = values_of(type(recipe), options)
    assert found == {name: value for name, value in dataclasses.asdict(recipe).items() if name in found}
    left_out = {"init", "init_options", "real", "generated", "weights", "size"} if kind == "joint" else set()
    left_out |= {"eps", "attack_steps"} if kind == "standard" else set()
    assert set(dataclasses.asdict(recipe)) - set(found) == left_out


@pytest.mark.parametrize("kind", RECIPES)
def test_every_option_is_spelled_and_told_in_the_help(kind, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["train", kind, "--help"])
    told = capsys.readouterr().out
    assert "positional arguments" not in told
    for option in ("--size", "--batch-size", "--data", "--precision"):
        assert f"  {option} " in told


def test_bounds_choices_and_types_are_the_fields():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Few:
        plain: int = 3
        name: str = setting(dataclasses.MISSING, "a name")
        share: float = setting(0.5, "of all", least=0, most=1)
        many: int | None = setting(None, "of them", least=1)
        pair: tuple[int, float] = setting((1, 2), "of numbers")
        loud: bool = setting(False, "say it")
        kind: str = setting("a", "which", choices=("a", "b"))

    parser = argparse.ArgumentParser()
    add_options(parser, Few, leave_out=("loud",), share=0.25)
    assert Few(**values_of(Few, parser.parse_args(["--name", "n"]))) == Few(name="n", share=0.25)
    given = parser.parse_args(["--name", "n", "--many", "4", "--pair", "3", "9", "--kind", "b"])
    assert Few(**values_of(Few, given)) == Few(name="n", share=0.25, many=4, pair=(3, 9), kind="b")
    for words in (["--share", "1.5"], ["--share", "nan"], ["--many", "0"]):
        with pytest.raises(ValueError, match=f"{words[0]} must be from"):
            values_of(Few, parser.parse_args(["--name", "n", *words]))
    for wrong in (["--kind", "c"], ["--plain", "4"], ["--loud"], []):
        with pytest.raises(SystemExit):
            parser.parse_args([*(["--name", "n"] if wrong else []), *wrong])
