"""Recipes in strangers' PNG, PDF and SVG files: read, or refused by one line, at once and in bounded memory.

BIGROC_FUZZ_MUTANTS=10000 python -m pytest tests/robustness/test_recipes_fuzz.py runs as many mutants of each format.
"""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigroc_core.figures.cost import check_cost, image_steps
from bigroc_core.figures.recipe import Recipe, check_models, from_json, recipe_in
from bigroc_core.limits import MAX_RECIPE_CHARACTERS

MUTANTS = int(os.environ.get("BIGROC_FUZZ_MUTANTS", "300"))
MOST_SECONDS = 2.0  # of computing, as the machine may be busy with other things
# A share of the mutants must be recipes of the right outer shape, else nothing behind the first check is tested.
LEAST_PAST = 0.2
END = {"generator": "cifar10-cgan", "seed": 0, "number": 1, "class": None}
CONFIG = {"eps": 0.5, "steps": 2}
SOURCE = {"generator": "cifar10-cgan", "seed": 1, "start": 0, "count": 4, "classes": ["cat"] * 4}
RECIPES = (
    Recipe(
        "fig6",
        {
            "pairs": [[{"image": "a"}, END]],
            "classifiers": ["cifar10-robust"],
            "c": [0.5],
            "steps": 2,
            "weights": [1.0],
            "warm_start": False,
        },
        {"a": np.zeros((1, 6, 5, 3), np.uint8)},
    ),
    Recipe(
        "fig3",
        {
            "source": SOURCE,
            "columns": 2,
            "classifier": "cifar10-robust",
            "config": CONFIG,
            "debias": {"shift": [0.5, 1.0]},
        },
    ),
    Recipe("fig2", {"start": END, "robust": "cifar10-robust", "standard": "cifar10-standard", "config": CONFIG}),
    Recipe(
        "fig5",
        {
            "sets": [{"source": {"images": "b", "classes": None}, "config": CONFIG, "debias": {"count": 5, "seed": 1}}],
            "classifier": "cifar10-robust",
        },
        {"b": np.ones((3, 4, 4, 3), np.uint8)},
    ),
)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *others: bytes) -> bytes:
    """A black picture, with other chunks before its pixels."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + 3 * width)
    body = b"".join([rows.compress(row * 64) for _ in range(height // 64)] + [rows.compress(row * (height % 64))])
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", body + rows.flush())
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + pixels + png_chunk(b"IEND", b"")


def in_png(text: str, rng: random.Random) -> bytes:
    said = text.encode("latin-1", "replace")
    kinds = {
        b"tEXt": b"bigroc\0" + said,
        b"zTXt": b"bigroc\0\0" + zlib.compress(said),
        b"iTXt": b"bigroc\0\1\0en\0x\0" + zlib.compress(said),
    }
    kind = rng.choice(list(kinds))
    return png(3, 2, png_chunk(kind, kinds[kind]))


def in_pdf(text: str, rng: random.Random) -> bytes:
    for character in "\\()":
        text = text.replace(character, "\\" + character)
    return b"%PDF-1.4\n<< /Subject (" + text.encode("latin-1", "replace") + b") >>\n"


def in_svg(text: str, rng: random.Random) -> bytes:
    for character, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, name)
    return f"<svg><dc:description>{text}</dc:description></svg>".encode("utf-8", "surrogatepass")


FORMATS: dict[str, Callable[[str, random.Random], bytes]] = {"png": in_png, "pdf": in_pdf, "svg": in_svg}


def hostile_value(rng: random.Random) -> Any:
    deep: Any = 1
    for _ in range(rng.choice((3, 200, 900))):
        deep = [deep] if rng.random() < 0.5 else {"a": deep}
    values = (
        None,
        True,
        -1,
        0,
        3.0,
        2**53,
        2**53 + 1,
        2**63,
        10**400,
        -(10**400),
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "\0",
        "\ud800",
        "😀" * 200,
        "a" * 5_000,
        "../../etc/passwd",
        "/dev/zero",
        "cifar10-judge",
        "<img src=x>",
        [],
        {},
        [[]],
        ["cat"] * 1_000,
        [0.5] * 2_000,
        {"image": "a"},
        {"images": "a", "classes": ["\ud800"]},
        {"": 1},
        {"\ud800": 1},
        {"count": 400, "png": ""},
        base64.b64encode(png(9, 400)).decode(),
        deep,
    )
    return rng.choice(values)


def changed(value: Any, rng: random.Random) -> Any:
    """The value with something in it, at any depth, replaced, renamed, left out or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.randrange(8)
        rest = {name: one for name, one in value.items() if name != key}
        if kind == 0:
            return rest
        if kind == 1:
            return rest | {rng.choice(("", "\ud800", "x" * 300, "__class__", key.upper())): value[key]}
        return value | {key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value * rng.choice((0, 2, 500))
        return [*value[:place], changed(value[place], rng), *value[place + 1 :]]
    return hostile_value(rng)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to three changes: a byte, a word, a part cut or doubled."""
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 8, 64, len(data)))
        kind = rng.randrange(4)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            word = rng.choice((b"[" * 3_000, b"{", b'"', b"\\", b")", b"(", b"&", b"<", b"\0", b"9" * 6_000, b"1e999"))
            data = data[:at] + word + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + length :]
        else:
            data = data[:at] + data[at : at + length] * 2 + data[at:]
    return data


def mutant(format: str, number: int) -> bytes:
    rng = random.Random(f"{format} {number}")
    found = json.loads(rng.choice(RECIPES).to_json())
    if number % 3:
        for _ in range(rng.randint(1, 2)):
            found = changed(found, rng)
    data = FORMATS[format](json.dumps(found, ensure_ascii=rng.random() < 0.7), rng)
    return data if number % 3 else damaged(data, rng)


def use(path: Path) -> Recipe:
    """What command and page do with a file before they compute."""
    recipe = recipe_in(path)
    recipe.to_json()
    check_cost(recipe)
    check_models(recipe)
    return recipe


@pytest.mark.timeout(max(300, MUTANTS))
@pytest.mark.parametrize("format", FORMATS)
def test_a_mutated_file_is_read_or_refused_by_one_line(format: str, tmp_path: Path) -> None:
    path, past = tmp_path / f"figure.{format}", 0
    for number in range(MUTANTS):
        path.write_bytes(mutant(format, number))
        began = time.process_time()
        try:
            use(path)
            past += 1
        except ValueError as error:
            said = str(error)
            assert said.isprintable(), f"{format} {number}: {said!r}"
            assert len(said) < 600, f"{format} {number}: {said}"
            past += any(word in said for word in ("settings", "recipe.", "embedded", "weights"))
        except BaseException as error:
            raise AssertionError(f"{format} mutant {number}: {type(error).__name__}: {error}") from error
        assert time.process_time() - began < MOST_SECONDS, f"{format} mutant {number}"
    assert past >= LEAST_PAST * MUTANTS


def recipe_with(images: dict[str, Any]) -> str:
    return json.dumps(json.loads(RECIPES[0].to_json()) | {"images": images})


def many_images(_: Path) -> bytes:
    """16 times 200 images, more than two gigabytes in all."""
    held = {"count": 200, "png": base64.b64encode(png(512, 102_400)).decode()}
    return in_svg(recipe_with({f"i{k}": held for k in range(16)}), random.Random(0))


def packed_bomb(_: Path) -> bytes:
    pack = zlib.compressobj(9)
    packed = b"".join(pack.compress(b"[" * 10**6) for _ in range(100)) + pack.flush()
    return png(3, 2, png_chunk(b"zTXt", b"bigroc\0\0" + packed))


HOSTILE: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "svg-of-open-tags": ("a.svg", lambda _: b"<svg>" + b"<dc:description>" * 25_000, "carries no recipe"),
    "svg-of-one-tag": ("a.svg", lambda _: b"<svg><dc:description>" + b"&" * 60_000_000, "carries no recipe"),
    "pdf-of-one-string": ("a.pdf", lambda _: b"%PDF/Subject ({" + b"a" * 60_000_000, "carries no recipe"),
    "pdf-of-escapes": ("a.pdf", lambda _: b"%PDF/Subject ({" + b"\\)" * 15_000_000, "carries no recipe"),
    "pdf-of-backslashes": ("a.pdf", lambda _: b"%PDF/Subject ({" + b"\\" * 30_000_001 + b")", "carries no recipe"),
    "pdf-of-subjects": ("a.pdf", lambda _: b"%PDF" + b"/Subject ({" * 5_000_000, "carries no recipe"),
    "png-of-chunks": ("a.png", lambda _: b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"") * 4_000_000, "parts"),
    "png-of-gigabytes": ("a.png", lambda _: b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXtbigroc\0", "longer than"),
    "packed-bomb": ("a.png", packed_bomb, "unpacks to more"),
    "gigabytes-of-images": ("a.svg", many_images, "at most 400 images, not 3,200"),
    "brackets": ("a.svg", lambda _: in_svg("[]," * 5_000_000, random.Random(0)), "entries"),
    "images-of-chunks": (
        "a.svg",
        lambda _: in_svg(
            recipe_with(
                {"a": {"count": 1, "png": base64.b64encode(png(4, 4, png_chunk(b"tEXt", b"a\0b") * 600_000)).decode()}}
            ),
            random.Random(0),
        ),
        "parts",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_small_files_that_ask_for_much_are_refused_at_once(name: str, tmp_path: Path) -> None:
    file, make, said = HOSTILE[name]
    path = tmp_path / file
    path.write_bytes(make(tmp_path))
    tracemalloc.start()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        with pytest.raises(ValueError, match=said) as refused:
            use(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < MOST_SECONDS
    assert most < 400 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700 * 2**10
    assert len(str(refused.value)) < 300


def test_what_a_recipe_computes_is_known_before_it_is_computed() -> None:
    settings = RECIPES[1].settings
    large = {"source": SOURCE | {"count": 400, "classes": None}, "debias": {"count": 100, "seed": 7}}
    recipe = Recipe("fig3", settings | large | {"config": {"eps": 1.0, "steps": 200}})
    assert image_steps(recipe) == 2 * 400 * 200 + 400 + 100
    with pytest.raises(ValueError, match="160,500 gradients") as refused:
        check_cost(recipe)
    assert "may compute 50,000" in str(refused.value)
    check_cost(Recipe("fig3", settings | large | {"config": {"eps": 1.0, "steps": 60}}))


def test_a_recipe_too_long_for_a_file_is_refused_before_it_is_computed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 512, 512, 3), dtype=np.uint8)
    recipe = Recipe(RECIPES[3].figure, RECIPES[3].settings, {"b": pixels})
    with pytest.raises(ValueError, match=f"at most {MAX_RECIPE_CHARACTERS:,}"):
        recipe.to_json()
    assert from_json(RECIPES[3].to_json()).figure == "fig5"
