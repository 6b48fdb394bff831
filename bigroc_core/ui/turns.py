"""Whose turn it is to compute: a few runs at a time, the visitors in turn, however many requests one of them sends.

A run keeps a thread of its own from its first step to its last. Small ones compute on one core each, so many at a time
as there are cores; large ones on all cores, one at a time. Which of the two a request is follows from the request
alone, so its result is the same, bit for bit, whatever else the server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
import torch

from bigroc_core.limits import MAX_QUEUE_LENGTH, MAX_WAITING_OF_A_VISITOR

T = TypeVar("T")
# When whom was last served: a host, or a session of a host.
Last = dict[str | tuple[str, str], int]
USUAL_SECONDS = 2.0  # of a run, before any has ended
MOST_VISITORS = 10_000  # whose last turn is remembered
MOST_LANES = 4


@dataclass(eq=False)
class Turn:
    """A place in the line, or on a lane. visitor: (host, session)."""

    visitor: tuple[str, str]
    number: int
    came: asyncio.Event
    loop: asyncio.AbstractEventLoop
    lane: ThreadPoolExecutor | None = None
    began: float = 0.0

    async def came_within(self, seconds: float) -> bool:
        """Wait for the turn, so long at most; whether it has come."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.came.wait(), seconds)
        return self.came.is_set()

    async def run(self, step: Callable[..., T], *arguments: Any) -> T:
        """One step of the run, in its thread."""
        assert self.lane is not None
        return await self.loop.run_in_executor(self.lane, contextvars.copy_context().run, step, *arguments)


class Line:
    """Requests that wait for one of `lanes` threads, of which each computes on `cores` cores.

    Next is whoever's last turn lies back longest: first by host, then by session, then by arrival. So a host, and a
    session among those of a host, that sends one request is not held up by another's many.
    """

    def __init__(
        self, lanes: int, cores: int, most: int = MAX_QUEUE_LENGTH, most_each: int = MAX_WAITING_OF_A_VISITOR
    ) -> None:
        self.lanes, self.cores, self._most, self._most_each = lanes, cores, most, most_each
        self._free = [ThreadPoolExecutor(1, f"compute-{lane}", self._begin) for lane in range(lanes)]
        self._waiting: list[Turn] = []
        self._last: Last = {}
        self._numbers = itertools.count(1)
        self._seconds = USUAL_SECONDS
        self._lock = threading.Lock()

    def _begin(self) -> None:
        # Of this thread, and of those that begin to compute later: whence the main thread's own number again.
        everywhere = torch.get_num_threads()
        torch.set_num_threads(self.cores)
        reset = threading.Thread(target=torch.set_num_threads, args=(everywhere,))
        reset.start()
        reset.join()

    def join(self, visitor: tuple[str, str]) -> Turn:
        """A place in the line. Raises ValueError, saying how long the wait is, where it is full."""
        with self._lock:
            own = sum(turn.visitor == visitor for turn in self._waiting)
            if own >= self._most_each:
                raise ValueError(f"{own} of your requests are waiting already; wait for one of them, or cancel it")
            if len(self._waiting) >= self._most:
                raise ValueError(
                    f"{len(self._waiting)} requests are waiting already, which will take "
                    f"{in_words(self._wait(len(self._waiting)))}; please come back then"
                )
            turn = Turn(visitor, next(self._numbers), asyncio.Event(), asyncio.get_running_loop())
            self._waiting.append(turn)
            self._serve()
            return turn

    @property
    def at_work(self) -> int:
        """How many compute or wait to."""
        return self.lanes - len(self._free) + len(self._waiting)

    def leave(self, turn: Turn) -> None:
        """Give up the place, or the lane once the run has ended."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.lane is not None:
                self._free.append(turn.lane)
                self._seconds += 0.1 * (turn.loop.time() - turn.began - self._seconds)
                turn.lane = None
            self._serve()

    def place(self, turn: Turn) -> tuple[int, float]:
        """How many are served before it, as things stand, and in how many seconds about it begins."""
        with self._lock:
            ahead = list(self._in_order()).index(turn) if turn in self._waiting else 0
            return ahead, self._wait(ahead + 1)

    def _wait(self, ahead: int) -> float:
        return ahead * self._seconds / self.lanes

    def _serve(self) -> None:
        while self._free and self._waiting:
            turn = _next(self._waiting, self._last)
            self._waiting.remove(turn)
            turn.lane, turn.began = self._free.pop(), turn.loop.time()
            _note(turn, self._last, next(self._numbers))
            while len(self._last) > MOST_VISITORS:
                del self._last[next(iter(self._last))]
            turn.loop.call_soon_threadsafe(turn.came.set)

    def _in_order(self) -> Iterator[Turn]:
        """Those that wait, in the order in which they will be served if nobody comes or leaves."""
        last, waiting = dict(self._last), list(self._waiting)
        for number in itertools.count(2**62):
            if not waiting:
                return
            turn = _next(waiting, last)
            waiting.remove(turn)
            _note(turn, last, number)
            yield turn


def _next(waiting: Sequence[Turn], last: Last) -> Turn:
    return min(waiting, key=lambda one: (last.get(one.visitor[0], 0), last.get(one.visitor, 0), one.number))


def _note(turn: Turn, last: Last, number: int) -> None:
    for who in (turn.visitor[0], turn.visitor):
        last.pop(who, None)  # so that the oldest stand first
        last[who] = number


def in_words(seconds: float) -> str:
    """A wait, rounded: about 20 s, about 3 min."""
    if seconds < 10:
        return "a few seconds"
    return f"about {round(seconds, -1):.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def visitor_of(values: tuple[Any, ...]) -> tuple[str, str]:
    """Whose request it is, by the gr.Request among a handler's values: host and session."""
    request = next((value for value in values if isinstance(value, gr.Request)), None)
    client = getattr(request, "client", None)
    return str(getattr(client, "host", "")), str(getattr(request, "session_hash", None) or "")


CORES = max(1, torch.get_num_threads())
LARGE = Line(1, CORES)
SMALL = LARGE if torch.cuda.is_available() else Line(min(CORES, MOST_LANES), 1)
