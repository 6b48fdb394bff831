"""The page's interpolations, without a browser: ends, values of c, numbers, files and the kept example."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments import interpolate as experiment
from bigroc_core.experiments.frames import TABLE_HEADERS, Interpolation, animation, archive
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.interpolate import InterpolateRequest, Walk, interpolation_of, opening, opening_request
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.interpolation import feature_distance
from bigroc_core.limits import MAX_FRACTIONS
from bigroc_core.settings import Unfit
from bigroc_core.sources import EXAMPLES, UPLOAD, OneImage, example_paths
from bigroc_core.ui import interpolate_tab

ENDS = {
    "source": OneImage(kind=EXAMPLES, example=example_paths()[0].name),
    "target": OneImage(kind=EXAMPLES, example=example_paths()[1].name),
}


BOTH = ("imagenette64-robust", "imagenette64-standard")


def walk(**changed: Any) -> Walk:
    return Walk(**{**ENDS, "classifiers": BOTH, "fractions": (0.0, 0.3, 1.0), "steps": 2, **changed})


def finished(asked: Walk) -> Interpolation:
    run = last(interpolation_of(asked, "cpu"))
    assert run.finished
    return run


@pytest.fixture(scope="module")
def small() -> Interpolation:
    return finished(walk())


def test_frames_and_numbers_are_those_of_the_engine(small: Interpolation) -> None:
    assert small.classifiers == BOTH
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
            assert small.l2(strip, frame) <= c * small.whole + 0.22  # 8-bit rounding: at most √12288 / 510
    assert small.rows()[0] == [BOTH[0], 0.0, 0.0, 0.0, pytest.approx(small.distances[0, 0], rel=1e-3), 100.0]
    assert len(small.rows()[0]) == len(TABLE_HEADERS)


def test_warm_start_and_weights_change_the_frames_after_the_first(small: Interpolation) -> None:
    warm = finished(walk(warm_start=True))
    weighted = finished(walk(weights=(0.0, 0.0, 1.0)))
    for other in (warm, weighted):
        assert np.array_equal(small.frames[:, 0], other.frames[:, 0])
        assert not np.array_equal(small.frames[:, 2], other.frames[:, 2])
    assert np.array_equal(small.frames[:, 1], warm.frames[:, 1])


def test_the_zip_holds_every_frame_as_it_is_and_the_same_bytes_each_time(small: Interpolation) -> None:
    data = archive(small, animation(small))
    assert data == archive(small, animation(small))
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
    growing = interpolation_of(walk(), "cpu")
    run = next(run for run in growing if run.reached(0, 1))
    growing.close()  # type: ignore[attr-defined]
    assert not run.finished
    assert [row[:2] for row in run.rows()] == [[BOTH[0], 0.0], [BOTH[0], 0.3]]
    names = zipfile.ZipFile(io.BytesIO(archive(run, animation(run)))).namelist()
    assert f"{BOTH[0]}/c-0.300.png" in names
    assert not any(name.startswith(f"{BOTH[1]}/") for name in names)
    shown = interpolate_tab.results(run)
    assert "Cancelled after step 2 / 8" in shown[1]
    assert shown[2].count('class="waiting"') == 4


def test_page_command_and_python_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 32, 3), np.uint8)).save(tmp_path / "mine.png")
    monkeypatch.chdir(tmp_path)
    request = InterpolateRequest(
        source_generator="cifar10-cgan",
        source_seed=3,
        source_number=12,
        source_class="dog",
        target=UPLOAD,
        target_file=str(tmp_path / "mine.png"),
        fractions="1; 0.5",  # type: ignore[arg-type]  # as the page sends it
        weights="1 1 0.5",  # type: ignore[arg-type]
        steps=3,
        warm_start=True,
    )
    visitor = SimpleNamespace(session_hash="visitor")
    *_, shown = interpolate_tab.interpolate(**dataclasses.asdict(request), request=visitor)
    page, python, command = zipfile.ZipFile(shown[6]), shown[8], shown[9]
    frames = sorted(name for name in page.namelist() if "/" in name)
    assert frames == [f"{name}/c-{c}.png" for name in BOTH for c in ("0.500", "1.000")]
    assert "note" in shown[1]  # the upload was cropped

    exec(compile(python, "snippet", "exec"), {})
    folder = tmp_path / "interpolated"
    for name in frames:
        assert (folder / name).read_bytes() == page.read(name), name
    words = [*shlex.split(command)[3:], "--device", "cpu"]
    assert main(words) == 2  # that folder is there already
    shutil.rmtree(folder)
    assert main(words) == 0
    written = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
    assert sorted([*written, "animation.gif"]) == sorted(page.namelist())
    for name in written:
        assert (folder / name).read_bytes() == page.read(name), name
    # And as a program asks for it.
    run = finished(request.walk)
    assert archive(run, animation(run)) == Path(shown[6]).read_bytes()


def test_a_large_upload_is_repeated_at_the_size_that_the_page_brought_it_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.effect_noise((600, 400), 80).convert("RGB").save(tmp_path / "large.png")
    source = OneImage(kind=UPLOAD, file=str(tmp_path / "large.png"))
    target = OneImage(generator="cifar10-cgan", number=1)
    walk = Walk(source=source, target=target, classifiers=("cifar10-standard",), fractions=(1.0,), steps=1)
    run = last(interpolation_of(walk, "cpu"))
    assert run.settings["source"]["size"] == [341, 512]
    assert "512×341" in experiment.as_command(run.settings)
    found: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(experiment.as_python(run.settings).partition("for name in")[0], found)
    # One level, where a value lies between two.
    assert np.abs(to_uint8(found["source"][0]).astype(int) - run.source.astype(int)).max() <= 1
    # A generated target is brought to the source's size as the page does it.
    assert np.array_equal(to_uint8(found["target"][0]), run.target)


def test_the_kept_example_belongs_to_the_embedded_classifiers() -> None:
    """Otherwise the page opens with a shorter one; `python -m bigroc_core.experiments.opening` makes it anew."""
    kept = opening()
    assert kept.settings == opening_request().walk.settings()
    assert kept.finished
    assert kept.done == kept.total == 600
    for strip, name in enumerate(kept.classifiers):
        found = feature_distance(
            bc.load_classifier(name, device="cpu"), from_uint8(kept.frames[strip]), from_uint8(kept.target)[None]
        )
        np.testing.assert_allclose(kept.distances[strip], found.numpy(), rtol=1e-3)
        assert all(kept.l2(strip, i) <= c * kept.whole + 0.11 for i, c in enumerate(kept.fractions))


def test_an_example_is_kept_so_that_it_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = dataclasses.replace(opening_request(), steps=2, fractions=(0.5, 1.0))
    monkeypatch.setattr(experiment, "opening_request", lambda: request)
    experiment.keep_opening(tmp_path / "kept.npz")
    monkeypatch.setattr(experiment, "interpolation_of", None)  # nothing is computed any more
    kept = opening(tmp_path / "kept.npz")
    assert kept.settings == request.walk.settings()
    assert (kept.done, kept.total, kept.finished) == (8, 8, True)


@pytest.mark.parametrize("content", [b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_instead_of_a_damaged_example_a_short_one_is_computed(content: bytes, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    kept.write_bytes(content)
    run = opening(kept)
    assert run.finished
    assert run.settings["steps"] == 6


def test_c_and_weights_are_read_as_typed() -> None:
    typed = InterpolateRequest(fractions="1, 0;0.5  0.5", weights="1 2,0")  # type: ignore[arg-type]
    assert typed.walk.fractions == (0.0, 0.5, 1.0)
    assert typed.walk.weights == (1.0, 2.0, 0.0)
    assert InterpolateRequest(weights="  ").walk.weights is None  # type: ignore[arg-type]


def test_the_request_of_a_page_is_a_walk_through_its_classifier_and_the_control() -> None:
    request = InterpolateRequest(target_generator="cifar10-dcgan", target_class="", classifier="cifar10-joint")
    assert request.walk.classifiers == ("cifar10-joint", "cifar10-standard")
    assert request.walk.source == OneImage(generator=next(iter(generator_cards())))
    assert request.walk.target == OneImage(generator="cifar10-dcgan", number=1)
    assert InterpolateRequest(classifier="cifar10-standard").walk.classifiers == ("cifar10-standard",)


@pytest.mark.parametrize(
    ("changed", "at", "said"),
    [
        ({"fractions": ""}, "fractions", "not empty"),
        ({"fractions": "0.5, a"}, "fractions", "'a'"),
        ({"fractions": "nan"}, "fractions", "finite"),
        ({"fractions": "0, inf"}, "fractions", "finite"),
        ({"fractions": "1.2"}, "fractions", "not 1.2"),
        ({"fractions": "-0.1"}, "fractions", "not -0.1"),
        ({"fractions": ", ".join(str(i / 20) for i in range(MAX_FRACTIONS + 1))}, "fractions", f"{MAX_FRACTIONS}"),
        ({"weights": "0, 0, 0"}, "weights", "all be 0"),
        ({"weights": "1, -1, 1"}, "weights", "not -1"),
        ({"steps": 0}, "steps", "from 1 to 200"),
        ({"steps": 201}, "steps", "from 1 to 200"),
        ({"source_seed": None}, "source_seed", "whole number"),
        ({"target_number": -1}, "target_number", "whole number"),
        ({"target_number": 0}, "target_number", "same image"),
        ({"source": EXAMPLES, "target": EXAMPLES, "source_example": "x.png"}, "source_example", "x.png"),
        ({"source": UPLOAD}, "source_file", "no source image has been uploaded"),
        ({"source": "Elsewhere"}, "source", "Elsewhere"),
        ({"target_generator": "nothing"}, "target_generator", "nothing"),
        ({"classifier": "cifar10-judge"}, "classifier", "cifar10-judge"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_at_its_field(changed: dict[str, Any], at: str, said: str) -> None:
    with pytest.raises(Unfit, match=said) as refused:
        InterpolateRequest(**changed)
    assert list(refused.value.problems) == [at]


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
        ({"classifiers": ("cifar10-judge",)}, "cifar10-judge"),
        ({"steps": -1}, "steps"),
        ({"weights": (1.0,)}, "3 numbers"),
    ],
)
def test_walks_that_cannot_be_are_refused_with_a_reason(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        finished(walk(**changed))
