"""Text as programs on all systems write it."""

from __future__ import annotations

import codecs

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 that says so by its first two bytes.

    Bytes that are no UTF-8 become surrogates, as Python has them in file names, so that names in the file still equal
    those on disk. Raises UnicodeDecodeError for broken UTF-16.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "strict" if encoding == "utf-16" else "surrogateescape")
    return data.decode("utf-8", "surrogateescape")
