"""Changes to the bytes of a file, by a seeded generator, as damage and malice make them."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

# Numbers at which sizes, counts and offsets go wrong.
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
# Text at which tables and JSON go wrong.
WORDS = (
    b'"',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r\n",
    b"\0",
    b"[" * 2_000,
    b"{" * 100,
    b"9" * 5_000,
    b"1e999",
    b"NaN",
    b"null",
    b"-1",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"..",
    b"/",
    b"\\",
    "😀".encode() * 200,
    b"true",
    b"0.5",
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes: bits, bytes, extreme numbers, words, parts cut, doubled or exchanged."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _change(changed, rng)
    return bytes(changed)


def _change(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 4, 8, 16, 64))
    kind = rng.randrange(8)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = rng.randrange(256)
    elif kind == 2:
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice(EXTREMES) & (2 ** (8 * width) - 1)
        data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
    elif kind == 3:
        data[at:at] = rng.choice(WORDS)
    elif kind == 4:
        del data[at : at + length]
    elif kind == 5:
        data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
    elif kind == 6:
        other = rng.randrange(len(data) + 1)
        data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    elif rng.random() < 0.3:
        del data[at:]


def png_with_right_checksums(data: bytes) -> bytes:
    """A PNG's chunks with the checksums that they ought to have, as far as its chunks can be followed."""
    repaired, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        body = data[at + 4 : at + 8 + length]
        repaired += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(repaired)


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def zip_with_a_mutated_member(data: bytes, rng: random.Random) -> bytes:
    """A whole zip of which one member's content, or its name, is changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if rng.random() < 0.2:
        other = mutated(name.encode(), rng).decode("latin-1").replace("\0", "")[:2_000]
        members[other or "_"] = members.pop(name)
    else:
        members[name] = mutated(members[name], rng)
    return zip_of(members, rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)))


# Values at which readers of JSON go wrong: other types, sizes, depths, and text that is no text.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    0.5,
    1e300,
    10**18,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "..",
    "/etc",
    "\0",
    "\ud800",
    "😀" * 200,
    "a" * 20_000,
    [],
    {},
    [[]],
    [0] * 3,
    [1.0, 1.0],
    ["a"],
    {"a": None},
    "__nested__",
)


def json_with_a_mutated_value(data: bytes, rng: random.Random) -> bytes:
    """Whole JSON of which one value, key or entry is another, left out, doubled, or nested deeply."""
    content = json.loads(data)
    value = rng.choice(VALUES)
    nested = value == "__nested__"
    parent, key = rng.choice(_places(content))
    kind = rng.randrange(4)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif kind == 1:
        parent[str(value)[:300]] = parent.pop(key)
    else:
        parent[key] = value
    text = json.dumps(content)
    depth = rng.choice((10, 1_000, 100_000))
    return (text.replace('"__nested__"', "[" * depth + "]" * depth) if nested else text).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]
