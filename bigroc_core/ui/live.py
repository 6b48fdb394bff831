"""Running an experiment for a visitor: previews while it grows, cancelling between two steps, the result at its end.

A run asks between two steps whether its visitor wants it to stop, and then ends by itself: what a cancelled run shows
last is its own last word, and cancelling it from outside would race with its previews.
"""

from __future__ import annotations

import asyncio
import contextvars
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
Shown = TypeVar("Shown")
# Set while the first step of a run that has waited for its turn is computed: what stops it.
_STOP: contextvars.ContextVar[Event | None] = contextvars.ContextVar("stop", default=None)
NOT_BEGUN = "Cancelled before it began"


class NotBegun(gr.Error):
    """A run was cancelled before it began: an end of which the status line says all, and that no result follows."""

    def __init__(self) -> None:
        super().__init__(NOT_BEGUN, visible=False, print_exception=False)


class Stops:
    """Which visitors, by session, have a run, and want it stopped."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}
        self._accepted: dict[str, Event] = {}
        self._runs: Counter[str] = Counter()

    def accept(self, session: str | None) -> None:
        """A run was asked for; it may wait for its turn, and be cancelled there, with others that are under way."""
        self._accepted[session or ""] = self._event(session or "")

    def begin(self, session: str | None) -> Event:
        """The run begins, or waits; the event is set once it shall stop, as it may have been since it was accepted."""
        key = session or ""
        self._runs[key] += 1
        return self._accepted.pop(key, None) or self._event(key)

    def refuse(self, session: str | None) -> None:
        """What was accepted last will not begin: there is no place in the line."""
        self._accepted.pop(session or "", None)
        if not self._runs[session or ""]:
            del self._runs[session or ""]
            self._events.pop(session or "", None)

    def _event(self, key: str) -> Event:
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
        events = [known[session or ""] for known in (self._events, self._accepted) if (session or "") in known]
        for event in events:
            event.set()
        return bool(events)


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
    waited = _STOP.get()  # of the run that has waited for its turn, which may have been cancelled by now
    stop = waited or stops.begin(visitor.session_hash)
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
        if waited is None:
            stops.end(visitor.session_hash)


def in_turn(
    handler: Callable[..., Iterator[tuple[Any, ...]]],
    stops: Stops,
    shape: tuple[int, int],
    line_of: Callable[[Mapping[str, Any]], Line],
    fails: bool = False,
) -> Callable[..., AsyncIterator[tuple[Any, ...]]]:
    """A run's handler as one that waits for its turn, saying its place in the status line, and then computes.

    Where it ends with an error, the status line says so too, and not that it still computes. shape: how many outputs
    there are, and which of them is the status line. line_of: where a request waits, by its values' names. fails:
    whether one that is cancelled before it begins ends as NotBegun, so that what follows a run does not follow it.
    """
    count, place = shape
    signature = inspect.signature(handler)

    def status(text: str, state: str = "running", begun: bool = False) -> tuple[Any, ...]:
        said = pictures.progress(0, 1, escape(text), state, begun)
        return tuple(said if number == place else gr.skip() for number in range(count))

    @functools.wraps(handler)
    async def waiting(*values: Any, **named: Any) -> AsyncIterator[tuple[Any, ...]]:
        given = signature.bind_partial(*values, **named).arguments
        visitor = visitor_of(tuple(given.values()))
        line = line_of(given)
        with explained():
            try:
                turn = line.join(visitor)
            except ValueError:
                stops.refuse(visitor[1])
                raise
        stop = stops.begin(visitor[1])
        told, begun, growing, said = False, False, None, ""
        try:
            pause = FIRST_WAIT
            while not await turn.came_within(pause):
                if not still_there():
                    return
                if stop.is_set():
                    break
                pause, before, (ahead, seconds) = WAIT_SECONDS, said, line.place(turn)
                said = f"Waiting; {ahead} before it, {in_words(seconds)}"
                if said != before:
                    yield status(said)
                    told = True
            # It may have been cancelled, and its turn have come, between two looks.
            if stop.is_set():
                yield status(NOT_BEGUN, "stopped")
                if fails:
                    raise NotBegun
                return
            growing = handler(*values, **named)
            shown = await turn.run(_first, growing, stop)
            while shown is not None:
                yield shown
                begun = True
                shown = await turn.run(next, growing, None)
        except NotBegun:
            raise
        except Exception as error:
            if told or begun:
                why = str(error.message) if isinstance(error, gr.Error) else UNFORESEEN
                yield status(f"Stopped: {unescape(why)}", "stopped", begun)
            raise
        finally:
            if growing is not None:
                # Behind the step that computes at this moment, if this was cancelled meanwhile.
                await asyncio.shield(turn.run(growing.close))  # type: ignore[attr-defined]
            stops.end(visitor[1])
            line.leave(turn)

    return waiting


def _first(growing: Iterator[Shown], stop: Event) -> Shown | None:
    """The first that a run shows. stop: what stops it, which it takes over."""
    _STOP.set(stop)  # of this step's context alone
    return next(growing, None)


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
