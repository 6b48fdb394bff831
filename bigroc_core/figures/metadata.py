"""The text that a figure's file carries: a PNG's text "bigroc", a PDF's subject, an SVG's description.

The files are strangers'. Each is searched once, from front to back, in spans of bounded length and by no regular
expression, so that what is not ours is refused in milliseconds.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import unescape

from bigroc_core.limits import MAX_FIGURE_BYTES, MAX_RECIPE_CHARACTERS

# The formats of a figure's file, by its ending.
FORMATS = ("png", "pdf", "svg")
KEYWORD = "bigroc"
PNG = b"\x89PNG\r\n\x1a\n"
# A figure's pixels fill a few hundred chunks; other programs' files have some thousands.
MAX_CHUNKS = 20_000
# Of a recipe few characters are escaped.
MAX_ESCAPED = 2 * MAX_RECIPE_CHARACTERS


def text_in(file: str | os.PathLike[str]) -> str:
    """The text that a file of ours carries. ValueError, one line, for any other file."""
    path = Path(file)
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > MAX_FIGURE_BYTES:
                raise ValueError(f"it is larger than {MAX_FIGURE_BYTES >> 20} MiB")
            start = stream.read(len(PNG))
            if start == PNG:
                text = _in_png(stream)
            elif start.startswith(b"%PDF"):
                text = _in_pdf(stream.read(MAX_FIGURE_BYTES))
            else:
                text = _in_svg(start + stream.read(MAX_FIGURE_BYTES))
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror or error}") from None
    if text is None:
        raise ValueError("it carries no recipe, and is not a PNG, PDF or SVG written by this project")
    return text


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each of a PNG's chunks, where the stream stands after its signature; what a chunk holds may
    be read from the stream. ValueError for more chunks than a picture has."""
    for _ in range(MAX_CHUNKS):
        start = stream.read(8)
        if len(start) < 8:
            return
        length, kind = struct.unpack(">I4s", start)
        place = stream.tell()
        yield kind, length
        stream.seek(place + length + 4)
    raise ValueError(f"the PNG has more than {MAX_CHUNKS:,} parts")


def _in_png(stream: BinaryIO) -> str | None:
    key = KEYWORD.encode() + b"\0"
    for kind, length in chunks(stream):
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length < len(key) or stream.read(len(key)) != key:
            continue
        if length > MAX_RECIPE_CHARACTERS + 1024:
            raise ValueError(f"its recipe is longer than {MAX_RECIPE_CHARACTERS:,} characters")
        held = stream.read(length - len(key))
        if kind == b"tEXt":
            return held.decode("latin-1")
        if kind == b"zTXt":
            return _unpacked(held[1:]).decode("latin-1")
        # Two bytes say whether and how it is packed; then come a language and a translated keyword.
        packed, rest = held[:1] == b"\1", held[2:].split(b"\0", 2)[-1]
        return (_unpacked(rest) if packed else rest).decode("utf-8", "replace")
    return None


def _unpacked(packed: bytes) -> bytes:
    try:
        text = zlib.decompressobj().decompress(packed, MAX_RECIPE_CHARACTERS + 1)
    except zlib.error:
        raise ValueError("its recipe is damaged") from None
    if len(text) > MAX_RECIPE_CHARACTERS:
        raise ValueError(f"its recipe unpacks to more than {MAX_RECIPE_CHARACTERS:,} characters")
    return text


def _in_pdf(data: bytes) -> str | None:
    """A string in parentheses, where backslashes stand before parentheses and backslashes; ours is of ASCII."""
    opening = b"/Subject ("
    start = data.find(opening + b"{")
    if start < 0:
        return None
    start += len(opening)
    span = data[start : start + MAX_ESCAPED]
    # Pairs first, from the left, as they are read; what stands for them is in no text of ours.
    pairs = ((b"\\\\", b"\0"), (b"\\(", b"\1"), (b"\\)", b"\2"))
    for pair, mark in pairs:
        span = span.replace(pair, mark)
    text, end, _ = span.partition(b")")
    if not end or b"(" in text:
        return None
    for pair, mark in pairs:
        text = text.replace(mark, pair[1:])
    return text.decode("latin-1")


def _in_svg(data: bytes) -> str | None:
    opening, closing = b"<dc:description>", b"</dc:description>"
    start = data.find(opening)
    if start < 0:
        return None
    start += len(opening)
    end = data.find(closing, start, start + MAX_ESCAPED)
    if end < 0:
        return None
    return unescape(data[start:end].decode("utf-8", "replace"), {"&quot;": '"', "&apos;": "'"})
