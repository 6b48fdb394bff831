"""What a visitor sees when something cannot be done: one sentence, no traceback, and the server goes on.

Whatever comes from outside may stand in such a sentence: a name in a link, the bytes of a file. All of them are made by
`readable`; what a browser takes for HTML, by `toast`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr
from pydantic import ValidationError

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.messages import printable

# Of a longer text the beginning, which names what is wrong, and the end, which says what to do.
MAX_CHARACTERS = 500


def readable(text: str) -> str:
    """A text of any length and any characters as one short line of printable ones."""
    # Shortened before it is split, which would take long over megabytes of blanks.
    if len(text) > 2 * MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]} … {text[-MAX_CHARACTERS:]}"
    return printable(" ".join(text.split()), MAX_CHARACTERS)


def sentence(error: Exception | str) -> str:
    """An error's text as a sentence, for where the page shows plain text."""
    text = readable(str(error))
    beginning, word = text.partition(": ")[0], text.partition(" ")[0]
    # A file's own name, a model's, a setting's, a symbol's: none of them is a word that begins a sentence.
    named = word.strip("',:") in classifier_cards() or word.strip("',:") in generator_cards()
    if word.isascii() and word.isalpha() and (len(word) > 1 or word == "a") and "." not in beginning and not named:
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")


def toast(text: str) -> str:
    """A text for a message that comes up on the page, which Gradio shows as HTML."""
    return escape(readable(text), quote=False)


def refusal(error: Exception | str) -> gr.Error:
    """An error's sentence as a message on the page, to raise; without a traceback in the server's log."""
    return gr.Error(toast(sentence(error)), print_exception=False, duration=12)


def warn(text: str) -> None:
    """Say on the page that something was not done as asked for."""
    gr.Warning(toast(text))


def inform(text: str) -> None:
    """Say something on the page."""
    gr.Info(toast(text))


def validations(names: Iterable[str], problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a validator returns: what is wrong with each control, as plain text, or that nothing is. problems: by
    control."""
    return [gr.validate(name not in problems, sentence(problems[name]) if name in problems else "") for name in names]


@contextmanager
def explained() -> Iterator[None]:
    """Turn a ValueError of the engine into a message on the page, without its "ValueError:" or a traceback."""
    try:
        yield
    except ValueError as error:
        raise refusal(error) from None


def refuse_plainly(page: gr.Blocks) -> None:
    """Say in a sentence what Gradio itself finds wrong with what a program sends, such as a file that was not uploaded,
    and leave no traceback in the server's log."""
    own = page.preprocess_data

    async def preprocess_data(*given: Any, **named: Any) -> list[Any]:
        try:
            return await own(*given, **named)
        except ValidationError:
            raise refusal("a file must be uploaded first, and be given as the answer to its upload has it") from None
        except gr.Error:
            raise
        except Exception as error:
            raise refusal(f"this was not understood: {error}") from None

    page.preprocess_data = preprocess_data  # type: ignore[method-assign]
