"""Running an experiment for a visitor: previews while it grows, cancelling between two steps, the result at its end.

A run asks between two steps whether its visitor wants it to stop, and then ends by itself: what a cancelled run shows
last is its own last word, and cancelling it from outside would race with its previews.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from html import escape, unescape
from threading import Event
from typing import Any, TypeVar

import gradio as gr
from gradio.context import LocalContext

from bigroc_core.ui import pictures
from bigroc_core.ui.errors import UNFORESEEN, explained, inform
from bigroc_core.ui.turns import Line, in_words, visitor_of

# A preview this often: seldom enough not to slow the run, often enough to watch it and to cancel it.
PREVIEW_SECONDS = 0.9
# A run that is over sooner shows its results and no previews.
FIRST_PREVIEW = 0.25
# How long a place in the line is not worth saying, and how often it is said from then on.
FIRST_WAIT, WAIT_SECONDS = 0.3, 2.0

Standing = TypeVar("Standing")


class Stops:
    """Which visitors, by session, have a run, and want it stopped."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}
        self._runs: Counter[str] = Counter()

    def accept(self, session: str | None) -> None:
        """A run was asked for; it may wait for its turn, and be cancelled there."""
        self._events[session or ""] = Event()

    def begin(self, session: str | None) -> Event:
        """The run begins, or waits; the event is set once it shall stop."""
        key = session or ""
        self._runs[key] += 1
        if key not in self._events or self._events[key].is_set():  # that of an earlier one, which is still ending
            self._events[key] = Event()
        return self._events[key]

    def end(self, session: str | None) -> None:
        """The run has ended."""
        key = session or ""
        self._runs[key] -= 1
        if self._runs[key] <= 0:
            del self._runs[key]
            self._events.pop(key, None)

    def stop(self, session: str | None) -> bool:
        """Ask the session's run to stop; False if it has none."""
        event = self._events.get(session or "")
        if event is not None:
            event.set()
        return event is not None


def live(
    growing: Iterator[Standing],
    stops: Stops,
    visitor: gr.Request,
    preview: Callable[[Standing], Any | None],
    results: Callable[[Standing], Any],
    seconds: float = PREVIEW_SECONDS,
) -> Iterator[Any]:
    """What a run shows: previews at most every `seconds`, then its results, finished or cancelled.

    growing: where the run stands, again and again. preview: what to show of it; None where there is nothing to show
    yet, or no more. results: what it shows at its end, of the standing at which it was finished or cancelled.
    """
    stop = stops.begin(visitor.session_hash)
    due, pause, standing = time.monotonic() + FIRST_PREVIEW, 0.0, None
    try:
        with closing(growing):  # type: ignore[type-var]
            for standing in growing:
                if stop.is_set():
                    break
                if time.monotonic() >= due and (shown := preview(standing)) is not None:
                    yield shown
                    # Counted from the end of the drawing, so that many images do not starve the run. The second one
                    # comes at once: it is the first that moves.
                    due, pause = time.monotonic() + pause, seconds
        assert standing is not None
        yield results(standing)
    finally:
        stops.end(visitor.session_hash)


def in_turn(
    handler: Callable[..., Iterator[tuple[Any, ...]]],
    stops: Stops,
    shape: tuple[int, int],
    line_of: Callable[[Mapping[str, Any]], Line],
) -> Callable[..., AsyncIterator[tuple[Any, ...]]]:
    """A run's handler as one that waits for its turn, saying its place in the status line, and then computes.

    Where it ends with an error, the status line says so too, and not that it still computes. shape: how many outputs
    there are, and which of them is the status line. line_of: where a request waits, by its values' names.
    """
    count, place = shape
    signature = inspect.signature(handler)

    def status(text: str, state: str = "running") -> tuple[Any, ...]:
        said = pictures.progress(0, 1, escape(text), state)
        return tuple(said if number == place else gr.skip() for number in range(count))

    @functools.wraps(handler)
    async def waiting(*values: Any, **named: Any) -> AsyncIterator[tuple[Any, ...]]:
        given = signature.bind_partial(*values, **named).arguments
        visitor = visitor_of(tuple(given.values()))
        line = line_of(given)
        with explained():
            turn = line.join(visitor)
        stop = stops.begin(visitor[1])
        told, growing, said = False, None, ""
        try:
            pause = FIRST_WAIT
            while not await turn.came_within(pause):
                if not still_there():
                    return
                if stop.is_set():
                    yield status("Cancelled before it began", "stopped")
                    return
                pause, before, (ahead, seconds) = WAIT_SECONDS, said, line.place(turn)
                said = f"Waiting; {ahead} before it, {in_words(seconds)}"
                if said != before:
                    yield status(said)
                    told = True
            growing = handler(*values, **named)
            while (shown := await turn.run(next, growing, None)) is not None:
                yield shown
                told = True
        except Exception as error:
            if told:
                why = str(error.message) if isinstance(error, gr.Error) else UNFORESEEN
                yield status(f"Stopped: {unescape(why)}", "stopped")
            raise
        finally:
            if growing is not None:
                # Behind the step that computes at this moment, if this was cancelled meanwhile.
                await asyncio.shield(turn.run(growing.close))  # type: ignore[attr-defined]
            stops.end(visitor[1])
            line.leave(turn)

    return waiting


def still_there() -> bool:
    """Whether whoever asked for this run still listens."""
    blocks, event = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = getattr(blocks, "_queue", None)
    known = getattr(queue, "event_ids_to_events", {}).get(event)
    return known is None or bool(known.alive)


def canceller(stops: Stops, doc: str) -> Callable[[gr.Request], None]:
    """A handler that stops the visitor's run. doc: what the API says of it."""

    def cancel(request: gr.Request) -> None:
        if not stops.stop(request.session_hash):
            inform("Nothing is running.")

    cancel.__doc__ = doc
    return cancel
