"""What cannot be measured is said in one line, and nothing that was measured is lost by it."""

from __future__ import annotations

import errno
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import export_classifier, smooth_pixels

from bigroc_core.__main__ import main
from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.evaluation import (
    ClassifierFeatures,
    Sweep,
    SweepPoint,
    embed_statistics,
    embedded_statistics,
    frechet_distance,
    references,
    shards,
)
from bigroc_core.evaluation.statistics import feature_statistics
from bigroc_core.experiments import measurement
from bigroc_core.images import encode_png, open_image_set
from bigroc_core.streams import image_set_stream

COUNT = 24


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classifiers, images.npz and real.npz; the working folder, with shards of eight images."""
    for seed, name in enumerate(("boosts", "judges")):
        export_classifier(tmp_path, name, seed + 1)
    np.savez(tmp_path / "images.npz", arr_0=smooth_pixels(COUNT, 32), arr_1=np.arange(COUNT) % 10)
    np.savez(tmp_path / "real.npz", arr_0=smooth_pixels(40, 32, 9))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIGROC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "SHARD", 8)
    return tmp_path


def evaluate(*words: object, images: str = "images.npz") -> int:
    return main(
        list(
            map(
                str,
                (
                    "evaluate",
                    images,
                    "--classifier",
                    "boosts.safetensors",
                    "--control",
                    "none",
                    "--judge",
                    "judges.safetensors",
                    "--reference",
                    "real.npz",
                    "--eps",
                    1,
                    "--steps",
                    1,
                    "--device",
                    "cpu",
                    "--run",
                    "run",
                    *words,
                ),
            )
        )
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--count", 16), "16 images are too few for a Fréchet distance in 16 dimensions: at least 17 are needed"),
        (("--count", 25), "images.npz has 24 images; 25 were asked for"),
        (("--seeds", 0, 1), "is a fixed set of images, which has no seeds"),
        (("--reference", "nowhere.npz"), "nowhere.npz"),
        (("--eps", -1), "eps must be"),
        (("--beside-eps", "nan"), "eps must be"),
        (("--metrics", "is", "--inception-weights", "nowhere.pth"), "no Inception weights at nowhere.pth"),
        (("--judge", "none"), "nothing to measure with"),
        (("--output", "."), "--output . is a folder"),
        (("--reference", "train", "--floor", "validation"), "--floor validation and --reference train do not go"),
        (("--reference", "test", "validation", "--floor", "train"), "--floor train and --reference validation do not"),
        (("--debias", 5), "draws its own images from a generator"),
    ],
)
def test_impossible_requests_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str
) -> None:
    assert evaluate(*words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert message in line
    assert not list(folder.glob("run/*.npz"))


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--seeds", "0", "5", "--debias-seed", "5"),
        ("sweep", "--debias-seed", "1001"),
        ("figure", "debias", "--seed", "5", "--validation-seed", "5", "--output", "f.png"),
        ("figure", "fig3", "--seed", "1000000", "--output", "f.png"),
        ("figure", "fig5", "--seed", "1000000", "--output", "f.png"),
    ],
)
def test_debiasing_is_never_fitted_on_images_that_are_measured_or_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    name = "cifar10-dcgan"
    options = ["--device", "cpu"]
    if words[0] == "figure":
        options += ["--generators" if "fig5" in words else "--generator", name]
        assert main([*words, *options]) == 2
    else:
        assert main([words[0], f"generator:{name}", "--debias", "4", *words[1:], *options]) == 2
    seed = max(words, key=lambda word: word.isdecimal() and int(word))
    said = capsys.readouterr().err
    assert seed in said
    assert "of the seeds that are measured" in said or "they have to be separate" in said
    assert not (folder / "f.png").exists()


@pytest.mark.parametrize(("count", "first"), [(20, "the first 20 of these same images"), (COUNT, "these same images")])
def test_an_eps_that_was_chosen_on_the_images_measured_is_told_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, first: str
) -> None:
    point = SweepPoint(0.5, 1, "fine", (1.0,), (0.5,))
    config = BoostConfig(eps=1, steps=1)
    swept = Sweep("images.npz", "another", "frechet", "real", count, (0,), config, (point,), point)
    monkeypatch.setattr(measurement, "sweeps", lambda *_: [swept])
    assert evaluate("--find-eps", "--output", "told.json") == 0
    (note,) = [one for one in json.loads((folder / "told.json").read_text("utf-8"))["notes"] if "ε" in one]
    assert f"ε = 0.5, was chosen on {first}, as the nearest to real in another's features" in note
    assert f"note: {note}" in capsys.readouterr().out


def test_labels_out_of_range_and_references_of_another_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "labels.npz", arr_0=smooth_pixels(COUNT, 32), arr_1=np.arange(COUNT))
    assert evaluate(images="labels.npz") == 2
    assert "error: " in capsys.readouterr().err
    # Another size is no error: the documented rule brings it to the judge's.
    np.savez(folder / "large.npz", arr_0=smooth_pixels(40, 64, 9))
    assert evaluate("--reference", "large.npz") == 0
    assert "distance to large.npz" in capsys.readouterr().out


def test_a_damaged_member_of_a_zip_is_named_and_the_run_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [encode_png(image) for image in torch.from_numpy(smooth_pixels(COUNT, 32)).permute(0, 3, 1, 2) / 255]

    def write(damaged: int | None) -> None:
        with zipfile.ZipFile(folder / "set.zip", "w") as archive:
            for index, data in enumerate(pictures):
                archive.writestr(f"cat/{index:03}.png", data[:-40] if index == damaged else data)

    write(20)
    assert evaluate(images="set.zip") == 2
    assert "020.png" in capsys.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("run/evaluate-*.npz")}
    assert len(kept) == 2
    write(None)
    assert evaluate(images="set.zip") == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_full_disk_is_said_and_the_run_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = np.savez, []

    def full(file: object, **arrays: np.ndarray) -> None:
        written.append(file)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, **arrays)  # type: ignore[arg-type]

    assert evaluate("--run", "whole", "--output", "whole.json") == 0
    capsys.readouterr()
    monkeypatch.setattr(np, "savez", full)
    assert evaluate("--output", "table.json") == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "Nothing written so far is lost" in said
    assert len(list(folder.glob("run/evaluate-*.npz"))) == 2
    assert not list(folder.glob("run/.*"))
    assert not (folder / "table.json").exists()
    monkeypatch.setattr(np, "savez", write)
    assert evaluate("--output", "table.json") == 0
    assert (folder / "table.json").read_text("utf-8").replace("table.json", "") == (folder / "whole.json").read_text(
        "utf-8"
    ).replace("whole.json", "")


def test_statistics_beside_a_classifier_are_used_for_that_very_classifier(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "CHECKPOINTS", folder)
    judge, other = (load_classifier(folder / f"{name}.safetensors") for name in ("judges", "boosts"))
    pixels = torch.from_numpy(smooth_pixels(60, 32, 4)).permute(0, 3, 1, 2) / 255
    found = feature_statistics([ClassifierFeatures(judge)(pixels).features])
    embed_statistics(judge, {"train": found})
    again = embedded_statistics(judge, "train")
    assert again is not None
    assert again.count == 60
    assert frechet_distance(found, again) == pytest.approx(0, abs=1e-5 * np.trace(found.covariance))
    np.testing.assert_allclose(again.covariance, found.covariance, rtol=1e-6, atol=1e-9)
    assert embedded_statistics(judge, "test") is None
    with torch.no_grad():
        next(judge.parameters()).view(-1)[0] += 0.1
    assert embedded_statistics(judge, "train") is None
    assert embedded_statistics(other, "train") is None


def test_what_was_done_to_the_images_is_counted_once_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "alpha").mkdir()
    for number, pixels in enumerate(smooth_pixels(COUNT, 32)):
        image = Image.fromarray(pixels)
        image.putalpha(200 if number % 8 == 0 else 255)
        image.save(folder / "alpha" / f"{number:02}.png")
    done = "3 images: transparent pixels were laid on white"
    assert evaluate("--output", "told.json", images="alpha") == 0
    assert json.loads((folder / "told.json").read_text("utf-8"))["notes"].count(done) == 1
    assert done in "".join(capsys.readouterr())
    # A sweep before it may have drawn fewer from the same place on.
    stream = image_set_stream(open_image_set("alpha"))
    for start, count in ((0, 8), (8, 4), (8, 8), (8, 4), (16, 8)):
        stream.draw(0, start, count)
    assert stream.done() == [done]
    # A run that goes on, though it measures nothing any more.
    assert evaluate("--output", "told.json", images="alpha") == 0
    assert json.loads((folder / "told.json").read_text("utf-8"))["notes"].count(done) == 1
