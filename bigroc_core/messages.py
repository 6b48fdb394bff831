"""Text that comes from outside, made fit for one line of a message."""

from __future__ import annotations


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
