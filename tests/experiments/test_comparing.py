"""The Boost tab's comparison: one thing varies, and everything else is the same in every row."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.experiments import compare as comparing
from bigroc_core.experiments.boost import DEBIASED, ESTIMATED, Target, run_boost
from bigroc_core.experiments.compare import CLASSIFIER, EPS, STEPS, CompareAsked, commands, compare, settle, values_in
from bigroc_core.experiments.threat_models import Comparison, archive
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.limits import MAX_COMPARED
from bigroc_core.sources import UPLOAD, Source
from bigroc_core.ui import boost_tab, compare_panel

ASKED = CompareAsked(
    source=Source(generator="cifar10-dcgan", count=3, seed=5),
    target=Target(kind=ESTIMATED),
    classifier="cifar10-robust",
    config=bc.BoostConfig(eps=1.0, steps=4),
    varied=EPS,
    values=(0.5, 1.0, 2.0, 4.0),
)


def finished(asked: CompareAsked) -> Comparison:
    *_, run = compare(asked, "cpu")
    assert run.finished
    return run


def test_every_row_is_the_boost_tabs_own_run_of_these_settings() -> None:
    run = finished(ASKED)
    assert [row.name for row in run.rows] == ["ε = 0.5", "ε = 1", "ε = 2", "ε = 4"]
    for place, eps in enumerate(ASKED.values):
        config = replace(ASKED.config, eps=eps)
        *_, alone = run_boost(ASKED.source, ASKED.target, ASKED.classifier, config, "cpu")
        np.testing.assert_array_equal(run.originals, alone.originals)
        np.testing.assert_array_equal(run.targets, alone.targets)
        np.testing.assert_array_equal(run.rows[place].images, alone.frames[-1])
        chances = alone.chances(len(alone.frames) - 1)[np.arange(3), alone.targets]
        np.testing.assert_allclose(run.rows[place].certainty, chances, atol=1e-6)
        assert comparing.row_settings(run, place) == alone.settings
        # Half a level per value is what rounding to 8 bits may add.
        assert float(run.l2(place).max()) <= eps + 0.5 / 255 * np.sqrt(3 * 32 * 32)
    reached = [run.l2(place).mean() for place in range(4)]
    assert reached == sorted(reached)


def test_an_empty_step_size_is_each_rows_own_and_a_given_one_stays() -> None:
    one_step = replace(ASKED, varied=STEPS, values=(1, 2), config=replace(ASKED.config, norm="linf", eps=0.04))
    run = finished(one_step)
    assert [row.name for row in run.rows] == ["T = 1", "T = 2"]
    assert run.linf(0).max() == pytest.approx(0.04, abs=0.5 / 255)
    given = finished(replace(one_step, config=replace(one_step.config, step_size=0.01)))
    assert given.linf(0).max() == pytest.approx(0.01, abs=0.5 / 255)
    assert given.linf(1).max() == pytest.approx(0.02, abs=0.5 / 255)


@pytest.mark.parametrize("target", [ESTIMATED, DEBIASED])
def test_classifiers_share_targets_and_are_judged_by_one(target: str) -> None:
    names = ("cifar10-standard", "cifar10-robust")
    run = finished(replace(ASKED, varied=CLASSIFIER, values=names, target=Target(kind=target, validation_count=50)))
    robust = bc.load_classifier("cifar10-robust")
    originals = from_uint8(run.originals)
    if target == ESTIMATED:
        assert run.targets.tolist() == robust(originals).argmax(1).tolist()
    for place, name in enumerate(names):
        expected = bc.boost(bc.load_classifier(name), originals, run.targets, ASKED.config).images
        assert float((from_uint8(run.rows[place].images) - expected).abs().max()) <= 1 / 255
        p = robust(from_uint8(run.rows[place].images)).softmax(1)[torch.arange(3), torch.from_numpy(run.targets)]
        np.testing.assert_allclose(run.rows[place].certainty, p.detach().numpy(), atol=1e-5)
    # The standard network was convinced, this one is not.
    assert run.rows[0].certainty.mean() < run.rows[1].certainty.mean()


def test_cancelled_midway_it_keeps_what_it_reached() -> None:
    growing = compare(ASKED, "cpu")
    run = next(run for run in growing if run.done == 6)
    growing.close()  # type: ignore[attr-defined]
    settle(run)
    assert [row.name for row in run.rows] == ["ε = 0.5", "ε = 1, step 2 of 4", "ε = 2", "ε = 4"]
    assert [row.finished for row in run.rows] == [True, True, False, False]
    p = bc.load_classifier("cifar10-robust")(from_uint8(run.rows[1].images)).softmax(1).detach().numpy()
    np.testing.assert_allclose(run.rows[1].certainty, p[np.arange(3), run.targets], atol=1e-5)
    files = zipfile.ZipFile(io.BytesIO(archive(run)))
    assert {name.split("/")[0] for name in files.namelist()} == {
        "original",
        "eps-0.5",
        "eps-1-step-2-of-4",
        "table.csv",
        "settings.json",
    }
    assert json.loads(files.read("settings.json"))["cancelled_after_step"] == 6
    shown = compare_panel.results(run)
    assert "Cancelled after step 6 / 16" in shown[0]
    assert shown[1].count("not begun") == 2
    # The whole row's command, whatever was reached of it.
    assert [line.split()[5] for line in commands(run).splitlines()] == ["eps-0.5", "eps-1", "eps-2", "eps-4"]


def test_the_download_is_the_same_every_time_and_holds_the_images() -> None:
    first, second = archive(finished(ASKED)), archive(finished(ASKED))
    assert first == second
    files = zipfile.ZipFile(io.BytesIO(first))
    run = finished(ASKED)
    for place, folder in enumerate(("eps-0.5", "eps-1", "eps-2", "eps-4")):
        names = sorted(name for name in files.namelist() if name.startswith(f"{folder}/"))
        pixels = np.concatenate([to_uint8(read_image(files.read(name)).pixels[None]) for name in names])
        np.testing.assert_array_equal(pixels, run.rows[place].images)
    assert len(files.read("table.csv").decode().splitlines()) == 1 + 4 * 3
    assert json.loads(files.read("settings.json"))["compared"] == {"eps": [0.5, 1.0, 2.0, 4.0]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"varied": STEPS, "values": (2, 3)},
        {"varied": CLASSIFIER, "values": ("cifar10-standard", "cifar10-robust")},
        {
            "source": Source(generator="cifar10-cgan", count=2, classes=("cat", "ship")),
            "target": Target(),
            "values": (2,),
        },
    ],
)
def test_each_rows_command_makes_its_images(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(replace(ASKED, **changes))
    zipfile.ZipFile(io.BytesIO(archive(run))).extractall(tmp_path / "download")
    monkeypatch.chdir(tmp_path / "download")
    lines = [line for line in commands(run).splitlines() if not line.startswith("#")]
    assert len(lines) == len(run.rows)
    for line, row in zip(lines, run.rows, strict=True):
        words = shlex.split(line)[3:]
        words[2] = str(tmp_path / words[2])
        assert main(words) == 0
        written = sorted(Path(words[2]).rglob("*.png"), key=lambda path: path.name)
        assert len(written) == len(row.images)
        for path, expected in zip(written, from_uint8(row.images), strict=True):
            assert float((read_image(path).pixels - expected).abs().max()) <= 2 / 255


@pytest.mark.parametrize(
    ("varied", "text", "classifiers", "says"),
    [
        (EPS, "1, 2, 3, 4, 5", [], f"at most {MAX_COMPARED} settings can be compared at once, not 5"),
        (EPS, "1, 2, 1.0", [], "ε = 1 is there twice"),
        (EPS, " , ", [], "name 1 to 4 numbers"),
        (EPS, "1, much", [], "not 'much'"),
        (EPS, "-1", [], "from 0 to 60"),
        (EPS, "61", [], "from 0 to 60"),
        (EPS, "nan", [], "finite"),
        (STEPS, "10, 201", [], "from 0 to 200, not 201"),
        (STEPS, "1.5", [], "whole number"),
        (STEPS, "3 3", [], "T = 3 is there twice"),
        (CLASSIFIER, "", [], "name 1 to 4 classifiers"),
        (CLASSIFIER, "", ["cifar10-judge"], "no classifier"),
        (CLASSIFIER, "", ["cifar10-robust"] * 2, "twice"),
        (CLASSIFIER, "", list("abcde"), "at most 4"),
        ("norm", "1", [], "what varies is one of eps, steps, classifier"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(varied: str, text: str, classifiers: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        values_in(varied, text, classifiers, "l2")


def test_radii_are_bounded_by_their_norm() -> None:
    assert values_in(EPS, "0.5; 1 60", [], "l2") == (0.5, 1.0, 60.0)
    with pytest.raises(ValueError, match="from 0 to 1 in this norm, not 2"):
        values_in(EPS, "0.5, 2", [], "linf")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"values": (1.0,) * 5}, "at most 4"),
        ({"values": ()}, "not none"),
        ({"classifier": "cifar10-judge"}, "no classifier"),
        ({"source": Source(kind=UPLOAD)}, "uploaded"),
        ({"source": Source(generator="x")}, "no generator"),
        ({"source": Source(generator="cifar10-dcgan", count=65)}, "from 1 to 64"),
        ({"target": Target()}, "no class of their own"),
        ({"config": bc.BoostConfig(steps=201)}, "200"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        list(compare(replace(ASKED, **changes), "cpu"))


def test_the_panel_opens_with_a_finished_example_of_these_very_models(tmp_path: Path) -> None:
    run = comparing.opening()
    assert run.finished
    assert run.settings["steps"] == comparing.opening_request().config.steps > 2
    assert run.settings["compared"] == {"eps": [0.5, 1.0, 2.0, 4.0]}
    assert len(run.targets) == 6
    # Lost or outdated, it is computed again with few steps.
    assert comparing.opening(tmp_path / "none.npz").settings["steps"] == 2


def test_uploads_are_compared_with_their_names_out_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "<b>.png"
    path.write_bytes(next(iter((Path(__file__).parents[2] / "assets/examples").glob("*.png"))).read_bytes())
    run = finished(replace(ASKED, source=Source(kind=UPLOAD, files=(str(path),)), values=(0.5,)))
    assert run.settings["files"] == ["<b>.png"]
    assert "<b>.png" not in compare_panel.results(run)[1]
    assert " boost original eps-0.5 " in commands(run)


def test_a_link_restores_the_panel_with_the_tab() -> None:
    shown = compare_panel.show_varied(CLASSIFIER, "l2")
    assert [update["visible"] for update in shown] == [False, True]
    assert compare_panel.show_varied(EPS, "linf")[0]["value"] == compare_panel.USUAL_LINF
    assert set(compare_panel.OWN).isdisjoint(boost_tab.SHARED)
