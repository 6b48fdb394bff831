"""The Boost tab's comparison: one thing varies, and everything else is the same in every row."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.experiments import compare as comparing
from bigroc_core.experiments.boost import BoostRequest, boost
from bigroc_core.experiments.compare import CLASSIFIER, EPS, STEPS, CompareRequest, commands, compare, settle
from bigroc_core.experiments.comparison import Comparison, archive
from bigroc_core.experiments.requests import DEBIASED, ESTIMATED, GIVEN
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.limits import MAX_COMPARED
from bigroc_core.norms import NORMS
from bigroc_core.places import ASSETS
from bigroc_core.sources import UPLOAD
from bigroc_core.ui import boost_tab, compare_panel

REQUEST = CompareRequest(
    generator="cifar10-dcgan",
    count=3,
    seed=5,
    target=ESTIMATED,
    classifier="cifar10-robust",
    eps=1.0,
    steps=4,
    vary=EPS,
    values="0.5, 1, 2, 4",
)


def finished(request: CompareRequest) -> Comparison:
    *_, run = compare(request, "cpu")
    assert run.finished
    return run


def test_every_row_is_the_boost_tabs_own_run_of_these_settings() -> None:
    run = finished(REQUEST)
    assert [row.name for row in run.rows] == ["ε = 0.5", "ε = 1", "ε = 2", "ε = 4"]
    shared = {field.name: getattr(REQUEST, field.name) for field in fields(BoostRequest)}
    for place, eps in enumerate(REQUEST.compared()):
        *_, alone = boost(BoostRequest(**shared | {"eps": eps}), "cpu")
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
    one_step = replace(REQUEST, vary=STEPS, values="1, 2", norm="linf", eps=0.04)
    run = finished(one_step)
    assert [row.name for row in run.rows] == ["T = 1", "T = 2"]
    assert run.linf(0).max() == pytest.approx(0.04, abs=0.5 / 255)
    given = finished(replace(one_step, step_size=0.01))
    assert given.linf(0).max() == pytest.approx(0.01, abs=0.5 / 255)
    assert given.linf(1).max() == pytest.approx(0.02, abs=0.5 / 255)


@pytest.mark.parametrize("target", [ESTIMATED, DEBIASED])
def test_classifiers_share_targets_and_are_judged_by_one(target: str) -> None:
    names = ("cifar10-standard", "cifar10-robust")
    run = finished(replace(REQUEST, vary=CLASSIFIER, classifiers=names, target=target, validation_count=50))
    robust = bc.load_classifier("cifar10-robust")
    originals = from_uint8(run.originals)
    if target == ESTIMATED:
        assert run.targets.tolist() == robust(originals).argmax(1).tolist()
    for place, name in enumerate(names):
        expected = bc.boost(bc.load_classifier(name), originals, run.targets, REQUEST.config).images
        assert float((from_uint8(run.rows[place].images) - expected).abs().max()) <= 1 / 255
        p = robust(from_uint8(run.rows[place].images)).softmax(1)[torch.arange(3), torch.from_numpy(run.targets)]
        np.testing.assert_allclose(run.rows[place].certainty, p.detach().numpy(), atol=1e-5)
    # The standard network was convinced, this one is not.
    assert run.rows[0].certainty.mean() < run.rows[1].certainty.mean()


def test_cancelled_midway_it_keeps_what_it_reached() -> None:
    growing = compare(REQUEST, "cpu")
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
    assert "Cancelled after step 6 / 16" in shown[1]
    assert shown[2].count("not begun") == 2
    # The whole row's command, whatever was reached of it.
    assert [line.split()[5] for line in commands(run).splitlines()] == ["eps-0.5", "eps-1", "eps-2", "eps-4"]


def test_the_download_is_the_same_every_time_and_holds_the_images() -> None:
    first, second = archive(finished(REQUEST)), archive(finished(REQUEST))
    assert first == second
    files = zipfile.ZipFile(io.BytesIO(first))
    run = finished(REQUEST)
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
        {"vary": STEPS, "values": "2, 3"},
        {"vary": CLASSIFIER, "classifiers": ("cifar10-standard", "cifar10-robust")},
        {"generator": "cifar10-cgan", "count": 2, "classes": ("cat", "ship"), "target": GIVEN, "values": "2"},
    ],
)
def test_each_rows_command_makes_its_images(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(replace(REQUEST, **changes))
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
    ("vary", "text", "classifiers", "says"),
    [
        (EPS, "1, 2, 3, 4, 5", [], f"at most {MAX_COMPARED} settings can be compared at once, not 5"),
        (EPS, "1, 2, 1.0", [], "ε = 1 is there twice"),
        (EPS, " , ", [], "name 1 to 4 numbers"),
        (EPS, "1, much", [], "not 'much'"),
        (EPS, "-1", [], "from 0 to 1800"),
        (EPS, "1801", [], "from 0 to 1800"),
        (EPS, "nan", [], "finite"),
        (STEPS, "10, 201", [], "from 0 to 200, not 201"),
        (STEPS, "1.5", [], "whole number"),
        (STEPS, "3 3", [], "T = 3 is there twice"),
        (CLASSIFIER, "", [], "name 1 to 4 classifiers"),
        (CLASSIFIER, "", ["cifar10-judge"], "classifiers must be one of"),
        (CLASSIFIER, "", ["cifar10-robust"] * 2, "twice"),
        (CLASSIFIER, "", ["cifar10-robust"] * 5, "at most 4"),
        ("norm", "1", [], "vary must be one of eps, steps, classifier"),
        (EPS, ["1"], [], "values must be a text"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(vary: Any, text: Any, classifiers: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(REQUEST, vary=vary, values=text, classifiers=classifiers)


def test_radii_are_bounded_by_their_norm() -> None:
    assert replace(REQUEST, values="0.5; 1 60").compared() == (0.5, 1.0, 60.0)
    with pytest.raises(ValueError, match="from 0 to 1 in this norm, not 2"):
        replace(REQUEST, values="0.5, 2", norm="linf")


def test_only_what_moves_images_needs_to_know_the_loss() -> None:
    joint = replace(REQUEST, vary=CLASSIFIER, classifiers=("cifar10-joint",), loss="combined", stop_at="l0")
    assert joint.movers == ("cifar10-joint",)
    for wrong in ({"classifiers": ("cifar10-joint", "cifar10-standard")}, {"vary": EPS}):
        with pytest.raises(ValueError, match="joint model"):
            replace(joint, **wrong)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classifier": "cifar10-judge"}, "classifier must be one of"),
        ({"source": UPLOAD}, "uploaded"),
        ({"generator": "x"}, "generator must be one of"),
        ({"count": 65}, "from 1 to 64"),
        ({"target": GIVEN}, "no class of their own"),
        ({"steps": 201}, "200"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(REQUEST, **changes)


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
    path.write_bytes(next((ASSETS / "examples").glob("*.png")).read_bytes())
    run = finished(replace(REQUEST, source=UPLOAD, files=(str(path),), values="0.5"))
    assert run.settings["files"] == ["<b>.png"]
    assert "<b>.png" not in compare_panel.results(run)[1]
    assert " boost original eps-0.5 " in commands(run)


def test_a_link_restores_the_panel_with_the_tab() -> None:
    shown = compare_panel.show_varied(CLASSIFIER, "l2")
    assert [update["visible"] for update in shown] == [False, True]
    assert compare_panel.show_varied(EPS, "linf")[0]["value"] == NORMS["linf"].compared
    assert set(compare_panel.OWN).isdisjoint(boost_tab.SHARED)
