"""Studies of debiasing: of uploads, their files; and the one that the tab opens with, which is kept."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.debiasing import fit_debias
from bigroc_core.experiments import debias
from bigroc_core.experiments.debias import DebiasRequest, Study
from bigroc_core.experiments.debias_files import archive, as_command, as_python
from bigroc_core.experiments.growing import last
from bigroc_core.figures import drafts
from bigroc_core.figures.making import make
from bigroc_core.figures.parts import finished
from bigroc_core.images import encode_png, from_uint8, open_image_set
from bigroc_core.settings import Unfit


def test_the_kept_study_is_what_the_embedded_models_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the page opens with fewer images; `python -m bigroc_core.experiments.opening` makes it anew."""
    monkeypatch.setattr(debias, "study_of", None)  # nothing is computed
    kept = debias.opening()
    asked = debias.opening_request()
    assert kept.settings | asked.settings() == kept.settings
    assert (kept.done, kept.total, kept.finished) == (1200, 1200, True)
    logits = logits_of(bc.load_classifier(asked.classifier, device="cpu"), from_uint8(kept.images))
    assert kept.classes == bc.load_classifier(asked.classifier, device="cpu").classes
    np.testing.assert_array_equal(kept.plain, logits.argmax(1).numpy())
    np.testing.assert_array_equal(kept.debiased, (logits + torch.from_numpy(kept.shift)).argmax(1).numpy())


@pytest.mark.parametrize("content", [None, b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_instead_of_a_missing_or_damaged_one_a_smaller_is_computed_and_kept_again(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.npz"
    if content is not None:
        kept.write_bytes(content)
    small = dataclasses.replace(debias.opening_request(), count=10, validation_count=50)
    monkeypatch.setattr(debias, "opening_request", lambda **_: small)
    computed = debias.opening(kept)
    assert computed.finished
    debias.keep_opening(kept)
    monkeypatch.setattr(debias, "study_of", None)
    again = debias.opening(kept)
    assert again.settings == computed.settings
    np.testing.assert_array_equal(again.images, computed.images)


def zip_of(path: Path, count: int, size: tuple[int, int] = (24, 40)) -> Path:
    """A zip of that many images of noise, each of its own."""
    with zipfile.ZipFile(path, "w") as whole:
        for number in range(count):
            image = torch.rand(3, *size, generator=torch.Generator().manual_seed(number))
            whole.writestr(f"some/{number:03d}.png", encode_png(image))
    return path


def of_uploads(*files: Path, others: tuple[Path, ...] = (), count: int = 500, validation_count: int = 1000) -> Study:
    request = DebiasRequest(
        source="Upload",
        files=tuple(map(str, files)),
        validation_files=tuple(map(str, others)),
        classifier="cifar10-robust",
        count=count,
        validation_count=validation_count,
    )
    return last(debias.study_of(request, "cpu"))


def test_uploads_keep_their_size_and_every_second_one_fits_d(tmp_path: Path) -> None:
    study = of_uploads(zip_of(tmp_path / "mine.zip", 20), count=8 + 2, validation_count=50)
    assert study.images.shape == (10, 24, 40, 3)  # type: ignore[union-attr]
    assert (study.done, study.total, study.settings["fitted_to"]) == (20, 20, 10)
    assert any("every second of the 20 images" in note for note in study.notes)
    assert any("10 images only" in note for note in study.notes)
    # By the textbook, over the images as they lie in the zip.
    classifier = bc.load_classifier("cifar10-robust", device="cpu")
    images = open_image_set(tmp_path / "mine.zip", "own", labelled=False).batch(0, 20).images
    shift = fit_debias(classifier, images[1::2])
    np.testing.assert_allclose(study.shift, shift.numpy(), atol=1e-4)
    np.testing.assert_array_equal(study.plain, logits_of(classifier, images[::2]).argmax(1).numpy())
    assert study.names[1] == "mine.zip/002.png"


def test_separate_uploads_are_not_mixed_and_sizes_may_differ(tmp_path: Path) -> None:
    mine, others = zip_of(tmp_path / "mine.zip", 3), zip_of(tmp_path / "others.zip", 60, (32, 32))
    large = tmp_path / "one.png"
    large.write_bytes(encode_png(torch.rand(3, 50, 30)))
    study = of_uploads(mine, large, others=(others,), validation_count=50)
    assert [picture.shape for picture in study.images] == [(24, 40, 3)] * 3 + [(50, 30, 3)]
    assert study.settings["fitted_to"] == 50
    assert any("first 50 of 60 fit d" in note for note in study.notes)


def test_what_was_done_to_the_images_of_a_set_is_told_in_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as whole:
        for number in range(6):
            stream = io.BytesIO()
            Image.new("RGBA", (32, 32), (number, 0, 0, 100)).save(stream, "PNG")
            whole.writestr(f"{number}.png", stream.getvalue())
    told = [note for note in of_uploads(tmp_path / "mine.zip").notes if "transparent" in note]
    assert len(told) == 2
    assert all("3 images: transparent pixels were laid on white" in note for note in told)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda path: path.write_bytes(b"no image"), "is not an image"),
        (lambda path: path.write_bytes(encode_png(torch.rand(3, 8, 8))), "add more, or a separate set"),
    ],
)
def test_uploads_that_are_no_two_sets_are_refused(broken: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    broken(tmp_path / "one.png")
    with pytest.raises(ValueError, match=told):
        of_uploads(tmp_path / "one.png")


def test_what_is_wrong_is_said_at_its_control() -> None:
    with pytest.raises(Unfit) as refusal:
        DebiasRequest(source="Upload", classifier="cifar10-robust")
    assert list(refusal.value.problems) == ["files"]
    with pytest.raises(Unfit) as refusal:
        DebiasRequest(classifier="cifar10-robust", seed=3, validation_seed=3)
    assert list(refusal.value.problems) == ["validation_seed"]


def test_the_download_has_one_scheme_of_names_and_its_code_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = of_uploads(zip_of(tmp_path / "mine.zip", 12))
    assert archive(study) == archive(study)
    with zipfile.ZipFile(io.BytesIO(archive(study))) as whole:
        whole.extractall(tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    told = json.loads(Path("settings.json").read_text())
    assert set(told) >= {"version", "weights", "d", "files"}
    table = list(csv.DictReader(Path("results.csv").read_text().splitlines()))
    assert sorted(path.name for path in Path("images").glob("*.png")) == [row["file"] for row in table]
    assert [row["with debiasing"] for row in table] == [study.classes[y] for y in study.debiased]
    classes = list(csv.DictReader(Path("classes.csv").read_text().splitlines()))
    assert [int(row["with debiasing"]) for row in classes] == study.histogram(study.debiased).tolist()
    # The unpacked images are boosted towards the classes that debiasing found.
    labels = open_image_set("images", "own", study.classes).labels
    assert labels is not None
    np.testing.assert_array_equal(labels.numpy(), study.debiased)
    assert "boost images boosted" in as_command(study)
    exec(compile(as_python(study), "copied", "exec"), {})
    printed = capsys.readouterr().out
    assert str(study.histogram(study.plain).tolist()) in printed
    assert str(study.histogram(study.debiased).tolist()) in printed


def test_the_figure_of_a_study_carries_its_numbers() -> None:
    study = debias.opening()
    recipe = drafts.counted(study)
    again = type(recipe)(recipe.figure, json.loads(recipe.to_json())["settings"])
    assert f"{study.entropy(study.debiased):.3f} with debiasing" in finished(make(again)).caption
