"""What a visitor sees when something cannot be done: one sentence, no traceback, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr


@contextmanager
def explained() -> Iterator[None]:
    """Turn a ValueError of the engine into a message on the page, without its "ValueError:" or a traceback."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(sentence(error), print_exception=False, duration=12) from None


def sentence(error: Exception) -> str:
    """The error's text as a sentence. A name that it begins with, such as a file's, keeps its own capitals."""
    text = str(error).strip()
    first = text.split(maxsplit=1)[0] if text else ""
    begun = text[:1].upper() + text[1:] if first.isalpha() else text
    return begun + ("" if text.endswith((".", "!", "?")) else ".")
