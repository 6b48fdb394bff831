"""Running an experiment for a visitor: previews while it grows, cancelling between two steps, the result at its end.

A run asks between two steps whether its visitor wants it to stop, and then ends by itself: what a cancelled run shows
last is its own last word, and cancelling it from outside would race with its previews.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Event
from typing import Any, TypeVar

import gradio as gr

# A preview this often: seldom enough not to slow the run, often enough to watch it and to cancel it.
PREVIEW_SECONDS = 0.9

Standing = TypeVar("Standing")


class Stops:
    """Which visitors, by session, have a run, and want it stopped."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}

    def accept(self, session: str | None) -> None:
        """A run was asked for; it may wait in the queue, and be cancelled there."""
        self._events[session or ""] = Event()

    def begin(self, session: str | None) -> Event:
        """The run begins; the event is set once it shall stop."""
        return self._events.setdefault(session or "", Event())

    def end(self, session: str | None) -> None:
        """The run has ended."""
        self._events.pop(session or "", None)

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
    due, standing = 0.0, None
    try:
        with closing(growing):  # type: ignore[type-var]
            for standing in growing:
                if stop.is_set():
                    break
                if time.monotonic() >= due and (shown := preview(standing)) is not None:
                    yield shown
                    # Counted from the end of the drawing, so that many images do not starve the run.
                    due = time.monotonic() + seconds
        assert standing is not None
        yield results(standing)
    finally:
        stops.end(visitor.session_hash)


def canceller(stops: Stops, doc: str) -> Callable[[gr.Request], None]:
    """A handler that stops the visitor's run. doc: what the API says of it."""

    def cancel(request: gr.Request) -> None:
        if not stops.stop(request.session_hash):
            gr.Info("Nothing is running.")

    cancel.__doc__ = doc
    return cancel
