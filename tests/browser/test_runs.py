"""What the page runs, without a browser: sources, targets, and the scripts that repeat a run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import DEBIASED, ESTIMATED, GIVEN, Run, Target, run_boost
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.sources import EXAMPLES, UPLOAD, Source
from bigroc_core.ui import boost_tab, examples

CONFIG = bc.BoostConfig(eps=1.0, steps=3)


def finished(source: Source, target: Target, config: bc.BoostConfig = CONFIG) -> Run:
    *_, run = run_boost(source, target, next(iter(classifier_cards())), config, device="cpu")
    assert run.finished
    return run


@pytest.fixture(scope="module")
def generator() -> str:
    return next(iter(generator_cards()))


def write_pictures(folder: Path, names: list[str]) -> list[str]:
    rng = np.random.default_rng(1)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
    return [str(folder / name) for name in names]


def test_classes_and_targets_are_given_in_turn(generator: str) -> None:
    if not generator_cards()[generator].conditional:
        pytest.skip("no class-conditional generator is embedded")
    run = finished(Source(generator=generator, count=5, classes=("dog", "cat")), Target())
    assert [run.classes[y] for y in run.targets] == ["dog", "cat", "dog", "cat", "dog"]
    run = finished(Source(generator=generator, count=3), Target(classes=("truck",)))
    assert [run.classes[y] for y in run.targets] == ["truck"] * 3


def test_debiased_targets_are_those_of_the_engine(generator: str) -> None:
    run = finished(Source(generator=generator, count=8), Target(kind=DEBIASED, validation_count=60, validation_seed=5))
    made = bc.load_generator(generator)
    classifier = bc.load_classifier(run.settings["classifier"], device="cpu")
    held_out, _ = made.sample(60, seed=5)
    shift = bc.fit_debias(classifier, from_uint8(to_uint8(held_out)))
    with torch.inference_mode():
        logits = classifier(from_uint8(run.originals))
    assert run.targets.tolist() == (logits + shift).argmax(1).tolist()


def test_every_step_is_kept_up_to_thirty_and_a_thinned_run_still_ends_at_its_end(generator: str) -> None:
    short = finished(Source(generator=generator, count=1), Target(kind=ESTIMATED))
    assert short.steps == [0, 1, 2, 3]
    long = finished(Source(generator=generator, count=1), Target(kind=ESTIMATED), bc.BoostConfig(eps=1, steps=64))
    assert long.steps[0] == 0
    assert long.steps[-1] == 64
    assert len(long.frames) == len(long.steps) <= 32
    assert float(long.l2(len(long.frames) - 1).max()) <= 1.1
    nothing = finished(Source(generator=generator, count=2), Target(kind=ESTIMATED), bc.BoostConfig(eps=1, steps=0))
    assert (nothing.frames[-1] == nothing.originals).all()
    assert boost_tab.results(nothing, 0, 5)


def test_examples_are_boosted_towards_the_class_they_are_named_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, ["cat-1.png", "ship-2.png"])
    monkeypatch.setattr(examples, "EXAMPLES", tmp_path)
    run = finished(Source(kind=EXAMPLES), Target(kind=GIVEN))
    assert [run.classes[y] for y in run.targets] == ["cat", "ship"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ({"count": 3, "seed": 2}, Target(kind=ESTIMATED)),
        ({"count": 3, "seed": 2}, Target(classes=("cat", "dog"))),
        ({"count": 2}, Target(kind=DEBIASED, validation_count=50)),
        ({"kind": UPLOAD}, Target(classes=("frog",))),
    ],
)
def test_the_python_shown_repeats_runs_of_every_kind(
    source: dict[str, Any], target: Target, generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = tuple(write_pictures(tmp_path, ["b.png", "a.png"]))
    run = finished(Source(generator=generator, files=files, **source), target)
    exec(compile(snippets.as_python(run.settings), "snippet", "exec"), {})
    written = sorted(tmp_path.glob("boosted/*.png"))
    assert len(written) == len(run.targets)
    for path, expected in zip(written, from_uint8(run.frames[-1]), strict=True):
        assert float((read_image(path).pixels - expected).abs().max()) <= 2 / 255


def test_closing_a_run_between_steps_ends_it(generator: str) -> None:
    source = Source(generator=generator, count=2)
    growing = run_boost(source, Target(kind=ESTIMATED), next(iter(classifier_cards())), CONFIG, device="cpu")
    seen = list(itertools.islice(growing, 2))
    growing.close()
    assert [run.step for run in seen] == [1, 1]  # one run, which grew and grows no more
    assert not seen[0].finished
