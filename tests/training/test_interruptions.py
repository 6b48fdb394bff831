"""A run of any trainer that is stopped at any moment ends, when it is begun again, as one that was never stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_data import joint_images, soft_pictures, tiny_robust
from test_own_data import COLOURS, write_classes

from bigroc_core.__main__ import main
from bigroc_core.training import classifier, generator, joint, run
from bigroc_core.training.classifier import train_classifier
from bigroc_core.training.generator import train_generator
from bigroc_core.training.joint import train_joint
from bigroc_core.training.recipes import ClassifierRecipe, Curves, GeneratorRecipe, JointRecipe


def train_a_classifier(folder: Path) -> None:
    recipe = ClassifierRecipe(
        name="tiny", arguments={"width": 4}, eps=0.5, epochs=2, batch_size=16, warmup=2, ema=0.8, precision="fp32"
    )
    train_classifier(recipe, soft_pictures(), folder, "train", save_minutes=1e-9)


def train_a_joint_model(folder: Path) -> None:
    real, source = joint_images()
    recipe = JointRecipe(
        name="tiny",
        init="init",
        real="pictures",
        generated=("columns",),
        weights=(1.0,),
        size=(16, 16),
        steps=4,
        batch_size=8,
        last_steps=2,
        warmup=2,
        ema=0.8,
        precision="fp32",
    )
    train_joint(recipe, tiny_robust(), real, [source], folder, "train", 1e-9, Curves(watched=8, reports=2))


def train_a_generator(folder: Path, family: str = "cgan") -> None:
    arguments = {"width": 4, "latent": 8} if family == "cgan" else {"block_out_channels": [8, 16], "norm_num_groups": 4}
    recipe = GeneratorRecipe(
        name="tiny",
        family=family,
        arguments=arguments,
        discriminator_width=4,
        steps=3,
        batch_size=8,
        intervals=(2, 4),
        precision="fp32",
    )
    train_generator(recipe, soft_pictures(), folder, "train", save_minutes=1e-9)


def train_a_consistency_model(folder: Path) -> None:
    train_a_generator(folder, "consistency")


TRAINERS = {
    "classifier": train_a_classifier,
    "joint": train_a_joint_model,
    "generator": train_a_generator,
    "consistency": train_a_consistency_model,
}
# What a trainer calls at the moments that a run can be stopped at, besides its steps.
MOMENTS = {
    "classifier": [(classifier, "accuracy"), (classifier, "export"), (run, "append_log"), (run, "save_state")],
    "joint": [
        (joint, "separation"),
        (joint, "export"),
        (joint, "realism_statistics"),
        (run, "append_log"),
        (run, "save_state"),
    ],
    "generator": [(generator, "sample_sheet"), (generator, "export"), (run, "append_log"), (run, "save_state")],
    "consistency": [(generator, "export_consistency")],
}


def results(folder: Path) -> dict[str, Any]:
    """All that a run leaves for others: its exported files, and its log but for the time of day."""
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    log = [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".safetensors", ".json", ".png")
    }
    return {"log": log, **files}


class Stopped(BaseException):
    pass


def watched(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, stop_at: int | None = None, *, done: bool = False
) -> list[int]:
    """Count the calls of a function, and stop at one of them, before or after it is done; the count comes back."""
    original, calls = getattr(module, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == stop_at and not done:
            raise Stopped
        result = original(*arguments, **named)
        if calls[0] == stop_at:
            raise Stopped
        return result

    monkeypatch.setattr(module, name, counted)
    return calls


Unbroken = Callable[[str], tuple[dict[str, Any], dict[str, int]]]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The results of a trainer that is never stopped, and how often it came to each of its moments."""
    known: dict[str, tuple[dict[str, Any], dict[str, int]]] = {}

    def of(trainer: str) -> tuple[dict[str, Any], dict[str, int]]:
        if trainer not in known:
            folder = tmp_path_factory.mktemp(trainer)
            with pytest.MonkeyPatch.context() as patch:
                calls = {name: watched(patch, module, name) for module, name in MOMENTS[trainer]}
                TRAINERS[trainer](folder)
            known[trainer] = results(folder), {name: count[0] for name, count in calls.items()}
        return known[trainer]

    return of


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("trainer", "module", "name"),
    [(trainer, *moment) for trainer, moments in MOMENTS.items() for moment in moments],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_stopped_before_or_after_the_last_of_anything_it_ends_the_same(
    trainer: str, module: Any, name: str, done: bool, unbroken: Unbroken, tmp_path: Path
) -> None:
    expected, calls = unbroken(trainer)
    with pytest.MonkeyPatch.context() as patch:
        watched(patch, module, name, calls[name], done=done)
        with pytest.raises(Stopped):
            TRAINERS[trainer](tmp_path)
    TRAINERS[trainer](tmp_path)
    assert results(tmp_path) == expected


@pytest.mark.parametrize("trainer", ["classifier", "joint", "generator"])
def test_a_run_that_has_ended_exports_the_same_when_it_is_begun_again(
    trainer: str, unbroken: Unbroken, tmp_path: Path
) -> None:
    TRAINERS[trainer](tmp_path)
    (tmp_path / "tiny.safetensors").unlink()
    TRAINERS[trainer](tmp_path)
    assert results(tmp_path) == unbroken(trainer)[0]


def test_a_cut_line_in_the_log_is_written_anew(
    unbroken: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        watched(patch, run, "save_state", 6)
        with pytest.raises(Stopped):
            train_a_classifier(tmp_path)
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 8, "sec')
    train_a_classifier(tmp_path)
    assert results(tmp_path) == unbroken("classifier")[0]


def test_sigterm_says_what_ctrl_c_says_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_classes(tmp_path / "mine", dict.fromkeys(COLOURS, 20), side=(16, 16))
    command = ["train", "standard", "--name", "mine", "--data", str(data), "--epochs", "2", "--batch-size", "16"]
    command += ["--arguments", '{"width": 4}', "--precision", "fp32", "--save-minutes", "0", "--run"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    step, steps = torch.optim.SGD.step, [0]

    def terminated(self: torch.optim.SGD, *arguments: Any, **named: Any) -> Any:
        steps[0] += 1
        if steps[0] == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments, **named)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", terminated)
        assert main([*command, str(tmp_path / "broken")]) == 128 + signal.SIGTERM
    assert "interrupted; the same command continues where it stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert main([*command, str(tmp_path / "broken")]) == 0
    found, expected = results(tmp_path / "broken"), results(tmp_path / "whole")
    assert found == expected
