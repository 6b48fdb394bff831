"""What the Evaluate tab accepts, which command it shows, and what it says of the numbers."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shlex
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.catalogue import generator_cards
from bigroc_core.classifiers.registry import embedded_classifiers, is_judge
from bigroc_core.cli.evaluate import add_evaluate_parser
from bigroc_core.cli.options import boosting, preset_of
from bigroc_core.evaluation import ERRORS, UNBOOSTED, Evaluation, Metric, Row
from bigroc_core.experiments import evaluate as measurement
from bigroc_core.experiments.evaluate import FIXED, PRESET, SWEEP, UPLOADED_SET, Measured, Measurement
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.images import encode_png
from bigroc_core.sources import GENERATOR
from bigroc_core.ui import evaluate_tab, findings
from bigroc_core.ui.evaluate_tab import Form

pytestmark = pytest.mark.skipif(
    not any(is_judge(card) for card in embedded_classifiers().values()), reason="no judge is embedded"
)

FORM = Form(GENERATOR, next(iter(generator_cards())), 400, 1, "cifar10-robust", FIXED, 1.0, 5, "l2", [], 0, [])


def problems(**changed: Any) -> dict[str, str]:
    """What the page says at which control about a form."""
    form = dataclasses.replace(FORM, **changed)
    names = ["job", *(field.name for field in dataclasses.fields(Form))]
    told = evaluate_tab.check("", *dataclasses.astuple(form))
    return {name: one["message"] for name, one in zip(names, told, strict=True) if not one["is_valid"]}


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_the_form_as_it_stands_can_be_measured() -> None:
    assert problems() == {}
    assert problems(eps_from=PRESET, eps=None) == {}


@pytest.mark.parametrize(
    ("changed", "control", "said"),
    [
        ({"eps": -1.0}, "eps", "eps"),
        ({"eps": math.nan}, "eps", "eps"),
        ({"eps": 1e30}, "eps", "eps"),
        ({"eps": 61.0}, "eps", "at most 60"),
        ({"eps": 1.5, "norm": "linf"}, "eps", "at most 1"),
        ({"eps": None}, "eps", "eps"),
        ({"steps": 201}, "steps", "at most 200"),
        ({"steps": 2.5}, "steps", "steps"),
        ({"count": math.nan}, "count", "whole number"),
        ({"count": 10_001}, "count", "10,000"),
        ({"count": 30}, "count", "needs at least"),
        ({"seeds": 4}, "seeds", "from 1 to 3"),
        ({"classifier": "cifar10-judge"}, "classifier", "cifar10-judge"),
        ({"generator": "unheard-of"}, "generator", "unheard-of"),
        ({"eps_from": "by guess"}, "eps_from", "choose one of"),
        ({"source": "thin air"}, "source", "choose"),
        ({"eps_from": SWEEP, "eps": 0.0}, "eps", "above 0"),
        ({"eps_from": SWEEP, "steps": 0}, "steps", "at least 1"),
        ({"eps_from": SWEEP, "count": 200}, "count", "at least"),
        ({"eps_from": SWEEP, "classifier": "cifar10-standard"}, "eps_from", "cifar10-standard"),
        ({"source": UPLOADED_SET}, "file", "add a zip"),
        ({"source": UPLOADED_SET, "eps_from": PRESET}, "eps_from", "no preset"),
        ({"source": UPLOADED_SET, "seeds": 2}, "seeds", "no seeds"),
    ],
)
def test_what_cannot_be_measured_is_said_at_its_control(changed: dict[str, Any], control: str, said: str) -> None:
    told = problems(**changed)
    assert said.lower() in told[control].lower()
    assert told[control].endswith(".")


def wrong_keys(folder: Path) -> Path:
    np.savez(folder / "keys.npz", images=pictures(3))
    return folder / "keys.npz"


def labels_out_of_range(folder: Path) -> Path:
    np.savez(folder / "labels.npz", arr_0=pictures(400), arr_1=np.full(400, 10))
    return folder / "labels.npz"


def too_few(folder: Path) -> Path:
    np.savez(folder / "few.npz", arr_0=pictures(50))
    return folder / "few.npz"


def no_archive(folder: Path) -> Path:
    (folder / "poem.zip").write_text("roses are red")
    return folder / "poem.zip"


def other_kind(folder: Path) -> Path:
    (folder / "poem.txt").write_text("roses are red")
    return folder / "poem.txt"


def no_images(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "texts.zip", "w") as archive:
        archive.writestr("poem.txt", "roses are red")
    return folder / "texts.zip"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (wrong_keys, "expected arr_0"),
        (labels_out_of_range, "expected 0 to 9"),
        (too_few, "needs at least"),
        (no_archive, "not a whole zip"),
        (other_kind, "neither a zip nor an .npz"),
        (no_images, "images"),
    ],
)
def test_a_set_that_cannot_be_used_is_refused_at_the_upload(
    make: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    told = problems(source=UPLOADED_SET, generator="", file=str(path))
    assert said in told["file"]
    assert str(tmp_path) not in told["file"]


def test_asking_for_more_images_than_the_set_has_names_both_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", arr_0=pictures(300))
    told = problems(source=UPLOADED_SET, file=str(tmp_path / "set.npz"), count=301)
    assert told == {"count": "The set has 300 images; 301 were asked for."}
    said, count = evaluate_tab.check_set(str(tmp_path / "set.npz"), "cifar10-robust")
    assert count == 300
    assert "no labels: cifar10-robust estimates the targets" in said


def test_inception_is_never_downloaded_for_a_visitor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    told = problems(inception=["FID", "precision/recall"])
    assert "need Inception's weights, which this server does not have" in told["inception"]
    (tmp_path / "checkpoints").mkdir()
    measurement.inception_weights().write_bytes(b"")
    monkeypatch.setenv("BIGROC_DATA", str(tmp_path / "nowhere"))
    assert "CIFAR-10's images" in problems(inception=["FID"])["inception"]
    assert problems(inception=["IS"]) == {}
    monkeypatch.setenv("BIGROC_DATA", str(tmp_path))
    assert "FID needs 2,049" in problems(inception=["FID"])["inception"]


def test_the_page_comes_up_without_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "embedded_classifiers", dict)
    measurement.judge_name.cache_clear()
    with gr.Blocks() as page:
        evaluate_tab.build()
    said = [block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)]
    assert any("holds no judge" in text for text in said)


@pytest.fixture(autouse=True)
def _judge_again() -> Iterator[None]:
    yield
    measurement.judge_name.cache_clear()


# ------------------------------------------------------------------------------------------------- the command


def parsed(asked: Measurement) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_evaluate_parser(parser.add_subparsers())
    return parser.parse_args(shlex.split(measurement.command(asked))[3:])


@pytest.mark.parametrize(
    "changed",
    [
        {"seeds": 3, "compare_with": ["standard network"]},
        {"norm": "linf", "eps": 0.03, "steps": 7},
        {"eps_from": PRESET},
        {"classifier": "cifar10-standard", "compare_with": ["standard network"]},
    ],
)
def test_the_command_says_the_same_settings(changed: dict[str, Any]) -> None:
    asked, wrong = evaluate_tab._asked(dataclasses.replace(FORM, **changed))
    assert wrong == {}
    assert asked is not None
    options = parsed(asked)
    assert boosting(options, preset_of(embedded_generators()[asked.generator])) == asked.config
    assert (options.images, options.count) == (f"generator:{asked.generator}", asked.count)
    assert options.seeds == list(range(asked.seeds))
    assert options.classifier == asked.classifier
    # A network is no control of its own boosting.
    assert options.control == (
        "cifar10-standard" if asked.classifier != "cifar10-standard" and asked.standard else "none"
    )
    assert options.no_random_direction == (not asked.random)


def test_the_command_of_a_sweep_searches_the_same_range() -> None:
    asked = Measurement(
        config=bc.BoostConfig(eps=0.05, norm="linf"),
        classifier="cifar10-robust",
        eps_from=SWEEP,
        generator="any",
        count=5000,
        seeds=2,
    )
    options = parsed(asked)
    assert options.find_eps
    assert options.largest / math.sqrt(3 * 32 * 32) == pytest.approx(0.05, rel=1e-12)
    assert (options.sweep_count, options.sweep_seeds) == (1000, [1000, 1001])
    assert not set(options.sweep_seeds) & set(options.seeds)


# ------------------------------------------------------------------------------------------------- measuring


def test_a_corrupt_member_of_a_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    path = tmp_path / "inputs" / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, picture in enumerate(pictures(200)):
            data = encode_png(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
            archive.writestr(f"cat/{number:03}.png", data[: len(data) // 2] if number == 7 else data)
    assert problems(source=UPLOADED_SET, file=str(path), count=200) == {}
    asked = Measurement(
        config=bc.BoostConfig(steps=1),
        classifier="cifar10-robust",
        source=UPLOADED_SET,
        file="set.zip",
        count=200,
        standard=False,
        random=False,
    )
    with pytest.raises(ValueError, match=r"007\.png"):
        measurement.measure(asked, tmp_path, lambda *_: None)


def test_progress_ends_with_the_whole_and_never_passes_it() -> None:
    seen: list[float] = []
    asked = Measurement(
        config=bc.BoostConfig(steps=10),
        classifier="cifar10-robust",
        eps_from=SWEEP,
        generator="any",
        count=500,
        seeds=2,
    )
    stages = measurement.Stages(asked, lambda _text, fraction, _left=None: seen.append(fraction))
    for seed in asked.sweep_seeds:
        stages(f"path, seed {seed}", 500, 500)
    for eps in ("0", "0.5", "0.75", "1"):
        for seed in asked.sweep_seeds:
            stages(f"eps {eps}, seed {seed}", 500, 500)
    after_sweep = seen[-1]
    for seed in range(asked.seeds):
        for done in (0, 250, 500):
            stages(f"evaluate, seed {seed}", done, 500)
    stages("metrics", 2, 2)
    assert seen == sorted(seen)
    assert 0.4 < after_sweep < 0.8
    assert seen[-1] == 0.99


# ------------------------------------------------------------------------------------------------- what is said


def found(before: float, after: float, wrong: tuple[float, float] = (0.38, 0.12), l2: float = 1.0) -> Evaluation:
    metric = Metric("distance", "CIFAR-10 train", False)
    rows = (
        Row(UNBOOSTED, {metric: (before, before), ERRORS: (wrong[0],) * 2}, (0.0, 0.0)),
        Row("boosted, cifar10-robust", {metric: (after, after), ERRORS: (wrong[1],) * 2}, (l2, l2)),
        Row("random direction, same ‖δ‖", {metric: (2 * before, 2 * before), ERRORS: (0.4, 0.4)}, (l2, l2)),
    )
    return Evaluation("generator:any", "cifar10-judge", "", 500, (0, 1), bc.BoostConfig(), rows)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (found(1.0, 0.77), "brings these images <b>23 % nearer</b> to CIFAR-10 train in cifar10-judge's features"),
        (found(1.0, 0.77), "errors on the targets <b>fall from 38 % to 12 %</b>"),
        (found(1.0, 1.5, (0.2, 0.3)), "takes these images <b>50 % farther</b>"),
        (found(1.0, 1.5, (0.2, 0.3)), "<b>rise from 20 % to 30 %</b>"),
        (found(1.0, 1.0, (0.2, 0.2)), "<b>as far</b>"),
        (found(1.0, 1.0, (0.2, 0.2)), "<b>stay at 20 %</b>"),
        (found(1.0, 1.0, l2=0.0), "moves nothing"),
        (found(1.0, 0.77), "random direction −100.0 %"),
    ],
)
def test_the_headline_says_what_the_numbers_say(numbers: Evaluation, said: str) -> None:
    assert said in findings.headline(numbers)


def test_the_table_marks_the_best_and_the_way_each_gain_goes() -> None:
    shown = findings.table(found(1.0, 0.77))
    rows = shown.split("<tr")[2:]
    assert [" class=best" in row[:12] for row in rows] == [False, True, False]
    assert '<td class="gain better">+23.0 ± 0.0 %</td>' in rows[1]
    assert '<td class="gain worse">−100.0 ± 0.0 %</td>' in rows[2]
    assert "<b>12.0 ± 0.0</b>" in rows[1]


def test_files_are_written_and_their_json_is_json_even_of_gains_over_nothing(tmp_path: Path) -> None:
    asked = Measurement(config=bc.BoostConfig(), classifier="cifar10-robust", generator="any")
    one_seed = dataclasses.replace(
        found(0.0, 0.5),
        seeds=(0,),
        rows=tuple(
            Row(row.name, {metric: values[:1] for metric, values in row.scores.items()}, row.l2[:1])
            for row in found(0.0, 0.5).rows
        ),
    )
    measured = Measured(asked, one_seed, None, ("a note",), 1.0)
    paths = findings.write(measured, tmp_path)
    assert set(paths) == {findings.CSV, findings.LATEX, findings.JSON}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads(paths[findings.JSON].read_text(), parse_constant=refuse)
    assert read["rows"][1]["scores"][0]["mean"] == 0.5
    assert read["rows"][1]["scores"][0]["gain"]["mean"] is None
    assert read["notes"] == ["a note"]
    assert "0.5" in paths[findings.CSV].read_text()
    assert r"\toprule" in paths[findings.LATEX].read_text()
    assert "–" in findings.table(measured.found)


def test_the_tab_opens_with_the_numbers_that_a_card_keeps():
    cards = generator_cards()
    name, card = next(iter(cards.items()))
    found = Evaluation.from_dict(json.loads(json.dumps(card.metrics["evaluate"])))
    told = found.to_dict()
    assert told == {key: card.metrics["evaluate"][key] for key in told}
    shown = findings.opening(cards)
    assert shown is not None
    assert findings.headline(found) in shown
    assert findings.table(found) in shown
    assert name in shown
    assert card.metrics["evaluate"]["command"] in shown


def test_a_card_that_keeps_no_evaluation_shows_none():
    card = next(iter(generator_cards().values()))
    for kept in ({}, {"rows": 3}, card.metrics["evaluate"] | {"rows": []}):
        assert findings.opening({"mine": dataclasses.replace(card, metrics={"evaluate": kept})}) is None
    assert findings.opening({"mine": dataclasses.replace(card, metrics={})}) is None
