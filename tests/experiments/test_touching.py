"""What the page does with a finished run: other strengths at once, one image towards another class, painted masks."""

from __future__ import annotations

import html
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.experiments.boost import BoostRequest, Run, boost
from bigroc_core.experiments.boost_files import archive
from bigroc_core.experiments.masks import masks_of
from bigroc_core.experiments.repaint import repainted
from bigroc_core.experiments.strengths import STRENGTHS, key_of, radii_up_to, run_key, steps_for, strengths
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.ui import dropped
from bigroc_core.ui import masks as painting
from bigroc_core.ui import strengths as page
from bigroc_core.ui.pictures import pairs

STEPS = 3


def finished(**settings: object) -> Run:
    usual = {"eps": 1.0, "steps": STEPS, "count": 3, "generator": "cifar10-cgan", "classifier": "cifar10-robust"}
    *_, run = boost(BoostRequest(**usual | settings), "cpu")
    return run


@pytest.fixture(scope="module")
def run() -> Run:
    return finished()


def test_strengths_are_what_boosting_at_each_of_them_gives(run: Run) -> None:
    *_, several = strengths(run, 16.0, STEPS)
    assert isinstance(several, Run)
    assert several.steps == list(range(STRENGTHS + 1))
    np.testing.assert_array_equal(several.frames[0], run.originals)
    classifier = bc.load_classifier(run.settings["classifier"], device="cpu")
    for number, eps in enumerate(radii_up_to(16.0), 1):
        config = bc.BoostConfig(eps=eps, steps=STEPS, step_size=run.settings["step_size"])
        alone = bc.boost(classifier, from_uint8(run.originals), torch.from_numpy(run.targets), config)
        away = np.abs(to_uint8(alone.images).astype(int) - several.frames[number])
        assert away.mean() < 0.5, eps  # rounding, which a network amplifies over the steps
    data = page.as_data(several, 16.0, STEPS)
    text = re.fullmatch(rf'<pre hidden data-run="{run_key(run)}">(.*)</pre>', data, re.DOTALL)
    assert text is not None
    assert f'data-run="{run_key(run)}"' in pairs(run, 0, 0), "the pictures that they may stand for"
    told = json.loads(html.unescape(text[1]))
    assert [rung["eps"] for rung in told["rungs"]] == [0.0, *radii_up_to(16.0)]
    assert all(len(rung["cards"]) == 3 for rung in told["rungs"])


def test_runs_that_differ_in_strength_alone_share_theirs(run: Run) -> None:
    assert key_of(run, 16.0) == key_of(finished(eps=2.0), 16.0)
    assert key_of(run, 16.0) != key_of(finished(seed=1), 16.0)
    assert key_of(run, 16.0) != key_of(run, 0.5)
    assert run_key(run) != run_key(repainted(run, 1, "truck"))
    half = np.zeros((32, 32), np.float32)
    assert run_key(replace(run, masks=(half, None, None))) != run_key(replace(run, masks=(None, half, None)))
    assert steps_for(replace(run, stepping=1e6)) == 0
    assert steps_for(replace(run, seconds=1e6, stepping=0.1)) == STEPS


def test_a_repainted_image_is_that_of_a_run_towards_that_class(run: Run) -> None:
    again = repainted(run, 1, "truck")
    names = [run.classes[y] for y in run.targets]
    assert again.settings["target_classes"] == [names[0], "truck", names[2]]
    whole = finished(target_classes=tuple(again.settings["target_classes"]))
    for frame, expected in zip(again.frames, whole.frames, strict=True):
        assert np.abs(frame[1].astype(int) - expected[1]).mean() < 0.5
        assert frame.shape == expected.shape
    for kept in (0, 2):
        np.testing.assert_array_equal(again.frames[-1][kept], run.frames[-1][kept])
    last = len(run.frames) - 1
    assert again.chances(last)[1, again.targets[1]] > run.chances(last)[1, again.targets[1]]
    assert [run.classes[y] for y in run.targets] == names, "the run itself stays as it was"
    with pytest.raises(ValueError, match="no class 'nothing'"):
        repainted(run, 0, "nothing")


def grey(folder: Path, name: str, pixels: np.ndarray) -> str:
    Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return str(folder / name)


def test_a_masked_run_leaves_the_rest_and_its_download_repeats_it(tmp_path: Path) -> None:
    half = np.zeros((32, 32))
    half[:, :16] = 255
    file = grey(tmp_path, "002-anything.png", half)
    run = finished(mask_files=(file,))
    moved = (run.frames[-1] != run.originals).any(axis=3)
    assert not moved[1, :, 16:].any()
    assert moved[1, :, :16].any()
    assert moved[0, :, 16:].any(), "an image without a mask may change everywhere"
    with zipfile.ZipFile(io.BytesIO(archive(run))) as kept:
        names = kept.namelist()
        masks = sorted(name for name in names if name.startswith("masks/"))
        assert [name.split("/")[1] for name in masks] == [
            name.split("/")[1] for name in sorted(names) if name.startswith("boosted/")
        ]
        assert np.array_equal(np.asarray(Image.open(kept.open(masks[1])))[:, :, 0], half)
        rows = kept.read("results.csv").decode().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == [name.removeprefix("masks/") for name in masks]
        assert [row.split(",")[2] for row in rows[1:]] == ["1", "2", "3"]
        settings = json.loads(kept.read("settings.json"))
    assert settings["version"] == bc.__version__
    assert set(settings["weights"]) == {"cifar10-cgan", run.settings["classifier"]}
    again = repainted(run, 1, "truck")
    assert not (again.frames[-1] != again.originals).any(axis=3)[1, :, 16:].any()


@pytest.mark.parametrize(
    ("name", "shape", "value", "said"),
    [
        ("1.png", (32, 32), 0, "black everywhere"),
        ("1.png", (16, 32), 255, "has its image's size"),
        ("4.png", (32, 32), 255, "one of the 3 images"),
        ("0.png", (32, 32), 255, "one of the 3 images"),
        ("all.png", (8, 8), 255, "has its image's size"),
    ],
)
def test_masks_that_cannot_be_are_refused_by_name(
    tmp_path: Path, run: Run, name: str, shape: tuple[int, int], value: int, said: str
) -> None:
    file = grey(tmp_path, name, np.full(shape, value))
    with pytest.raises(ValueError, match=said) as refused:
        masks_of([file], run.originals)
    assert name in str(refused.value)


def test_paint_becomes_a_mask_and_paint_again() -> None:
    layer = np.zeros((384, 384, 4), np.uint8)
    layer[:96, :, 3] = round(255 * painting.OPACITY)
    mask = painting.painted([layer], (32, 32))
    assert mask is not None
    assert mask[:8].min() == pytest.approx(1, abs=0.01)
    assert mask[8:].max() == 0
    assert painting.painted([np.zeros_like(layer)], (32, 32)) is None
    assert painting.painted([], (32, 32)) is None


def test_masks_go_with_the_images_they_were_painted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(painting, "inform", said.append)
    painted = [grey(tmp_path, f"00{number}.png", np.full((32, 32), 255)) for number in (1, 3)]
    whole = [grey(tmp_path, "all.png", np.full((32, 32), 255))]
    # Other images under the same numbers.
    assert painting.numbered_dropped(painted)[0] is None
    assert painting.dropped(painted)[0] is None
    # Fewer of the same.
    assert painting.numbered_dropped(painted, 2)[0] == painted[:1]
    assert "Marked: image 1." in painting.numbered_dropped(painted, 2)[1]
    assert said == [painting.TAKEN] * 4
    # Nobody's in particular, or still theirs.
    for kept in (painting.numbered_dropped(whole), painting.numbered_dropped(whole, 1), painting.dropped(None)):
        assert kept == (gr.skip(), gr.skip())
    assert painting.numbered_dropped(painted, 3) == (gr.skip(), gr.skip())
    assert said == [painting.TAKEN] * 4


def test_what_is_painted_on_images_that_the_next_run_does_not_have_is_no_mask_of_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painting, "saved", lambda name, data: str(tmp_path / name))
    layer = np.zeros((384, 384, 4), np.uint8)
    layer[:96, :, 3] = round(255 * painting.OPACITY)
    paint = {"layers": [layer], "composite": layer, "background": None}
    same = ("Generator", "cifar10-cgan", 0, [], None)
    files, note = painting.keep(run, 2, paint, None, *same)
    assert [Path(file).name for file in files] == ["002.png"]
    assert "Marked: image 2" in note
    others = [("Generator", "cifar10-cgan", 1, [], None), ("Generator", "cifar10-cgan", 0, ["cat"], None)]
    others += [("Upload", "cifar10-cgan", 0, [], ["a.png"]), ("Generator", "cifar10-dcgan", 0, [], None)]
    for drawn_by in others:
        assert painting.keep(run, 2, paint, None, *drawn_by) == (gr.skip(), painting._note(painting.OTHERS)), drawn_by
        assert painting.put_on_canvas(run, 2, None, *drawn_by)[2] == painting._note(painting.OTHERS)


def test_dropped_settings_of_a_masked_exact_run_say_so() -> None:
    settings = {"eps": 1.0, "classifier": "cifar10-robust", "masks": ["002-anything.png"]}
    assert "002-anything.png" in " ".join(dropped.notes_on(settings))
    assert not [note for note in dropped.notes_on(settings | {"masks": []}) if "mask" in note]
    query = dropped.as_query(settings, dict.fromkeys(("eps", "classifier", "target_classes", "precision")))
    assert query.getlist("precision") == ["exact"]
    assert query.getlist("target_classes") == [""]
    said = dropped.as_query(settings | {"precision": "fast"}, {"precision": None})
    assert said.getlist("precision") == ["fast"]
