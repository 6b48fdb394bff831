"""`boost --mask`: what a mask leaves alone comes back bit for bit; a mask that does not fit is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.images import from_uint8, to_uint8

SIZES = {"cat/a.png": (40, 32), "dog/b.jpg": (32, 48), "dog/c.png": (40, 32)}  # (width, height)
HOW = ("--eps", "3", "--steps", "3", "--target", "1")


def levels(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (size[1], size[0], 3), dtype=np.uint8)


def mask_of(size: tuple[int, int], seed: int) -> np.ndarray:
    """Black, with a white patch of its own and a grey edge."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[6 : 16 + seed, 4:20] = 255
    mask[16 + seed : 20 + seed, 4:20] = 128
    return mask


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for seed, (name, size) in enumerate(SIZES.items()):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels(size, seed)).save(path)
    return tmp_path / "images"


def boosted(images: Path, out: Path, *words: str) -> list[np.ndarray]:
    assert main(["boost", str(images), str(out), *HOW, *words]) == 0
    return [np.asarray(Image.open(path)) for path in sorted(out.rglob("*.png"))]


def test_a_folder_has_a_mask_for_each_image_by_its_name(images: Path, tmp_path: Path) -> None:
    for seed, (name, size) in enumerate(SIZES.items()):
        path = (tmp_path / "masks" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask_of(size, seed)).save(path)
    after = boosted(images, tmp_path / "out", "--mask", str(tmp_path / "masks"))
    classifier = bc.load_classifier("cifar10-robust")
    for seed, (name, size) in enumerate(SIZES.items()):
        mask, before = mask_of(size, seed), np.asarray(Image.open(images / name))
        assert np.array_equal(after[seed][mask == 0], before[mask == 0])
        assert (after[seed][mask == 255] != before[mask == 255]).any()
        expected = bc.boost(
            classifier,
            from_uint8(before)[None],
            1,
            bc.BoostConfig(eps=3.0, steps=3),
            mask=torch.from_numpy(mask).float() / 255,
        )
        # Rounded, and beside others in its batch.
        assert np.abs(after[seed].astype(int) - to_uint8(expected.images[0])).max() <= 1


def test_a_white_mask_is_none_and_one_file_is_for_all(images: Path, tmp_path: Path) -> None:
    (images / "dog" / "b.jpg").unlink()
    Image.new("L", (40, 32), 255).save(tmp_path / "white.png")
    plain = boosted(images, tmp_path / "plain")
    white = boosted(images, tmp_path / "white", "--mask", str(tmp_path / "white.png"))
    assert all(np.array_equal(one, other) for one, other in zip(plain, white, strict=True))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.new("L", (32, 40), 255), "is of 32×40 pixels, and cat/a.png of 40×32"),
        (Image.new("RGB", (40, 32), (255, 0, 0)), "has colours"),
        (Image.new("L", (40, 32), 0), "is black everywhere"),
        (None, "does not exist"),
        ("a folder", "has no mask, or several, for dog/"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line_and_nothing_is_written(
    images: Path,
    tmp_path: Path,
    picture: Image.Image | str | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "dog" / "b.jpg").unlink()
    mask = tmp_path / "mask.png"
    if isinstance(picture, Image.Image):
        picture.save(mask)
    elif picture is not None:
        mask.mkdir()
        Image.new("L", (40, 32), 255).save(mask / "a.png")
    assert main(["boost", str(images), str(tmp_path / "out"), *HOW, "--mask", str(mask)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line
    assert not (tmp_path / "out").exists()


def test_masks_by_name_are_not_for_a_generator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("L", (32, 32), 255).save(tmp_path / "masks" / "0.png")
    words = [
        "boost",
        "generator:cifar10-cgan",
        str(tmp_path / "out"),
        "--count",
        "2",
        "--mask",
        str(tmp_path / "masks"),
    ]
    assert main(words) == 2
    assert "a generator's images have none" in capsys.readouterr().err
