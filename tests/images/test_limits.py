"""What a file declares is checked before anything of it is decoded or held: small files cannot cost much."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigroc_core.images import ImageError, check_together, open_image_set, read_image
from bigroc_core.images.archives import checked_archive
from bigroc_core.limits import COMMAND_LINE, UPLOAD, ReadingLimits

ROOT = Path(__file__).resolve().parents[2]


def black_png(width: int, height: int) -> bytes:
    """A PNG that is small however large the picture: its rows are all zero."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer, row = zlib.compressobj(1), b"\0" * (1 + 3 * width)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def array_header(shape: tuple[int, ...], descr: str = "|u1", fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return stream.getvalue()


def npz_of(path: Path, members: dict[str, list[bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, parts in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                for part in parts:
                    member.write(part)
    return path


def files_for_uploads(folder: Path) -> dict[str, Path]:
    """Small files that say they are large, by what they are."""
    count = 2_000_000
    zeros = [b"\0" * 1_000_000] * 6
    millions = {"arr_0.npy": [array_header((count, 1, 1, 3)), *zeros]}
    large = {"arr_0.npy": [array_header((16, 2_048, 2_048, 3)), *[b"\0" * (2_048 * 2_048 * 3)] * 16]}
    files = {
        "millions of images": npz_of(folder / "millions.npz", millions),
        "a large packed array": npz_of(folder / "large.npz", large),
        "large images": folder / "large.zip",
        "one huge image": folder / "huge.png",
        "many members": folder / "members.zip",
        "a large labels.csv": folder / "labels.zip",
        "a large dataset.json": folder / "dataset.zip",
    }
    picture = black_png(4_500, 5_000)
    with zipfile.ZipFile(files["large images"], "w") as archive:
        for index in range(40):
            archive.writestr(f"{index}.png", picture)
    files["one huge image"].write_bytes(black_png(6_000, 5_000))
    with zipfile.ZipFile(files["many members"], "w") as archive:
        for index in range(UPLOAD.archive_members + 1):
            archive.writestr(f"{index}.txt", b"")
    for name, what in (("labels.csv", "a large labels.csv"), ("dataset.json", "a large dataset.json")):
        with zipfile.ZipFile(files[what], "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", black_png(8, 8))
            archive.writestr(name, b"[" * (UPLOAD.labels_bytes + 1))
    return files


REASONS = {
    "millions of images": "holds 2,000,000 images, more than the 10,000",
    "a large packed array": "compressed and too large",
    "large images": "million pixels together",
    "one huge image": "6,000×5,000 pixels, more than the 25 million",
    "many members": "more than 20,000 cannot be read",
    "a large labels.csv": "its labels.csv unpacks to more than the 4 MiB",
    "a large dataset.json": "its dataset.json unpacks to more than the 4 MiB",
}


def test_small_files_that_say_much_are_refused_at_once_in_little_memory(tmp_path):
    files = files_for_uploads(tmp_path)
    # In a process of its own, whose memory is not that of other tests.
    script = """
import json, resource, sys, time
from bigroc_core.images import ImageError, open_image_set
from bigroc_core.limits import UPLOAD
for name, path in json.loads(sys.argv[1]).items():
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        open_image_set(path, 32, limits=UPLOAD).batch(0, 1)
        said = "read"
    except ImageError as error:
        said = str(error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    print(json.dumps([name, said, time.process_time() - began, grown]))
"""
    paths = json.dumps({name: str(path) for name, path in files.items()})
    done = subprocess.run([sys.executable, "-c", script, paths], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result[0] for result in results] == list(REASONS)
    for name, said, seconds, grown in results:
        assert REASONS[name] in said, (name, said)
        assert seconds < 1, (name, seconds)
        assert grown < 200, (name, grown)


def test_the_command_line_reads_more_than_an_upload_may_have():
    for name in ReadingLimits.__dataclass_fields__:
        upload, command_line = getattr(UPLOAD, name), getattr(COMMAND_LINE, name)
        assert command_line is None or upload <= command_line
    assert UPLOAD != COMMAND_LINE


def test_every_limit_is_met_exactly(tmp_path):
    """At the limit a set is read; one more of anything is refused."""
    picture = black_png(8, 8)
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(3):
            archive.writestr(f"{index}.png", picture)
        archive.writestr("labels.csv", b"file,label\n0.png,0\n1.png,0\n2.png,0\n")
    unpacked = sum(info.file_size for info in zipfile.ZipFile(path).infolist())
    exact = ReadingLimits(
        image_bytes=len(picture),
        image_pixels=64,
        image_side=8,
        images=3,
        pixels=3 * 64,
        archive_members=4,
        archive_bytes=unpacked,
        array_bytes=3 * 64 * 3 + 128,
        labels_bytes=35,
    )
    assert len(open_image_set(path, limits=exact)) == 3
    np.savez_compressed(tmp_path / "set.npz", np.zeros((3, 8, 8, 3), np.uint8), np.zeros(3, np.int8))
    exact_npz = replace(exact, archive_bytes=10_000)
    assert len(open_image_set(tmp_path / "set.npz", limits=exact_npz)) == 3
    for name in ReadingLimits.__dataclass_fields__:
        one_less = replace(exact, **{name: getattr(exact, name) - 1})
        if name != "array_bytes":
            with pytest.raises(ImageError):
                open_image_set(path, limits=one_less)
        if name in ("array_bytes", "images", "pixels", "image_pixels", "image_side"):
            with pytest.raises(ImageError):
                open_image_set(tmp_path / "set.npz", limits=replace(one_less, archive_bytes=10_000))


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (array_header((10**9, 1, 1, 3)), b"\0" * 12),
        (array_header((2**62, 2, 2, 3)), b"\0" * 12),
        (array_header((1, 2, 2, 3), "|O"), b"\0" * 96),
        (array_header((1, 2, 2, 3), "<f8"), b"\0" * 96),
        (array_header((1, 2, 2, 3), "|V1000000000"), b"\0" * 96),
        (array_header((1, 2, 2, 3)).replace(b"(1, 2, 2, 3)", b"(-1,-2,2, 3)"), b"\0" * 12),
        (array_header((1, 2, 2, 3)).replace(b"'|u1'", b"10**9"), b"\0" * 12),
        (array_header((1, 2, 2, 3), fortran=True), b"\0" * 11),
        (b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + b"{" * 100, b""),
        (b"\x93NUMPY\x01\0" + struct.pack("<H", 60_000) + b"(" * 60_000, b""),
        (b"\x93NUMPY\x09\0", b""),
    ],
)
@pytest.mark.parametrize("which", ["arr_0.npy", "arr_1.npy"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_that_are_not_what_they_say_are_refused(tmp_path, header, data, which, method):
    good = {"arr_0.npy": [array_header((1, 2, 2, 3)), b"\0" * 12], "arr_1.npy": [array_header((1,), "|i1"), b"\0"]}
    path = npz_of(tmp_path / "set.npz", {**good, which: [header, data]}, method)
    began = time.process_time()
    with pytest.raises(ImageError) as refused:
        open_image_set(path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 800
    assert time.process_time() - began < 1


def test_fortran_order_is_read_as_numpy_reads_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "set.npz", np.asfortranarray(pixels))
    images = open_image_set(tmp_path / "set.npz").batch(0, 5).images
    assert np.array_equal((images * 255).round().byte().permute(0, 2, 3, 1).numpy(), pixels)


def test_a_million_images_are_named_without_a_million_names(tmp_path):
    count = 1_000_000
    path = npz_of(tmp_path / "set.npz", {"arr_0.npy": [array_header((count, 1, 1, 3)), b"\0" * (3 * count)]})
    images = open_image_set(path)
    assert len(images) == count
    assert images.names[-1] == f"{count - 1:06d}"
    assert list(images.names[3:5]) == ["000003", "000004"]
    assert images.batch(count - 1, 5).names == ("999999",)


def test_members_are_counted_however_an_archive_says_it(tmp_path):
    """A directory of many members is refused before an object is made of each, also in the zip64 form."""
    most = replace(COMMAND_LINE, archive_members=100)
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(101):
            archive.writestr(f"{index}.txt", b"")
    with pytest.raises(ImageError, match="at least 101 members"):
        checked_archive(path, most)
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    count, length, offset = struct.unpack("<HII", data[end + 10 : end + 20])
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    small = b"PK\x05\x06\0\0\0\0" + struct.pack("<HHII", 1, 1, 46, 0) + b"\0\0"
    path.write_bytes(data[:end] + large + locator + small)
    assert len(zipfile.ZipFile(path).infolist()) == 101
    with pytest.raises(ImageError, match="at least 101 members"):
        checked_archive(path, most)
    assert len(checked_archive(path).infolist()) == 101


def test_a_jpeg_of_endless_scans_is_refused():
    """Each scan is work for all pixels, and costs a few bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    assert read_image(data).pixels.shape == (3, 64, 64)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="more than 100 scans"):
        read_image(data[:-2] + scan * 200 + data[-2:])


def test_messages_are_short_and_printable_whatever_a_file_is_called(tmp_path):
    name = "x" * 40_000 + "\x1b[2J\u202e.png"
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"no image")
    images = open_image_set(path, 8)
    with pytest.raises(ImageError) as refused:
        images.batch(0, 1)
    assert len(str(refused.value)) < 800
    assert str(refused.value).isprintable()
    with pytest.raises(ImageError, match=r"My Own Photo.PNG: is not an image"):
        read_image(b"no image at all", name="My Own Photo.PNG")


def test_limits_hold_for_one_image():
    picture = black_png(600, 500)
    exact = replace(UPLOAD, image_pixels=300_000)
    assert read_image(picture, size=8, limits=exact).pixels.shape == (3, 8, 8)
    with pytest.raises(ImageError, match="600×500 pixels"):
        read_image(picture, size=8, limits=replace(exact, image_pixels=299_999))


@pytest.mark.parametrize("size", [(3_000_000, 8), (8, 3_000_000)])
def test_an_image_is_not_as_long_as_its_pixels_would_let_it_be(size):
    """What resizes it has as many numbers as its longer side times the one wanted: these took 30 GB."""
    with pytest.raises(ImageError, match=r"3,000,000.* longer than the 65,535 that a side may have"):
        read_image(black_png(*size), limits=UPLOAD)


def test_the_longest_images_are_shrunk_in_little_memory():
    """And come out as they did when the whole matrix was made at once."""
    script = """
import resource, torch
from bigroc_core.images import fit_to, resizing, shrunk_to
from bigroc_core.limits import MAX_IMAGE_SIDE
image = torch.rand(3, 8, MAX_IMAGE_SIDE, generator=torch.Generator().manual_seed(0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
long = shrunk_to(image, 512).pixels
tall = fit_to(image.mT, (512, 1)).pixels
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
resizing.MATRIX_NUMBERS = 2**40
assert torch.equal(long, shrunk_to(image, 512).pixels)
assert torch.equal(tall, fit_to(image.mT, (512, 1)).pixels)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700


def test_images_of_one_request_are_added_up_before_any_is_decoded(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        path.write_bytes(black_png(100, 50))
    check_together(paths, replace(UPLOAD, pixels=15_000))
    with pytest.raises(ImageError, match=r"the 3 images have .* pixels together"):
        check_together(paths, replace(UPLOAD, pixels=14_999))
    paths[0].write_bytes(b"no image")  # is said when it is read
    check_together(paths, replace(UPLOAD, pixels=10_000))
