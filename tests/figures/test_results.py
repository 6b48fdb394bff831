"""*Make a figure of this*: what the page shows, its pixels exactly, in three formats."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from bigroc_core.experiments import compare, debias, every_class, interpolate, threat_models
from bigroc_core.experiments.comparison import Comparison
from bigroc_core.figures.recipe import from_json
from bigroc_core.figures.results import MAX_ROW, of_comparison, of_interpolation, of_study


def colours(pixels: np.ndarray) -> set[int]:
    return set(np.unique(pixels.reshape(-1, 3).astype(np.int64) @ [2**16, 2**8, 1]).tolist())


def drawn(files: Mapping[str, bytes]) -> np.ndarray:
    """The PNG's pixels, once all three files are what they should be."""
    assert files["pdf"].startswith(b"%PDF")
    assert b"<svg" in files["svg"][:1000]
    with Image.open(io.BytesIO(files["png"])) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        return np.asarray(image.convert("RGB"))


def of_few(run: Comparison, chosen: Sequence[int] = (0, 1, 2, 3)) -> Comparison:
    """The comparison of these images only: fewer are drawn sooner."""
    rows = [
        dataclasses.replace(row, images=row.images[list(chosen)], certainty=row.certainty[list(chosen)])  # type: ignore[call-overload]
        for row in run.rows
    ]
    parts = {"originals": run.originals[list(chosen)], "targets": run.targets[list(chosen)]}  # type: ignore[call-overload]
    return dataclasses.replace(run, before=run.before[:, list(chosen)], rows=rows, **parts)


@pytest.mark.parametrize("opening", [compare.opening, threat_models.opening, every_class.opening])
def test_a_comparison_is_drawn_pixel_by_pixel(opening: Callable[[], Comparison]) -> None:
    run = of_few(opening())
    shown = colours(drawn(of_comparison(run)))
    for row in (run.originals, *(row.images for row in run.rows)):
        assert colours(np.concatenate([one.reshape(-1, 3) for one in row])) <= shown


def test_images_of_several_sizes_stand_side_by_side() -> None:
    run = of_few(compare.opening())
    small = [image[:20, :24] for image in run.originals]
    rows = [dataclasses.replace(row, images=[row.images[0][:20, :24], *row.images[1:]]) for row in run.rows]
    other = dataclasses.replace(run, originals=[small[0], *run.originals[1:]], rows=rows)
    assert colours(small[0]) <= colours(drawn(of_comparison(other)))


def test_many_classes_go_on_below_and_too_many_are_refused() -> None:
    many = of_few(every_class.opening(), [*range(10), 0, 1, 2][: MAX_ROW + 1])
    assert colours(many.rows[0].images[9]) <= colours(drawn(of_comparison(many)))  # type: ignore[call-overload]
    many.targets = np.zeros(10_000, np.int64)
    with pytest.raises(ValueError, match="at most 400 images, and these are 30,000"):
        of_comparison(many)


def test_frames_and_histograms() -> None:
    run = interpolate.opening()
    run.distances[:, 2:] = np.nan  # of a cancelled run
    run.frames = run.frames[:, :2]
    assert colours(run.frames) | colours(run.target) <= colours(drawn(of_interpolation(run)))
    files = of_study(debias.opening())
    drawn(files)
    with Image.open(io.BytesIO(files["png"])) as image:
        assert from_json(image.text["bigroc"]).figure == "debias"  # type: ignore[attr-defined]


def test_where_nothing_is_finished_a_sentence_says_so() -> None:
    run, walk = compare.opening(), interpolate.opening()
    run.rows = [dataclasses.replace(row, finished=False) for row in run.rows]
    walk.distances = np.full_like(walk.distances, np.nan)
    with pytest.raises(ValueError, match="no row of this comparison is finished"):
        of_comparison(run)
    with pytest.raises(ValueError, match="no frame of this interpolation is finished"):
        of_interpolation(walk)
