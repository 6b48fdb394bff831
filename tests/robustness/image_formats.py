"""The files that readers of images meet: how to make a small valid one of each kind, and how to read it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Format
from mutating import (
    json_with_a_mutated_value,
    mutated,
    png_with_right_checksums,
    zip_of,
    zip_with_a_mutated_member,
)
from PIL import Image

from bigroc_core.images import open_image_set, read_image
from bigroc_core.images.classes import parse_mapping
from bigroc_core.limits import UPLOAD

SIDE = 12
CLASSES = ("cat", "dog", "Great Dane")


def _pixels(rng: random.Random, *shape: int) -> np.ndarray:
    return np.frombuffer(rng.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)


def _encoded(kind: str, rng: random.Random, **options: Any) -> bytes:
    image = Image.fromarray(_pixels(rng, SIDE, SIDE, 3))
    if kind == "TIFF":
        image = rng.choice((image, Image.fromarray(_pixels(rng, SIDE, SIDE).astype(np.float32) / 255)))
        options["compression"] = rng.choice((None, "tiff_lzw", "tiff_adobe_deflate"))
    if kind == "JPEG":
        options["progressive"] = rng.random() < 0.5
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _npz(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    save = rng.choice((np.savez, np.savez_compressed))
    save(stream, _pixels(rng, 3, SIDE, SIDE, 3), np.array([0, 1, 2]))
    return stream.getvalue()


def _zip(rng: random.Random) -> bytes:
    names = rng.choice((("cat/1.png", "dog/2.png"), ("1.png", "2.png"), ("00000/0.png", "00001/1.png")))
    return zip_of({name: _encoded("PNG", rng) for name in names} | {"labels.txt": b"x"})


def _mutated_png(data: bytes, rng: random.Random) -> bytes:
    return png_with_right_checksums(mutated(data, rng))


def _labels_csv(rng: random.Random) -> bytes:
    separator = rng.choice(",;\t")
    lines = [("0.png", "cat"), ("1.png", "dog"), ("2.png", "Great Dane")]
    if rng.random() < 0.7:
        lines.insert(0, ("file", "label"))
    text = "\r\n".join(separator.join(line) for line in lines) + "\r\n"
    return text.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16")))


def _dataset_json(rng: random.Random) -> bytes:
    labels: list[Any] = [rng.randrange(3) for _ in range(3)]
    if rng.random() < 0.5:
        labels = [[float(label == number) for number in range(3)] for label in labels]
    return json.dumps({"labels": [[f"{index}.png", label] for index, label in enumerate(labels)]}).encode()


def _read_image(path: Path) -> object:
    return read_image(path, size=16, limits=UPLOAD)


def _read_set(path: Path) -> object:
    found = open_image_set(path, 16, CLASSES, limits=UPLOAD)
    found.groups(10_000)
    found.digest()
    return found.batch(0, 8)


def _read_beside_images(path: Path) -> object:
    folder = path.parent
    for index in range(3):
        if not (folder / f"{index}.png").exists():
            (folder / f"{index}.png").write_bytes(_encoded("PNG", random.Random(index)))
    try:
        return _read_set(folder)
    finally:
        path.unlink()


NO_IMAGE = "is not an image, or its beginning|is a .* image that cannot be read"
NO_ZIP = "not a whole zip archive"
IMAGE_FORMATS = {
    "png": Format("a.png", lambda rng: _encoded("PNG", rng), _read_image, NO_IMAGE, _mutated_png),
    "jpeg": Format("a.jpg", lambda rng: _encoded("JPEG", rng), _read_image, NO_IMAGE),
    "webp": Format("a.webp", lambda rng: _encoded("WEBP", rng), _read_image, NO_IMAGE),
    "gif": Format("a.gif", lambda rng: _encoded("GIF", rng), _read_image, NO_IMAGE),
    "tiff": Format("a.tif", lambda rng: _encoded("TIFF", rng), _read_image, NO_IMAGE),
    "bmp": Format("a.bmp", lambda rng: _encoded("BMP", rng), _read_image, NO_IMAGE),
    "ppm": Format("a.ppm", lambda rng: _encoded("PPM", rng), _read_image, NO_IMAGE),
    "jpeg2000": Format("a.jp2", lambda rng: _encoded("JPEG2000", rng), _read_image, NO_IMAGE),
    "avif": Format("a.avif", lambda rng: _encoded("AVIF", rng, speed=10), _read_image, NO_IMAGE),
    "npz": Format("a.npz", _npz, _read_set, NO_ZIP, zip_with_a_mutated_member),
    "zip": Format("a.zip", _zip, _read_set, NO_ZIP, zip_with_a_mutated_member),
    "labels.csv": Format("set/labels.csv", _labels_csv, _read_beside_images, "no lines"),
    "dataset.json": Format(
        "set/dataset.json", _dataset_json, _read_beside_images, "is no JSON", json_with_a_mutated_value
    ),
    "class mapping": Format(
        "map.txt", lambda _: b"cat=dog\n# a\nx = 1\n", lambda path: parse_mapping(f"@{path}"), "file"
    ),
}
