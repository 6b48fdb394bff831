"""What Gradio does and keeps for each visitor, made small: under load it took more than the boosting."""

from __future__ import annotations

import copy
import ctypes
import threading
import time
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import state_holder
from gradio.state_holder import SessionState


class LightSession(SessionState):
    """A visitor's state without a description of every control of the page, about 1 MiB that only deep links read."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))  # type: ignore[arg-type]


def keep_sessions_light(page: gr.Blocks) -> None:
    """Make sessions without descriptions, and no new component for each output that is left as it is."""
    state_holder.SessionState = LightSession  # type: ignore[misc]
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
