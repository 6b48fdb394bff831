"""Cancelling: a run asks, between two steps, whether its visitor wants it to stop, and then ends by itself.

So what a cancelled run shows last is its own last word; cancelling it from outside would race with its previews.
"""

from __future__ import annotations

from threading import Event


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
