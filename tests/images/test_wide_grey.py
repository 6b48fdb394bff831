"""Grey of more than 8 bits, and float pictures: which value is white, the same for all of a set, each guess said."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from bigroc_core.images import ImageError, open_image_set, read_image


def tiff(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    return stream.getvalue()


def tiff_of_12_bits(values: list[int]) -> bytes:
    """One row of an even number of pixels, written by hand, as Pillow writes no such file."""
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(values[::2], values[1::2], strict=True)
    )
    entries = [
        (256, len(values)),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(packed)),
    ]
    directory = struct.pack(">H", len(entries))
    for tag, value in entries:
        directory += struct.pack("<HHIHH", tag, 3, 1, value, 0)
    body = packed + b"\0" * (-len(packed) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory + bytes(16)


def floats(*values: float) -> bytes:
    return tiff(np.array([values], np.float32))


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    return root


def test_12_bits_are_read_by_their_depth_however_dark():
    for values in ([0, 1024, 2048, 4095], [0, 1, 2, 3]):
        pixels = read_image(tiff_of_12_bits(values)).pixels
        assert torch.allclose(pixels, torch.tensor(values).float().expand(3, 1, -1) / 4095)


def test_a_pgm_is_read_by_the_white_it_declares():
    pixels = read_image(b"P5 3 1 1023\n" + struct.pack(">3H", 0, 512, 1023)).pixels
    assert torch.allclose(pixels[0, 0], torch.tensor([0, 512 / 1023, 1]), atol=1e-4)


def test_a_float_picture_that_overshoots_is_clamped_and_not_darkened():
    read = read_image(floats(-0.03, 0.5, 1.04))
    assert torch.allclose(read.pixels[0, 0], torch.tensor([0, 0.5, 1]))
    assert "-0.03 to 1.04 were clamped to 0 to 1" in read.notes[0]
    assert read_image(floats(0, 0.25, 1)).notes == ()


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ([-1, 0, 1], [0, 0.5, 1], "black -1 to white 1"),
        ([0, 51, 255], [0, 0.2, 1], "8 bits"),
        ([0, 13_107, 65_535], [0, 0.2, 1], "16 bits"),
        ([-1_000, 0, 3_000], [0, 0.25, 1], "stretched"),
    ],
)
def test_other_ranges_are_guessed_and_the_guess_is_said(values, expected, said):
    read = read_image(floats(*values))
    assert torch.allclose(read.pixels[0, 0], torch.tensor(expected), atol=1e-6)
    assert said in read.notes[0]
    whole = read_image(tiff(np.array([values], np.int32)))
    if min(values) == 0:
        assert torch.allclose(whole.pixels[0, 0], torch.tensor(expected), atol=1e-6)
        assert said in whole.notes[0]


@pytest.mark.parametrize("size", [None, (1, 3), "own"])
def test_all_images_of_a_set_are_read_by_one_rule(tmp_path, size):
    # Alone, the dark one would pass for a picture in [0, 1].
    folder = folder_of(tmp_path / "set", {"dark.tif": floats(0, 0.5, 1), "bright.tif": floats(0, 100, 255)})
    images = open_image_set(folder, size)
    assert torch.allclose(images.batch(1, 1).images[0, 0, 0], torch.tensor([0, 0.5 / 255, 1 / 255]))
    assert torch.allclose(images.batch(0, 1).images[0, 0, 0], torch.tensor([0, 100 / 255, 1]))
    assert "values from 0 to 255 in 2 images were read as 8 bits" in " ".join(images.notes)
    over = open_image_set(folder_of(tmp_path / "over", {"a.tif": floats(0, 0.5, 1), "b.tif": floats(0, 1, 1.05)}), size)
    assert torch.equal(over.batch(0, 1).images[0, 0, 0], torch.tensor([0, 0.5, 1]))
    assert "clamped" in " ".join(over.notes)


def test_a_damaged_float_picture_is_named_when_its_set_is_opened(tmp_path):
    folder = folder_of(tmp_path / "set", {"a.tif": floats(0, 1), "b.tif": floats(0, np.nan)})
    with pytest.raises(ImageError, match=r"b.tif: has NaN"):
        open_image_set(folder, 8)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow was built without JPEG 2000")
def test_jpeg_2000_is_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.JP2", irreversible=False)
    Image.fromarray(pixels).save(tmp_path / "b.j2k", irreversible=False)
    for image in open_image_set(tmp_path).batch(0, 2).images:
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, "HEIC image .*pillow-heif"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 100, "JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100, "(JPEG 2000 image|damaged)"),
        (b"II*\0\x08\0\0\0" + b"\0" * 100, "TIFF"),
    ],
)
def test_kinds_that_cannot_be_read_are_named_with_what_to_do(tmp_path, data, said):
    (tmp_path / "IMG_0001.HEIC").write_bytes(data)
    with pytest.raises(ImageError, match=rf"IMG_0001.HEIC: .*{said}"):
        open_image_set(tmp_path)
