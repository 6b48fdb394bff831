"""What a user relies on when images go in and out: right pixels, clear refusals, the same bytes after a kill."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from bigroc_core import limits
from bigroc_core.images import (
    ImageError,
    class_folders,
    encode_png,
    fit_to,
    from_uint8,
    open_image_set,
    read_image,
    to_pil,
    to_uint8,
    write_image_set,
)

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = Path(os.environ.get("BIGROC_DATA", ROOT.parent / "shared")) / "photos"
CLASSES = ("airplane", "automobile", "bird")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def levels(source: object) -> np.ndarray:
    return to_uint8(read_image(source).pixels)


def flat(mode: str, colour: object, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


# ------------------------------------------------------------------------------------------------- one image


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_keep_every_pixel(kind, options):
    pixels = noise(5, 7, 3)
    read = read_image(encoded(Image.fromarray(pixels), kind, **options))
    assert read.pixels.shape == (3, 5, 7)
    assert read.pixels.dtype == torch.float32
    assert read.notes == ()
    assert (to_uint8(read.pixels) == pixels).all()


def test_every_source_of_the_same_image_gives_the_same_pixels(tmp_path):
    pixels = noise(6, 4, 3)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels, pixels / 255.0):
        assert torch.equal(read_image(source).pixels, from_uint8(pixels))


def test_real_photographs_read_as_pillow_reads_them():
    photos = sorted(PHOTOS.glob("*.JPEG"))
    if not photos:
        pytest.skip(f"no photographs in {PHOTOS}")
    for photo in photos:
        with Image.open(photo) as image:
            expected = np.asarray(image.convert("RGB"))
            profile = image.info.get("icc_profile", b"")
        # One photograph is in Adobe RGB: shown as if it were sRGB its colours would be dull.
        assert (levels(photo) == expected).all() == (b"Adobe RGB" not in profile and b"Camera RGB" not in profile)
        fitted = read_image(photo, size=32)
        assert fitted.pixels.shape == (3, 32, 32)
        assert "resized from" in fitted.notes[-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # white at the top left
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation != 1:
        stored = stored.transpose(turn[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encoded(stored, kind, exif=exif, **options)
    read = read_image(data)
    assert np.abs(to_uint8(read.pixels).astype(int) - upright).max() <= 3
    assert any("EXIF" in note for note in read.notes) == (orientation != 1)


def test_a_set_of_turned_and_upright_images_of_one_size_needs_no_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "TIFF"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / f"a.{kind.lower()}").write_bytes(encoded(flat("RGB", "red", (8, 16)), kind))
        (folder / f"b.{kind.lower()}").write_bytes(encoded(flat("RGB", "red", (16, 8)), kind, exif=exif))
        assert open_image_set(folder).batch(0, 2).images.shape == (2, 3, 16, 8)


def test_cmyk_jpeg_has_its_colours():
    # Pillow, like Adobe, stores CMYK JPEGs inverted: read without care, cyan comes out red.
    for ink, colour in {
        (255, 0, 0, 0): (0, 255, 255),
        (0, 0, 0, 0): (255, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
    }.items():
        data = encoded(flat("CMYK", ink, (16, 16)), "JPEG", quality=95)
        assert b"Adobe" in data
        assert np.abs(levels(data).astype(int) - colour).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind):
    values = np.array([[0, 255, 256], [32768, 40000, 65535]], np.uint16)
    read = read_image(encoded(Image.fromarray(values), kind))
    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    assert torch.allclose(read.pixels, expected.expand(3, -1, -1), atol=1e-7)


def test_16_bit_rgb_png_is_scaled():
    # Written by hand, as Pillow writes no such file: one row, two pixels, big endian.
    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 257)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert levels(data).tolist() == [[[255, 0, 128], [0, 255, 1]]]


def test_big_endian_and_white_is_zero_tiffs():
    values = np.array([[0, 65535, 4096]], np.uint16)

    def tiff(order: str, photometric: int) -> bytes:
        entries = [
            (256, 3),
            (257, 1),
            (258, 16),
            (259, 1),
            (262, photometric),
            (273, 8),
            (277, 1),
            (278, 1),
            (279, 6),
        ]
        body = values.astype(order + "u2").tobytes() + b"\0\0"
        directory = struct.pack(order + "H", len(entries))
        for tag, value in entries:
            directory += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        mark = b"II*\0" if order == "<" else b"MM\0*"
        return mark + struct.pack(order + "I", 8 + len(body)) + body + directory + b"\0\0\0\0"

    expected = torch.from_numpy(values.astype(np.float32) / 65535)
    assert torch.allclose(read_image(tiff(">", 1)).pixels[0], expected)
    assert torch.allclose(read_image(tiff("<", 1)).pixels[0], expected)
    assert torch.allclose(read_image(tiff("<", 0)).pixels[0], 1 - expected)


def test_32_bit_grey():
    unit = np.array([[0, 0.25, 1]], np.float32)
    assert torch.allclose(read_image(encoded(Image.fromarray(unit), "TIFF")).pixels[1], torch.from_numpy(unit))
    wide = read_image(encoded(Image.fromarray(np.array([[-100, 0, 300000]], np.int32)), "TIFF"))
    assert wide.pixels[0].min() == 0
    assert wide.pixels[0].max() == 1
    assert "stretched" in wide.notes[0]
    with pytest.raises(ImageError, match="NaN"):
        read_image(encoded(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF"))


def test_transparency_is_laid_on_white():
    rgba = noise(4, 4, 4)
    rgba[0, 0, 3] = 0
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] / 255 * alpha + 1 - alpha
    for source in (encoded(Image.fromarray(rgba)), rgba):
        read = read_image(source)
        assert np.abs(read.pixels.permute(1, 2, 0).numpy() - expected).max() < 1e-6
        assert read.notes == ("transparent pixels were laid on white",)
    la = encoded(Image.merge("LA", [flat("L", 100), flat("L", 51)]))
    assert torch.allclose(read_image(la).pixels, torch.tensor(100 / 255 * 0.2 + 0.8))


def test_palette_with_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert levels(encoded(image)).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert levels(encoded(image, transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert levels(encoded(image, transparency=b"\x80\xff")).tolist() == [[[255, 127, 127], [0, 0, 255]]]


def test_opaque_rgba_has_no_note():
    pixels = noise(3, 3, 3)
    read = read_image(encoded(Image.fromarray(pixels).convert("RGBA")))
    assert read.notes == ()
    assert (to_uint8(read.pixels) == pixels).all()


@pytest.mark.parametrize(("kind", "count"), [("GIF", "several"), ("WEBP", "3"), ("PNG", "3"), ("TIFF", "several")])
def test_of_an_animation_the_first_frame_is_taken(kind, count):
    frames = [flat("RGB", colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    read = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert (to_uint8(read.pixels) == [255, 0, 0]).all()
    assert read.notes == (f"the first of {count} frames was taken",)


def test_an_embedded_profile_is_converted_to_srgb():
    pixels = noise(8, 8, 3)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_image(encoded(Image.fromarray(pixels), icc_profile=srgb))
    assert (to_uint8(same.pixels) == pixels).all()
    assert same.notes == ()
    broken = read_image(encoded(Image.fromarray(pixels), icc_profile=b"not a profile" * 20))
    assert (to_uint8(broken.pixels) == pixels).all()
    assert "ignored" in broken.notes[0]
    # A profile like sRGB but with red and blue exchanged must exchange them.
    swapped = bytearray(srgb)
    table = {}
    count = struct.unpack(">I", swapped[128:132])[0]
    for entry in range(132, 132 + 12 * count, 12):
        table[bytes(swapped[entry : entry + 4])] = entry
    red, blue = table[b"rXYZ"], table[b"bXYZ"]
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    text = bytes(swapped).replace("sRGB".encode("utf-16-be"), "sBGR".encode("utf-16-be")).replace(b"sRGB b", b"sBGR b")
    red_image = read_image(encoded(flat("RGB", "red"), icc_profile=text))
    assert np.abs(to_uint8(red_image.pixels).astype(int) - [0, 0, 255]).max() <= 2
    assert "sBGR" in red_image.notes[0]


def test_one_pixel_is_a_fair_image():
    read = read_image(encoded(flat("RGB", (10, 20, 30), (1, 1))), size=32)
    assert (to_uint8(read.pixels) == [10, 20, 30]).all()
    assert read.notes == ("resized from 1×1 to 32×32",)


def huge_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels, with none behind it."""
    data = bytearray(encoded(flat("RGB", 0, (1, 1))))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [7_100, 10_000, 20_000])
def test_too_many_pixels_are_refused_by_the_header(side):
    # If it tried to decode it would complain that the data is truncated instead.
    with pytest.raises(ImageError, match=r"big\.png: .*50 million.*Make it smaller"):
        read_image(huge_png(side), name="big.png")


def test_what_is_not_a_whole_image_is_refused_by_name(tmp_path):
    whole = encoded(Image.fromarray(noise(64, 64, 3)))
    jpeg = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")
    bad = {
        "text.png": (b"hello, I am text" * 10, "not an image"),
        "empty.png": (b"", "empty"),
        "cut.png": (whole[: len(whole) // 2], "truncated or damaged"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated or damaged"),
        "head.png": (whole[:20], "not an image|damaged"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not an image"),
        "set.zip": (b"PK\3\4" + bytes(100), "is an archive, and an image is wanted"),
        "flip.png": (whole[:200] + bytes(b ^ 255 for b in whole[200:400]) + whole[400:], "damaged"),
    }
    for name, (data, reason) in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        for source in (path, data):
            with pytest.raises(ImageError, match=rf"(?s){name}: .*({reason})") as refused:
                read_image(source, name=name)
            assert "\n" not in str(refused.value)
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match=f"more than the {limits.MAX_IMAGE_BYTES // 2**20} MiB"):
        read_image(bytes(limits.MAX_IMAGE_BYTES + 1))


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_cut_anywhere_an_image_reads_or_is_refused_but_never_breaks():
    rng = random.Random(0)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"):
        try:
            data = encoded(Image.fromarray(noise(24, 24, 3)), kind)
        except (KeyError, OSError):
            continue  # this Pillow writes no AVIF
        for _ in range(40):
            mutant = bytearray(data[: rng.randrange(1, len(data) + 1)])
            for _ in range(rng.randrange(4)):
                mutant[rng.randrange(len(mutant))] = rng.randrange(256)
            try:
                pixels = read_image(bytes(mutant)).pixels
            except ImageError:
                continue
            assert pixels.shape[0] == 3
            assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int32),
        np.full((8, 8, 3), 1.5, np.float32),
        np.full((8, 8, 3), np.nan, np.float32),
        np.array([[None]]),
    ],
    ids=["channels-first", "four-d", "no-rows", "int32", "above-one", "nan", "object"],
)
def test_arrays_that_are_no_image_are_refused(array):
    with pytest.raises(ImageError, match="expected"):
        read_image(array)


# ------------------------------------------------------------------------------------------ size and rounding


def test_fit_to_leaves_images_of_the_size_alone():
    image = torch.rand(3, 32, 32)
    fitted = fit_to(image, 32)
    assert fitted.pixels is image
    assert fitted.notes == ()


def test_shrinking_is_the_mean_over_the_area():
    image = torch.rand(3, 64, 96, dtype=torch.float64)
    blocks = image[:, :, 16:80].reshape(3, 32, 2, 32, 2).mean((2, 4))
    fitted = fit_to(image, 32)
    assert torch.allclose(fitted.pixels, blocks, atol=1e-12)
    assert fitted.notes == ("resized from 96×64 to 32×32, the centre 64×64 kept",)
    # By a ratio that is no whole number the mean of the whole image stays.
    assert torch.allclose(
        fit_to(torch.ones(3, 50, 50) * image[:, :50, :50], 32).pixels.mean(), image[:, :50, :50].mean()
    )


def test_enlarging_interpolates_and_stays_in_range():
    ramp = torch.linspace(0.2, 0.8, 16).expand(3, 16, 16)
    large = fit_to(ramp, 64).pixels
    position = (torch.arange(64) + 0.5) / 4 - 0.5
    expected = 0.2 + 0.6 * position / 15
    assert (large[0, 32, 12:52] - expected[12:52]).abs().max() < 5e-3
    edges = fit_to((torch.rand(3, 8, 8) > 0.5).float(), (40, 24)).pixels
    assert edges.shape == (3, 40, 24)
    assert edges.min() >= 0
    assert edges.max() <= 1


@pytest.mark.parametrize("size", [0, -1, (32, 0), (10**6, 10**6)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size"):
        fit_to(torch.rand(3, 8, 8), size)


def test_all_256_levels_survive_the_round_trip_in_every_dtype():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert (to_uint8(from_uint8(every).to(dtype)) == every).all()
    assert torch.equal(from_uint8(torch.from_numpy(every)), from_uint8(every))
    assert (from_uint8(every).numpy()[0, 0].ravel() == np.arange(256, dtype=np.float32) / np.float32(255)).all()


def test_rounding_is_half_to_even():
    halves = torch.tensor([0.5, 1.5, 2.5, 127.5, 128.5, 254.5], dtype=torch.float64) / 255
    exact = halves * 255 == torch.tensor([0.5, 1.5, 2.5, 127.5, 128.5, 254.5], dtype=torch.float64)
    rounded = to_uint8(halves.reshape(1, 1, 6).expand(3, 1, 6))[0, :, 0]
    assert exact.sum() >= 3
    assert rounded[exact.numpy()].tolist() == np.array([0, 2, 2, 128, 128, 254])[exact.numpy()].tolist()


@pytest.mark.parametrize("value", [float("nan"), 1.01, -0.01, float("inf")])
def test_to_uint8_refuses_what_is_no_image(value):
    image = torch.rand(2, 3, 4, 4)
    image[1, 2, 3, 3] = value
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        to_uint8(image)
    with pytest.raises(ValueError, match="shape"):
        to_uint8(torch.rand(4, 4))
    with pytest.raises(ValueError, match="dtype"):
        to_uint8(torch.zeros(3, 4, 4, dtype=torch.uint8))


def test_the_last_bit_outside_the_range_is_forgiven():
    image = torch.full((3, 2, 2), float(np.nextafter(np.float32(1), np.float32(2))))
    assert (to_uint8(image) == 255).all()


def test_png_is_lossless_deterministic_and_carries_text():
    pixels = noise(32, 32, 3)
    image = from_uint8(pixels)
    data = encode_png(image, {"eps": "1.0", "Titel": "größer → besser"})
    assert data == encode_png(image, {"eps": "1.0", "Titel": "größer → besser"})
    with Image.open(io.BytesIO(data)) as decoded:
        assert isinstance(decoded, PngImagePlugin.PngImageFile)
        assert decoded.text == {"eps": "1.0", "Titel": "größer → besser"}
        assert (np.asarray(decoded) == pixels).all()
    enlarged = np.asarray(to_pil(image, enlarge=4))
    assert (enlarged == pixels.repeat(4, 0).repeat(4, 1)).all()


# ----------------------------------------------------------------------------------------------- image sets in


def make_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def png(seed: int, side: int = 8) -> bytes:
    return encoded(Image.fromarray(noise(side, side, 3, seed=seed)))


CLASS_FILES = {"bird/1.png": png(1), "airplane/2.png": png(2), "bird/0.png": png(0), "airplane/0.png": png(3)}
ORDER = ("airplane/0.png", "bird/0.png", "bird/1.png", "airplane/2.png")


@pytest.mark.parametrize("kind", ["folder", "zip", "wrapped zip", "folder in zip"])
def test_class_subfolders_give_labels_in_one_order(tmp_path, kind):
    junk = {".DS_Store": b"x", "__MACOSX/bird/._1.png": b"x", "bird/.hidden.png": b"x", "README.txt": b"read"}
    files = CLASS_FILES | junk
    if kind == "folder":
        path = make_files(tmp_path / "set", files)
    elif kind == "zip":
        path = make_zip(tmp_path / "set.zip", files)
    elif kind == "wrapped zip":
        path = make_zip(tmp_path / "set.zip", {f"birds 2024/{name}": data for name, data in files.items()})
    else:
        inside = {f"val/{name}": data for name, data in files.items()} | {"train/bird/7.png": png(7)}
        path = make_zip(tmp_path / "set.zip", inside) / "val"
    found = open_image_set(path)
    assert len(found) == 4
    assert tuple(found.names) == ORDER
    assert found.classes == ("airplane", "bird")
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert "README.txt" in found.notes[0]
    batches = list(found.batches(3))
    assert [len(batch.images) for batch in batches] == [3, 1]
    assert (to_uint8(batches[0].images[1]) == noise(8, 8, 3, seed=0)).all()
    assert batches[1].labels.tolist() == [0]
    assert open_image_set(path, classes=CLASSES).labels.tolist() == [0, 2, 2, 0]
    with pytest.raises(ImageError, match=r"bird does not exist.*cat, dog"):
        open_image_set(path, classes=("airplane", "cat", "dog"))


def test_flat_single_and_csv_sets(tmp_path):
    flat_folder = make_files(tmp_path / "flat", {"b.png": png(1), "a.png": png(0), "c.JPG": png(2)})
    found = open_image_set(flat_folder)
    assert tuple(found.names) == ("a.png", "b.png", "c.JPG")
    assert found.labels is None
    assert found.batch(0, 9).labels is None
    single = open_image_set(flat_folder / "b.png", size=4)
    assert single.batch(0, 1).images.shape == (1, 3, 4, 4)
    csv_folder = make_files(tmp_path / "csv", {"b.png": png(1), "sub/a.png": png(0)})
    (csv_folder / "labels.csv").write_text("\ufefffile,label\nsub/a.png,2\nb.png,0\n", encoding="utf-8")
    found = open_image_set(csv_folder, classes=CLASSES)
    assert tuple(found.names) == ("sub/a.png", "b.png")
    assert found.labels.tolist() == [2, 0]
    (csv_folder / "labels.csv").write_text("label,file\nbird,sub/a.png\nairplane,b.png\n")
    assert open_image_set(csv_folder, classes=CLASSES).labels.tolist() == [2, 0]


def test_mixed_sizes_need_a_size(tmp_path):
    folder = make_files(tmp_path / "mixed", {"a.png": png(0, 8), "b.png": png(1, 12)})
    with pytest.raises(ImageError, match=r"a.png is 8×8, b.png 12×12.*Give the size"):
        open_image_set(folder)
    found = open_image_set(folder, size=8)
    assert (to_uint8(found.batch(0, 1).images[0]) == noise(8, 8, 3, seed=0)).all()
    assert found.batch(0, 2).images.shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "empty folder"),
        ({"a.txt": b"x"}, r"holds no images, only other files \(a.txt\)"),
        ({"a.png": png(0), "bird/b.png": png(1)}, "labels are missing"),
        ({"train/bird/b.png": png(1)}, "more than one folder deep"),
        ({"a.png": png(0), "labels.csv": b"name,class\na.png,1\n"}, "columns file,label"),
        ({"a.png": png(0), "labels.csv": b"file,label\nb.png,1\n"}, "line 2 names 'b.png'"),
        ({"a.png": png(0), "labels.csv": b"file,label\na.png\n"}, "line 2 has no label"),
        (
            {"a.png": png(0), "b.png": png(1), "labels.csv": b"file,label\na.png,1\n"},
            "labels are missing.*b.png",
        ),
        ({"a.png": png(0), "labels.csv": b"file,label\na.png,1\na.png,1\n"}, "names a file twice"),
        ({"a.png": png(0), "labels.csv": b"file,label\na.png,3\n"}, "label 3 does not exist"),
        ({"a.png": png(0), "labels.csv": b"file,label\na.png,-1\n"}, "label -1 does not exist"),
        ({"a.png": png(0), "labels.csv": b"\xff\xfe\x00"}, "not a CSV"),
    ],
)
def test_unfit_folders_are_refused_with_the_reason(tmp_path, files, reason):
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(ImageError, match=reason):
        open_image_set(make_files(folder, files), classes=CLASSES)


def test_a_damaged_image_in_a_set_is_named(tmp_path):
    good = png(0, 64)
    files = {"a.png": good, "b.png": good[: len(good) // 2]}
    for path in (make_files(tmp_path / "set", files), make_zip(tmp_path / "set.zip", files)):
        found = open_image_set(path)
        assert len(found.batch(0, 1).images) == 1
        with pytest.raises(ImageError, match=r"b.png: is truncated"):
            found.batch(1, 1)


def declare_size(path: Path, size: int) -> None:
    """Change the unpacked size that a one-member archive's directory declares."""
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", size)
    path.write_bytes(data)


def test_hostile_archives_are_refused(tmp_path):
    for name in ("../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "a\\..\\evil.png"):
        with pytest.raises(ImageError, match="outside the archive"):
            open_image_set(make_zip(tmp_path / "slip.zip", {"good.png": png(0), name: png(1)}))
    assert not list(tmp_path.parent.rglob("evil.png"))

    encrypted = make_zip(tmp_path / "encrypted.zip", {"a.png": png(0)})
    data = bytearray(encrypted.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    encrypted.write_bytes(data)
    with pytest.raises(ImageError, match="encrypted"):
        open_image_set(encrypted)

    bomb = make_zip(tmp_path / "bomb.zip", {"a.png": bytes(limits.MAX_IMAGE_BYTES + 1)})
    assert bomb.stat().st_size < 2**20
    with pytest.raises(ImageError, match=r"a.png: has 32.0 MiB, more than"):
        open_image_set(bomb)
    declare_size(bomb, 1000)  # it lies about its size: no more than that is unpacked, and the CRC gives it away
    with pytest.raises(ImageError, match=r"a.png is damaged"):
        open_image_set(bomb)

    whole = make_zip(tmp_path / "whole.zip", {"a.png": png(0, 64)}, zipfile.ZIP_STORED)
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 255
    whole.write_bytes(data)
    with pytest.raises(ImageError, match=r"a.png is damaged"):
        open_image_set(whole)
    whole.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="not a whole zip"):
        open_image_set(whole)
    with pytest.raises(ImageError, match="unusual method"):
        open_image_set(make_zip(tmp_path / "bz.zip", {"a.png": png(0)}, zipfile.ZIP_BZIP2))
    with pytest.raises(ImageError, match="holds no files"):
        open_image_set(make_zip(tmp_path / "none.zip", {}))


def test_what_is_no_set_at_all_is_refused(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        open_image_set(tmp_path / "nowhere")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(ImageError, match="none of the kinds"):
        open_image_set(tmp_path / "model.ckpt")


# ------------------------------------------------------------------------------------------------------ .npz


def test_npz_is_read_bit_for_bit_with_labels(tmp_path):
    images, labels = noise(11, 8, 6, 3), np.arange(11) % 3
    np.savez(tmp_path / "plain.npz", images, labels)
    np.savez_compressed(tmp_path / "packed.npz", images, labels)
    np.savez(tmp_path / "fortran.npz", np.asfortranarray(images), labels)
    for name in ("plain", "packed", "fortran"):
        found = open_image_set(tmp_path / f"{name}.npz", classes=CLASSES)
        assert len(found) == 11
        assert found.labels.tolist() == labels.tolist()
        assert (np.concatenate([to_uint8(batch.images) for batch in found.batches(4)]) == images).all()
        assert (to_uint8(found.batch(7, 2).images) == images[7:9]).all()
    np.savez(tmp_path / "unlabelled.npz", images)
    assert open_image_set(tmp_path / "unlabelled.npz").labels is None
    assert open_image_set(tmp_path / "unlabelled.npz", size=4).batch(0, 2).images.shape == (2, 3, 4, 4)


IMAGES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x_train": IMAGES}, "holds x_train; expected arr_0"),
        ({}, "holds nothing"),
        (
            {"arr_0": IMAGES.astype(np.float32)},
            r"arr_0 is float32 \(4, 8, 8, 3\); expected arr_0 \(N, H, W, 3\) uint8",
        ),
        ({"arr_0": IMAGES.transpose(0, 3, 1, 2)}, r"\(4, 3, 8, 8\)"),
        ({"arr_0": IMAGES[0]}, r"\(8, 8, 3\)"),
        ({"arr_0": IMAGES[:0]}, "no images"),
        ({"arr_0": IMAGES[:, :0]}, "expected at least 1×1"),
        ({"arr_0": IMAGES, "arr_1": np.zeros(3, np.int64)}, r"arr_1 is int64 \(3,\) beside 4 images"),
        ({"arr_0": IMAGES, "arr_1": np.zeros(4)}, "arr_1 is float64"),
        ({"arr_0": IMAGES, "arr_1": np.array([0, 1, 2, 3])}, "from 0 to 3; expected 0 to 2, for 3 classes"),
        ({"arr_0": IMAGES, "arr_1": np.array([0, 1, 2, -1])}, "from -1 to 2"),
        ({"arr_0": np.array([{"a": 1}], object)}, "arr_0 is object"),
        ({"arr_0": IMAGES, "arr_1": np.array([0, 1, 2, None], object)}, "arr_1 is object"),
    ],
)
def test_unfit_npz_files_are_refused_with_the_reason(tmp_path, arrays, reason):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ImageError, match=reason):
        open_image_set(tmp_path / "set.npz", classes=CLASSES)


def test_damaged_npz_files_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, noise(4, 8, 8, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ImageError, match="not a whole zip"):
        open_image_set(path)
    path.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
    with pytest.raises(ImageError, match="damaged"):
        open_image_set(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ImageError, match="not a whole zip"):
        open_image_set(path)
    path.write_bytes(whole.replace(b"(4, 8, 8, 3)", b"(9, 8, 8, 3)"))
    with pytest.raises(ImageError, match=r"damaged|not as long"):
        open_image_set(path)


# ---------------------------------------------------------------------------------------------- image sets out

COUNT, BATCH = 23, 5
SETTINGS = {"eps": 1.0, "classifier": "cifar10-robust", "fractions": (0.1, 0.5)}


def write_all(out: Path, labels: np.ndarray | None, stop_after: int | None = None) -> bool:
    """Write 23 known images in batches of 5, or give up after some batches as a killed process does."""
    images = from_uint8(noise(COUNT, 8, 8, 3))
    writer = write_image_set(out, COUNT, BATCH, SETTINGS, CLASSES)
    for done, (start, stop) in enumerate(writer.missing()):
        if done == stop_after:
            return False
        writer.write(start, images[start:stop], None if labels is None else torch.from_numpy(labels[start:stop]))
    writer.finish()
    return True


def all_bytes(out: Path) -> dict[str, bytes]:
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["set", "set.npz"])
@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_written_reads_back_bit_for_bit_in_order(tmp_path, name, labelled):
    labels = np.random.default_rng(1).integers(0, 3, COUNT) if labelled else None
    out = tmp_path / "made" / name
    assert write_all(out, labels)
    assert [path.name for path in out.parent.iterdir()] == [name]
    found = open_image_set(out, classes=CLASSES)
    assert (to_uint8(found.batch(0, COUNT).images) == noise(COUNT, 8, 8, 3)).all()
    assert (found.labels is None) if labels is None else (found.labels.tolist() == labels.tolist())
    if out.is_dir():
        first = "000012.png" if labels is None else f"{CLASSES[labels[12]]}/000012.png"
        assert found.names[12] == first
        assert [path.name for path in out.glob(".*")] == [".bigroc-output"]


def test_a_written_npz_is_what_numpy_would_have_written(tmp_path):
    labels = np.arange(COUNT) % 3
    write_all(tmp_path / "ours.npz", labels)
    np.savez(tmp_path / "numpy.npz", noise(COUNT, 8, 8, 3), labels)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def guided_diffusion_batches(path, batch_size):
    """Stream arr_0 as guided-diffusion's evaluator does: straight from the zip member, (n, H, W, 3) uint8 at a time."""
    with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](member)
        assert not fortran
        assert not dtype.hasobject
        for start in range(0, shape[0], batch_size):
            rows = min(batch_size, shape[0] - start)
            wanted = rows * int(np.prod(shape[1:])) * dtype.itemsize
            data = member.read(wanted)
            assert len(data) == wanted
            yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])


def test_guided_diffusions_evaluator_can_read_what_is_written(tmp_path):
    images = torch.rand(10, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10) % 4
    writer = write_image_set(tmp_path / "samples.npz", 10, 4, {})
    for start, stop in writer.missing():
        writer.write(start, images[start:stop], labels[start:stop])
    batches = list(guided_diffusion_batches(writer.finish(), 3))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), to_uint8(images))
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["arr_1"], labels)


@pytest.mark.parametrize("name", ["set", "set.npz"])
@pytest.mark.parametrize("killed_after", [0, 1, 3, 5])
def test_a_run_that_stopped_continues_and_gives_the_same_bytes(tmp_path, name, killed_after):
    labels = np.arange(COUNT) % 3
    write_all(tmp_path / "whole" / name, labels)
    out = tmp_path / "resumed" / name
    if not write_all(out, labels, stop_after=killed_after):
        unfinished = write_image_set(out, COUNT, BATCH, SETTINGS, CLASSES)
        assert len(unfinished.missing()) == 5 - killed_after
        with pytest.raises(ValueError, match=r"still missing"):
            unfinished.finish()
        assert out.is_dir() or not out.exists()
        with pytest.raises(ImageError, match=r"unfinished run|does not exist"):
            open_image_set(out)
        assert write_all(out, labels)
    assert all_bytes(out) == all_bytes(tmp_path / "whole" / name)


MANY = from_uint8(noise(400, 8, 8, 3, seed=3))


def write_many(out: Path, file_size_limit: int | None = None, errors: Connection | None = None) -> None:
    """What the command line does, here or in a process of its own."""
    if file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))
    try:
        writer = write_image_set(out, 400, 10, {"seed": 3})
        for start, stop in writer.missing():
            writer.write(start, MANY[start:stop], torch.arange(start, stop) % 7)
        writer.finish()
    except OSError as error:
        if errors is None:
            raise
        errors.send(str(error))


def process_of(*arguments: object) -> multiprocessing.process.BaseProcess:
    # Forked, so that it need not import torch again; it only computes on tensors too small for threads.
    process = multiprocessing.get_context("fork").Process(target=write_many, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("name", ["set", "set.npz"])
@pytest.mark.parametrize("files", [1, 7, 30])
def test_killed_for_real_while_writing(tmp_path, name, files):
    write_many(tmp_path / "whole" / name)
    out = tmp_path / "killed" / name
    for more in (0, 5):  # killed twice
        process = process_of(out)
        while process.is_alive() and sum(path.is_file() for path in out.parent.rglob("*")) < files + more:
            pass
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert out.is_dir() or not out.exists()
    write_many(out)
    assert all_bytes(out) == all_bytes(tmp_path / "whole" / name)


@pytest.mark.parametrize("name", ["set", "set.npz"])
def test_continuing_with_other_settings_is_refused(tmp_path, name):
    out = tmp_path / name
    write_all(out, None, stop_after=2)
    with pytest.raises(ValueError, match=r"other settings \(eps was 1.0 and is now 2.0\)"):
        write_image_set(out, COUNT, BATCH, SETTINGS | {"eps": 2.0}, CLASSES)
    with pytest.raises(ValueError, match="count was 23 and is now 24"):
        write_image_set(out, COUNT + 1, BATCH, SETTINGS, CLASSES)
    assert write_all(out, None)
    with pytest.raises(ValueError, match="exists already"):
        write_all(out, None)


def test_what_is_already_there_is_not_touched(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    (tmp_path / "set.npz").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("full", "set.npz", "file"):
        with pytest.raises(ValueError, match="exists already"):
            write_image_set(tmp_path / name, 1, 1, {})
    assert (tmp_path / "set.npz").read_text() == "precious"
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    assert write_all(tmp_path / "empty", None)
    with pytest.raises(ValueError, match=r"ends in \.png"):
        write_image_set(tmp_path / "one.png", 1, 1, {})
    with pytest.raises(ValueError, match="JSON"):
        write_image_set(tmp_path / "odd", 1, 1, {"eps": torch.ones(1)})


def test_batches_that_do_not_fit_are_refused(tmp_path):
    writer = write_image_set(tmp_path / "set", COUNT, BATCH, SETTINGS, CLASSES)
    images = torch.rand(BATCH, 3, 8, 8)
    for start, batch, labels, reason in [
        (1, images, None, "no batch of this set"),
        (20, images, None, "no batch of this set"),
        (0, images, torch.tensor([0, 1, 2, 3, 0]), "do not fit"),
        (0, images, torch.tensor([0, 1]), "do not fit"),
        (0, images + 1, None, "expected"),
    ]:
        with pytest.raises(ValueError, match=reason):
            writer.write(start, batch, labels)
    writer.write(0, images)
    with pytest.raises(ValueError, match="earlier ones"):
        writer.write(5, images, torch.zeros(BATCH, dtype=torch.int64))
    assert writer.missing()[0] == (5, 10)
    writer.write(5, [*images[1:], torch.rand(3, 9, 7)])  # a folder holds images of any size
    assert writer.missing()[0][0] == 10
    array = write_image_set(tmp_path / "set.npz", COUNT, BATCH, SETTINGS, CLASSES)
    array.write(0, images)
    for batch, reason in (
        (torch.rand(BATCH, 3, 9, 9), "earlier ones"),
        ([*images[1:], torch.rand(3, 9, 7)], "one size"),
    ):
        with pytest.raises(ValueError, match=reason):
            array.write(5, batch)
    assert array.missing()[0] == (5, 10)


@pytest.mark.parametrize(("name", "limit"), [("set", 150), ("set.npz", 1_000), ("set.npz", 20_000)])
def test_a_full_disk_is_said_and_the_run_continues(tmp_path, name, limit):
    # A limit on file size makes the system itself refuse to write, as a full disk does: at the first image, at the
    # first batch, and (20,000 bytes) only when all batches are there and the .npz is being put together.
    out = tmp_path / "made" / name
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process_of(out, limit, sender).join(60)
    assert receiver.poll()
    assert re.search(r"made/set.*could not be written.*the same command continues", receiver.recv())
    assert [path.name for path in out.parent.rglob("*.tmp")] == []
    assert out.is_dir() or not out.exists()
    write_many(out)
    assert (to_uint8(open_image_set(out).batch(0, 400).images) == to_uint8(MANY)).all()


def test_class_folders_are_names_a_file_system_takes():
    folders = class_folders(("plane, carpenter's plane", "a/b", "crane", "crane", "..", "", "Über"))
    assert folders == ("plane, carpenter's plane", "a_b", "crane (2)", "crane (3)", "__", "_", "Über")


def test_numbered_classes_read_back_as_their_numbers(tmp_path):
    writer = write_image_set(tmp_path / "set", 3, 3, {})
    writer.write(0, torch.rand(3, 3, 4, 4), torch.tensor([10, 2, 10]))
    writer.finish()
    assert open_image_set(tmp_path / "set").labels.tolist() == [10, 2, 10]
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "set")
    assert open_image_set(tmp_path / "set.zip").labels.tolist() == [10, 2, 10]


def test_memory_does_not_grow_with_the_set(tmp_path):
    """Writing and reading 60 MB of images through an .npz must not take 60 MB."""
    script = f"""
import json, resource, sys
sys.path.insert(0, {str(ROOT)!r})
import torch
from bigroc_core.images import open_image_set, write_image_set
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def run(out, count):
    writer = write_image_set(out, count, 50, {{}})
    for start, stop in writer.missing():
        writer.write(start, torch.rand(stop - start, 3, 64, 64), torch.zeros(stop - start, dtype=torch.int64))
    writer.finish()
    for batch in open_image_set(out).batches(50):
        batch.images.sum()
    return peak()
small = run({str(tmp_path / "small.npz")!r}, 100)
print(json.dumps([small, run({str(tmp_path / "large.npz")!r}, 5000)]))
"""
    small, large = json.loads(subprocess.check_output([sys.executable, "-c", script], timeout=200))
    assert large - small < 20
