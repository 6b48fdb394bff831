"""The page's interpolations, without a browser: ends, values of c, numbers, files and the kept example."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.experiments.interpolate import (
    Asked,
    archive,
    as_command,
    as_python,
    fractions_in,
    opening_interpolation,
    opening_request,
    run_interpolation,
    settings_of,
    strips_of,
    weights_in,
)
from bigroc_core.experiments.strips import TABLE_HEADERS, Interpolation, animation
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.interpolation import feature_distance
from bigroc_core.limits import MAX_FRACTIONS
from bigroc_core.sources import EXAMPLES, UPLOAD, OneImage, example_paths
from bigroc_core.ui import interpolate_tab

ENDS = {
    "source": OneImage(kind=EXAMPLES, example=example_paths()[0].name),
    "target": OneImage(kind=EXAMPLES, example=example_paths()[1].name),
}


def asked(**changed: Any) -> Asked:
    return Asked(**{**ENDS, "classifier": "cifar10-robust", "fractions": (0.0, 0.3, 1.0), "steps": 2, **changed})


def finished(request: Asked) -> Interpolation:
    *_, run = run_interpolation(request, device="cpu")
    assert run.finished
    return run


@pytest.fixture(scope="module")
def small() -> Interpolation:
    return finished(asked())


def test_frames_and_numbers_are_those_of_the_engine(small: Interpolation) -> None:
    assert small.classifiers == ("cifar10-robust", "cifar10-standard")
    assert small.done == small.total == 2 * 2 * 2
    x, y = (from_uint8(pixels)[None] for pixels in (small.source, small.target))
    assert torch.equal(x[0], read_image(example_paths()[0]).pixels)
    for strip, name in enumerate(small.classifiers):
        classifier = bc.load_classifier(name, device="cpu")
        frames = bc.interpolate(classifier, x, y, small.fractions, steps=2)[:, 0]
        assert np.array_equal(small.frames[strip], to_uint8(frames))
        shown = from_uint8(small.frames[strip])
        found = feature_distance(classifier, shown, y)
        np.testing.assert_allclose(small.distances[strip], found.numpy(), rtol=1e-4)
        by_hand = sum(
            (a - b).square().flatten(1).mean(1)
            for a, b in zip(classifier.features(shown).values(), classifier.features(y).values(), strict=True)
        )
        torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-6)
        for frame, c in enumerate(small.fractions):
            assert small.l2(strip, frame) <= c * small.whole + 0.11  # 8-bit rounding: at most √3072 / 510
    assert small.rows()[0] == ["cifar10-robust", 0.0, 0.0, 0.0, pytest.approx(small.distances[0, 0], rel=1e-3), 100.0]
    assert len(small.rows()[0]) == len(TABLE_HEADERS)


def test_warm_start_and_weights_change_the_frames_after_the_first(small: Interpolation) -> None:
    warm = finished(asked(warm_start=True))
    weighted = finished(asked(weights=(0.0, 0.0, 1.0)))
    for other in (warm, weighted):
        assert np.array_equal(small.frames[:, 0], other.frames[:, 0])
        assert not np.array_equal(small.frames[:, 2], other.frames[:, 2])
    assert np.array_equal(small.frames[:, 1], warm.frames[:, 1])


def test_the_zip_holds_every_frame_as_it_is_and_the_same_bytes_each_time(small: Interpolation) -> None:
    data = archive(small)
    assert data == archive(small)
    files = zipfile.ZipFile(io.BytesIO(data))
    for strip, name in enumerate(small.classifiers):
        for frame, c in enumerate(small.fractions):
            pixels = np.asarray(Image.open(io.BytesIO(files.read(f"{name}/c-{c:.3f}.png"))))
            assert np.array_equal(pixels, small.frames[strip, frame])
    assert json.loads(files.read("settings.json"))["c"] == [0.0, 0.3, 1.0]
    assert len(files.read("frames.csv").decode().splitlines()) == 1 + 2 * 3
    gif = Image.open(io.BytesIO(animation(small)))
    assert (gif.format, gif.n_frames) == ("GIF", 3)


def test_a_run_stopped_halfway_shows_and_saves_what_it_finished() -> None:
    growing = run_interpolation(asked(), device="cpu")
    run = next(run for run in growing if run.reached(0, 1))
    growing.close()
    assert not run.finished
    assert [row[:2] for row in run.rows()] == [["cifar10-robust", 0.0], ["cifar10-robust", 0.3]]
    names = zipfile.ZipFile(io.BytesIO(archive(run))).namelist()
    assert "cifar10-robust/c-0.300.png" in names
    assert not any(name.startswith("cifar10-standard/") for name in names)
    shown = interpolate_tab.results(run)
    assert "Cancelled after step 2 / 8" in shown[1]
    assert shown[2].count('class="waiting"') == 4


def test_the_python_shown_repeats_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 32, 3), np.uint8)).save(tmp_path / "mine.png")
    monkeypatch.chdir(tmp_path)
    generator = OneImage(generator="cifar10-cgan", seed=3, number=12, class_name="dog")
    run = finished(
        asked(source=generator, target=OneImage(kind=UPLOAD, file=str(tmp_path / "mine.png")), fractions=(0.5,))
    )
    assert run.notes
    exec(compile(as_python(run.settings), "snippet", "exec"), {})
    for strip, name in enumerate(run.classifiers):
        written = read_image(tmp_path / "interpolated" / name / "c-0.500.png").pixels
        assert float((written - from_uint8(run.frames[strip, 0])).abs().max()) <= 2 / 255
    assert main(shlex.split(as_command(run.settings))[3:] + ["--device", "cpu"]) == 2  # that folder is there already
    shutil.rmtree(tmp_path / "interpolated")
    assert main(shlex.split(as_command(run.settings))[3:] + ["--device", "cpu"]) == 0
    page = zipfile.ZipFile(io.BytesIO(archive(run)))
    assert sorted(page.namelist()) == sorted(
        [
            "animation.gif",
            *(
                path.relative_to(tmp_path / "interpolated").as_posix()
                for path in (tmp_path / "interpolated").rglob("*.*")
            ),
        ]
    )
    for name in page.namelist():
        if name != "animation.gif":
            assert page.read(name) == (tmp_path / "interpolated" / name).read_bytes(), name


def test_the_kept_example_belongs_to_the_embedded_classifiers() -> None:
    """Otherwise the page opens with a shorter one; `python -m bigroc_core.experiments.interpolate` makes it anew."""
    request = opening_request(60)
    kept = opening_interpolation()
    assert kept.settings == settings_of(request, strips_of(request.classifier))
    assert kept.finished
    for strip, name in enumerate(kept.classifiers):
        found = feature_distance(
            bc.load_classifier(name, device="cpu"), from_uint8(kept.frames[strip]), from_uint8(kept.target)[None]
        )
        np.testing.assert_allclose(kept.distances[strip], found.numpy(), rtol=1e-3)
        assert all(kept.l2(strip, i) <= c * kept.whole + 0.11 for i, c in enumerate(kept.fractions))


@pytest.mark.parametrize("content", [b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_instead_of_a_damaged_example_a_short_one_is_computed(content: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    kept.write_bytes(content)
    run = opening_interpolation(kept)
    assert run.finished
    assert run.settings["steps"] == 6


def test_c_and_weights_are_read_as_typed() -> None:
    assert fractions_in("1, 0;0.5  0.5") == (0.0, 0.5, 1.0)
    assert weights_in("1 2,0") == (1.0, 2.0, 0.0)
    assert weights_in("  ") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not empty"),
        ("0.5, a", "'a'"),
        ("nan", "finite"),
        ("0, inf", "finite"),
        ("1.2", "not 1.2"),
        ("-0.1", "not -0.1"),
        (", ".join(str(i / 20) for i in range(MAX_FRACTIONS + 1)), f"at most {MAX_FRACTIONS}"),
    ],
)
def test_bad_values_of_c_are_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fractions_in(text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"target": ENDS["source"]}, "the same image"),
        ({"source": OneImage(kind=EXAMPLES, example="unicorn.png")}, "unicorn"),
        ({"source": OneImage(kind=UPLOAD)}, "no source image has been uploaded"),
        ({"target": OneImage(generator="nothing")}, "nothing"),
        ({"target": OneImage(generator="cifar10-cgan", class_name="unicorn")}, "unicorn"),
        ({"target": OneImage(generator="cifar10-cgan", number=-1)}, "target's image number"),
        ({"target": OneImage(kind="Elsewhere")}, "Elsewhere"),
        ({"classifier": "cifar10-judge"}, "cifar10-judge"),
        ({"steps": 0}, "steps"),
        ({"steps": 201}, "steps"),
        ({"weights": (1.0,)}, "3 numbers"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        finished(asked(**changed))
    with pytest.raises(ValueError, match="all be 0"):
        weights_in("0, 0, 0")
    with pytest.raises(ValueError, match="0 or more"):
        weights_in("1, -1, 1")
