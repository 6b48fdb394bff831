"""Text that comes from outside, made fit for one line of a message."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 2


def in_words(name: str) -> str:
    """A class's name as people read it, "cassette player" of `cassette_player`; files, links and programs keep the name
    itself."""
    return name.replace("_", " ").strip() or name


def counted(number: int, name: str) -> str:
    """So many of something, "1 image" or "2 images"."""
    return f"{number:,} {name}{'s' * (number != 1)}"


def printable(text: str, most: int = 120) -> str:
    """The text with everything that cannot be shown escaped, and its middle left out beyond `most` characters.

    Bytes of a file name that are not UTF-8 become `\\xe9`; line breaks, control characters, lone surrogates and marks
    that turn the direction of writing become `\\n`, `\\x00`, `\\ud800`, `\\u202e`. Capitals stay as they are.
    """
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 :]}"
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    # Where a name is not UTF-8, Python keeps the byte b as the surrogate U+DC00 + b.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def short(value: Any) -> str:
    """A value of any kind as a message quotes it: printable, and never long."""
    try:
        shown = str(value) if isinstance(value, np.generic) else _SHORT.repr(value)  # numpy's own names its types
    except ValueError:  # Python writes out no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
