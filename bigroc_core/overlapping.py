"""Batches in three threads: the next is read and the last is written while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
Given = TypeVar("Given")
Made = TypeVar("Made")


def overlapped(
    batches: Sequence[Batch],
    read: Callable[[Batch], Given],
    compute: Callable[[Given], Made],
    write: Callable[[Batch, Made], None],
) -> None:
    """Read, compute and write each batch; each of the three takes batches in order, one at a time.

    Computing stays in the caller's thread. What one of them raises ends the run, once what is being read or written at
    that moment is done: nothing of a later batch is written. Three batches are in memory at once.
    """
    written: Future[None] | None = None
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
        coming = [reading.submit(read, batch) for batch in batches[:1]]
        for place, batch in enumerate(batches):
            given = coming.pop().result()
            coming += [reading.submit(read, batch) for batch in batches[place + 1 : place + 2]]
            made = compute(given)
            if written is not None:
                written.result()
            written = writing.submit(write, batch, made)
        if written is not None:
            written.result()
