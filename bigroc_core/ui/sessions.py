"""What Gradio does and keeps for each visitor, made small: under load it took more than the boosting."""

from __future__ import annotations

import copy
import ctypes
import math
import threading
import time
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import routes, state_holder
from gradio.state_holder import SessionState, StateHolder

GONE = "This result is no longer kept here: run it again"
# Sessions that have been given up, of which it is remembered what they had.
MOST_GIVEN_UP = 10_000


class LightSession(SessionState):
    """A visitor's state without a description of every control of the page, about 1 MiB that only deep links read.

    Gradio gives a state up that is old, or a whole session where there are too many, and from then on would take what
    the page opened with for what the visitor has in front of him. Here it is an error, which says so.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]
        self.given_up: frozenset[int] = frozenset()

    @property
    def had(self) -> frozenset[int]:
        """Which states of those that are kept for a time alone, by their components, have been set for this visitor,
        whether they are kept still or not."""
        return self.given_up | {key for key, (seconds, _) in self._state_ttl.items() if seconds < math.inf}

    def __getitem__(self, key: int) -> Any:
        if key in self.had and key not in self.state_data:
            raise gr.Error(GONE, print_exception=False)
        return super().__getitem__(key)


class Sessions(StateHolder):
    """The visitors' sessions: of those that are given up it stays known which states they had."""

    def __init__(self) -> None:
        super().__init__()
        self._given_up: OrderedDict[str, frozenset[int]] = OrderedDict()

    def __getitem__(self, session_id: str) -> SessionState:
        before = None if session_id in self.session_data else self._given_up.pop(session_id, None)
        session = super().__getitem__(session_id)
        if before is not None and isinstance(session, LightSession):
            session.given_up = before
        return session

    def update(self, session_id: str) -> None:
        """Note that a session is used now; the one that was not for longest is given up where there are too many."""
        oldest = next(iter(self.session_data.items()), None)
        super().update(session_id)
        if oldest is None or oldest[0] in self.session_data or not isinstance(oldest[1], LightSession):
            return
        if had := oldest[1].had:
            self._given_up[oldest[0]] = had
            if len(self._given_up) > MOST_GIVEN_UP:
                self._given_up.popitem(last=False)


def keep_sessions_light(page: gr.Blocks) -> None:
    """Make sessions without descriptions, which know what they no longer hold, and no new component for each output
    that is left as it is."""
    state_holder.SessionState = LightSession  # type: ignore[misc]
    routes.StateHolder = Sessions  # type: ignore[misc]
    own = page.postprocess_data

    async def postprocess_data(block_fn: Any, predictions: Any, state: SessionState | None) -> list[Any]:
        # Several outputs, some of them gr.skip(): Gradio sees only the others, unless that leaves it one or none, whose
        # value it takes in another way.
        values = list(predictions) if isinstance(predictions, list | tuple) else []
        kept = [number for number, value in enumerate(values) if not _skipped(value)]
        if len(values) != len(block_fn.outputs) or len(kept) == len(values) or not kept:
            return await own(block_fn, predictions, state)
        fewer = copy.copy(block_fn)
        fewer.outputs = [block_fn.outputs[number] for number in kept]
        wanted = [values[number] for number in kept]
        made = await own(fewer, wanted[0] if len(wanted) == 1 else wanted, state)
        told: list[Any] = [gr.skip() for _ in values]
        for number, one in zip(kept, made, strict=True):
            told[number] = one
        return told

    page.postprocess_data = postprocess_data  # type: ignore[method-assign]


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()


def give_back_memory() -> bool:
    """Give the system back what the C library keeps of memory that is free; whether there was any (Linux's glibc).

    Of runs that have ended it keeps tens of megabytes, in pieces below what is still in use.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    except (OSError, AttributeError):
        return False


def give_back_memory_regularly(seconds: float = 15.0) -> None:
    """Do so from now on, in the background; each time takes about ten milliseconds, without the interpreter's lock."""

    def give_back() -> None:
        while True:
            time.sleep(seconds)
            give_back_memory()

    threading.Thread(target=give_back, name="give back memory", daemon=True).start()
