"""What a visitor sees when something cannot be done: one sentence, no traceback, and the server goes on.

Whatever comes from outside may stand in such a sentence: a name in a link, the bytes of a file. All of them are made by
`readable`; what a browser takes for HTML, by `toast`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import ValidationError
from starlette.responses import PlainTextResponse, Response

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.files import NotWritten
from bigroc_core.messages import printable, short

# Of a longer text the beginning, which names what is wrong, and the end, which says what to do.
MAX_CHARACTERS = 500
# In place of the words of a fault of the program's own, which are for its log: a path of the server may stand in them.
UNFORESEEN = "something went wrong on the server; please report it"
# What the system says of a full disk, and of one that cannot be written to.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


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
    named = named or re.search(r"[^\W\d]\.\w", beginning) is not None
    if word.isascii() and word.isalpha() and (len(word) > 1 or word == "a") and not named:
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?")) else ".")


def toast(text: str) -> str:
    """A text for a message that comes up on the page, which Gradio shows as HTML."""
    return escape(readable(text), quote=False)


def refusal(error: Exception | str) -> gr.Error:
    """An error's sentence as a message on the page, to raise; without a traceback in the server's log."""
    return gr.Error(toast(sentence(error)), print_exception=False, duration=12)


def refused_note(error: Exception | str) -> str:
    """An error's sentence as the note beside an upload, as HTML, which stays until there is another file."""
    return f'<ul class="note"><li class="warn">{escape(sentence(error))}</li></ul>'


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
    """Turn a ValueError of the engine, or a file that could not be written, into a message on the page, without its
    "ValueError:" or a traceback."""
    try:
        yield
    except ValueError as error:
        raise refusal(error) from None
    except OSError as error:
        if not no_room(error):
            raise
        raise refusal(said_of_room(error)) from None


def said_of_upload(look: Callable[[], str], classifier: str | None = None) -> str:
    """What `look` says of an upload as HTML, or why it cannot be used. classifier: the one that will see it, which has
    to be there."""
    with explained():
        if classifier is not None and classifier not in classifier_cards():
            raise ValueError(f"there is no classifier {short(classifier)} here")
        try:
            return look()
        except ValueError as error:
            return refused_note(error)


def no_room(error: Exception) -> bool:
    """Whether it says that the server's disk is full or cannot be written to."""
    return isinstance(error, NotWritten) or (isinstance(error, OSError) and error.errno in NO_ROOM)


def said_of_room(error: OSError, name: str = "a file") -> str:
    """What a visitor is told of it; the server's host finds it, with the whole path, in the log."""
    logging.getLogger(__name__).error("no room for the page's files: %s", error)
    if isinstance(error, NotWritten):
        name, why = error.path.name, error.why
    else:
        name, why = Path(os.fsdecode(error.filename or name)).name, error.strerror or "no reason given"
    return f"{name!r} could not be written on the server ({why}): ask for it again once its host has made room"


async def upload_without_room(_request: Any, error: Exception) -> PlainTextResponse:
    """The answer to an upload, which Gradio takes itself, where it could not be written; the page shows it."""
    if not isinstance(error, OSError) or not no_room(error):
        raise error
    return PlainTextResponse(said_of_room(error, "the upload"), 507)


async def upload_broken_off(_request: Any, _error: Exception) -> Response:
    """What ends an upload whose visitor left midway, for nobody: not a fault that the server's log has to tell of."""
    return Response(status_code=499)


def refuse_plainly(page: gr.Blocks) -> None:
    """Say in a sentence what Gradio itself finds wrong with what a program sends, such as a file that was not uploaded,
    and leave no traceback in the server's log; and of a fault of the program's own that it is one, with a traceback
    there."""
    own, carried_out = page.preprocess_data, page.call_function

    async def preprocess_data(*given: Any, **named: Any) -> list[Any]:
        try:
            return await own(*given, **named)
        except ValidationError:
            raise refusal("a file must be uploaded first, and be given as the answer to its upload has it") from None
        except gr.Error:
            raise
        except Exception as error:
            if isinstance(error, OSError) and no_room(error):
                raise refusal(said_of_room(error)) from None
            raise refusal(f"this was not understood: {error}") from None

    async def call_function(*given: Any, **named: Any) -> Any:
        try:
            return await carried_out(*given, **named)
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error(sentence(UNFORESEEN), duration=12) from error

    page.preprocess_data = preprocess_data  # type: ignore[method-assign]
    page.call_function = call_function  # type: ignore[method-assign]
    written = page.postprocess_data

    async def postprocess_data(*given: Any, **named: Any) -> list[Any]:
        with explained():
            return await written(*given, **named)

    page.postprocess_data = postprocess_data  # type: ignore[method-assign]
