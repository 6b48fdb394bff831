"""The four trainers as commands, on a folder and a zip of one's own, alone and in two processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from evaluation.small_models import run_command
from test_own_data import COLOURS, packed, write_classes

from bigroc_core.__main__ import main
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.generators.registry import load_generator

SHORT = ["--batch-size", "8", "--precision", "fp32"]
TINY = ["--arguments", '{"width": 4, "stem_stride": 2}', "--epochs", "2"]
SMALL = ["--arguments", '{"width": 2, "latent": 4}', "--discriminator-width", "2", "--steps", "3"]
WORDNET = ("n01440764", "n02102040", "n03888257")


def train(*words: object) -> int:
    return main(["train", *map(str, words), *SHORT])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_all_four_train_on_three_classes_of_forty_images(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = tuple(COLOURS) if form == "folder" else WORDNET
    data = write_classes(tmp_path / "mine", dict.fromkeys(names, 40), side=(80, 64))
    if form == "zip":
        data = packed(data, tmp_path / "mine.zip")
    for kind in ("robust", "standard"):
        assert train(kind, "--name", kind, "--data", data, "--size", 48, *TINY) == 0
        model = load_classifier(Path("runs") / kind / f"{kind}.safetensors")
        assert (model.classes, model.card.input_size) == (tuple(sorted(names)), (48, 48))
    for family, size in (("seeds", 48), ("vae", 64), ("cgan", 64)):
        arguments = [] if family == "seeds" else SMALL
        assert train("generator", "--family", family, "--name", family, "--data", data, "--size", size, *arguments) == 0
        generator = load_generator(Path("runs") / family / f"{family}.safetensors")
        assert generator.sample(4)[0].shape == (4, 3, size, size)
    init, seeds = Path("runs/robust/robust.safetensors"), Path("runs/seeds/seeds.safetensors")
    joint = ["joint", "--name", "joint", "--init", init, "--generated", f"generator:{seeds}", "--data", data]
    assert train(*joint, "--steps", 4, "--last-steps", 2, "--watched", 6, "--reports", 2) == 0
    model = load_classifier(Path("runs/joint/joint.safetensors"))
    assert (model.classes, model.card.input_size) == (tuple(sorted(names)), (48, 48))
    assert isinstance(model.l0, float)


@pytest.mark.slow
def test_what_two_processes_train_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "mine", dict.fromkeys(COLOURS, 24), side=(32, 32))
    robust = ["robust", "--name", "robust", "--data", "mine", *TINY, "--augmentation", "none"]
    vae = ["generator", "--family", "vae", "--name", "vae", "--data", "mine", *SMALL]
    seeds = ["generator", "--family", "seeds", "--name", "seeds", "--data", "mine"]
    joint = ["joint", "--name", "joint", "--data", "mine", "--init", "runs/robust/robust.safetensors"]
    joint += ["--generated", "generator:runs/seeds/seeds.safetensors", "--steps", "3", "--last-steps", "2"]
    with pytest.raises(AssertionError, match="a batch of 7 cannot be split over 2 processes"):
        run_command(tmp_path, "train", *vae, "--batch-size", 7, "--precision", "fp32", processes=2)
    for words in (robust, vae, seeds, joint):
        done = run_command(tmp_path, "train", *words, *SHORT, processes=2)
        assert done.returncode == 0, done.stderr
        name = words[words.index("--name") + 1]
        state = tmp_path / "runs" / name / "state.pt"
        assert name == "seeds" or torch.load(state, weights_only=True)["step"] > 0
        # What ended in two processes is whole: begun again in one, it exports the same.
        exported = tmp_path / "runs" / name / f"{name}.safetensors"
        before = exported.read_bytes()
        assert train(*words) == 0
        assert exported.read_bytes() == before
    lines = (tmp_path / "runs" / "robust" / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
