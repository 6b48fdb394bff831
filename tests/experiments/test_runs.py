"""What the page runs, without a browser: sources, targets, and the scripts that repeat a run."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import build_parser, main
from bigroc_core.catalogue import generator_cards
from bigroc_core.classifiers.own import loading, loading_generator, shell
from bigroc_core.cli.evaluate import measurement_of
from bigroc_core.cli.options import boosting, preset_of
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import BoostRequest, Run, boost
from bigroc_core.experiments.measurement import Measurement
from bigroc_core.experiments.requests import DEBIASED, ESTIMATED, GIVEN
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.models_file import ModelEntry, add_model, added_until_then
from bigroc_core.settings import default_of
from bigroc_core.sources import EXAMPLES, UPLOAD
from bigroc_core.ui import boost_results, boost_tab
from bigroc_core.ui.forms import shared_names


def finished(**settings: Any) -> Run:
    usual = {"classifier": "cifar10-robust", "eps": 1.0, "steps": 3}
    *_, run = boost(BoostRequest(**usual | settings), device="cpu")
    assert run.finished
    return run


@pytest.fixture(scope="module")
def generator() -> str:
    return "cifar10-cgan"


def write_pictures(folder: Path, names: list[str]) -> list[str]:
    rng = np.random.default_rng(1)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
    return [str(folder / name) for name in names]


def test_classes_and_targets_are_given_in_turn(generator: str) -> None:
    run = finished(generator=generator, count=5, classes=("dog", "cat"))
    assert [run.classes[y] for y in run.targets] == ["dog", "cat", "dog", "cat", "dog"]
    run = finished(generator=generator, count=3, target_classes=("truck",))
    assert [run.classes[y] for y in run.targets] == ["truck"] * 3


def test_debiased_targets_are_those_of_the_engine(generator: str) -> None:
    run = finished(generator=generator, count=8, target=DEBIASED, validation_count=60, validation_seed=5)
    made = bc.load_generator(generator)
    classifier = bc.load_classifier(run.settings["classifier"], device="cpu")
    held_out, _ = made.sample(60, seed=5)
    shift = bc.fit_debias(classifier, from_uint8(to_uint8(held_out)))
    with torch.inference_mode():
        logits = classifier(from_uint8(run.originals))
    assert run.targets.tolist() == (logits + shift).argmax(1).tolist()


def test_every_step_is_kept_up_to_thirty_and_a_thinned_run_still_ends_at_its_end(generator: str) -> None:
    short = finished(generator=generator, count=1, target=ESTIMATED)
    assert short.steps == [0, 1, 2, 3]
    long = finished(generator=generator, count=1, target=ESTIMATED, steps=64)
    assert long.steps[0] == 0
    assert long.steps[-1] == 64
    assert len(long.frames) == len(long.steps) <= 32
    assert float(long.l2(len(long.frames) - 1).max()) <= 1.1
    nothing = finished(generator=generator, count=2, target=ESTIMATED, steps=0)
    assert (nothing.frames[-1] == nothing.originals).all()
    assert boost_results.results(nothing, 0, 5)


def test_examples_are_boosted_towards_the_class_they_are_named_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, ["cat-1.png", "ship-2.png"])
    monkeypatch.setattr("bigroc_core.sources.EXAMPLE_FOLDER", tmp_path)
    run = finished(source=EXAMPLES, target=GIVEN)
    assert [run.classes[y] for y in run.targets] == ["cat", "ship"]


@pytest.mark.parametrize(
    "settings",
    [
        {"count": 3, "seed": 2, "target": ESTIMATED},
        {"count": 3, "seed": 2, "target_classes": ("cat", "dog")},
        {"count": 2, "target": DEBIASED, "validation_count": 50},
        {"source": UPLOAD, "target_classes": ("frog",)},
    ],
)
def test_the_python_shown_repeats_runs_of_every_kind(
    settings: dict[str, Any], generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = tuple(write_pictures(tmp_path, ["b.png", "a.png"]))
    run = finished(generator=generator, files=files, **settings)
    exec(compile(snippets.as_python(run.settings), "snippet", "exec"), {})
    written = sorted(tmp_path.glob("boosted/*.png"))
    assert len(written) == len(run.targets)
    for path, expected in zip(written, from_uint8(run.frames[-1]), strict=True):
        assert float((read_image(path).pixels - expected).abs().max()) <= 2 / 255


def test_the_python_numbers_classes_as_the_classifier_does_and_reads_the_files_that_were_used(
    generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cards = dict(snippets.classifier_cards())
    card = cards["cifar10-robust"]
    cards["turned"] = dataclasses.replace(card, name="turned", classes=card.classes[::-1])
    monkeypatch.setattr(snippets, "classifier_cards", lambda: cards)
    settings = finished(generator=generator, count=2).settings
    assert "labels = [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0][y] for y in labels]" in snippets.as_python(
        settings | {"classifier": "turned"}
    )
    assert "[y] for y" not in snippets.as_python(settings)
    files = write_pictures(tmp_path, ["b.png", "a.png"])
    (tmp_path / "broken.png").write_text("no image")
    run = finished(source=UPLOAD, files=(files[0], str(tmp_path / "broken.png"), files[1]), target=ESTIMATED)
    assert run.settings["files"] == ["b.png", "a.png"]
    exec(compile(snippets.as_python(run.settings), "snippet", "exec"), {})
    assert len(list(tmp_path.glob("boosted/*.png"))) == 2


def test_a_command_says_that_nothing_stops_early_where_the_card_would(generator: str) -> None:
    joint = {"generator": generator, "classifier": "cifar10-joint", "loss": "ce"}
    command = snippets.as_command(finished(**joint, count=1, steps=1).settings)
    options = build_parser().parse_args(shlex.split(command)[3:])
    preset = preset_of(generator_cards()[generator], "cifar10-joint")
    assert preset["stop_at"] == "l0"  # which it would be
    assert boosting(options, preset).stop_at is None
    asked = Measurement(images=f"generator:{generator}", classifier="cifar10-joint", config=bc.BoostConfig())
    assert measurement_of(build_parser().parse_args(shlex.split(asked.command)[3:])).config.stop_at is None
    command = snippets.as_command(finished(generator=generator, count=1, steps=1).settings)
    assert "none" not in command  # no preset has it with this classifier


def test_what_is_copied_names_where_a_model_of_this_run_comes_from(generator: str, tmp_path: Path) -> None:
    said = {"arch": "resnet18", "class_names": ("tench, Tinca tinca", "goldfish"), "input_size": (64, 48)}
    with added_until_then():
        add_model(ModelEntry(name="net", kind="classifier", source="folder/net.pt", **said))
        add_model(ModelEntry(name="gan", kind="generator", source="folder/gan.safetensors?truncation=0.5"))
        words = shlex.split(shell(["boost", "generator:gan", "out", "--classifier", "net"]))
        assert words[1:5] == ["generator:folder/gan.safetensors?truncation=0.5", "out", "--classifier", "folder/net.pt"]
        # Names with commas in them come from a file.
        described = ["--arch", "resnet18", "--class-names", "FILE_OF_CLASS_NAMES", "--input-size", "64x48"]
        assert words[5:] == described
        names = "class_names=('tench, Tinca tinca', 'goldfish')"
        assert loading("net") == f"bc.load_classifier('folder/net.pt', arch='resnet18', {names}, input_size=(64, 48))"
        assert loading_generator("gan") == "bc.load_generator('folder/gan.safetensors?truncation=0.5')"


def test_page_command_and_python_give_the_same_bytes(
    generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {name: default_of(BoostRequest, name) for name in shared_names(BoostRequest)}
    settings |= {"generator": generator, "classifier": "cifar10-robust", "count": 3, "seed": 7, "steps": 4}
    settings |= {"target": DEBIASED, "validation_count": 50}
    *_, shown = boost_tab.boost(**settings, gain=5, request=gr.Request(session_hash="roads"))
    archive, python, command = shown[9:12]
    with zipfile.ZipFile(archive) as page:
        pages = [page.read(name) for name in sorted(page.namelist()) if name.startswith("boosted/")]
    exec(compile(python, "copied", "exec"), {})
    own = [path.read_bytes() for path in sorted(tmp_path.glob("boosted/*.png"))]
    words = shlex.split(command)[3:]
    words[words.index("boosted")] = "commanded"
    assert main(words) == 0
    written = [path.read_bytes() for path in sorted(tmp_path.glob("commanded/**/*.png"), key=lambda path: path.name)]
    assert len(pages) == 3
    assert pages == own == written


def test_closing_a_run_between_steps_ends_it(generator: str) -> None:
    growing = boost(BoostRequest(generator=generator, count=2, target=ESTIMATED, eps=1.0, steps=3), device="cpu")
    seen = list(itertools.islice(growing, 2))
    growing.close()
    assert [run.step for run in seen] == [1, 1]  # one run, which grew and grows no more
    assert not seen[0].finished
