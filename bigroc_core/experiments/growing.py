"""What runs have in common that are looked at while they grow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from bigroc_core.classifiers.own import told_of_own
from bigroc_core.files import one_line_each


class Growing(Protocol):
    """A run: all that decides its result, notes for the reader, steps done of a total, whether it is finished."""

    settings: dict[str, Any]
    notes: tuple[str, ...]
    done: int
    seconds: float
    finished: bool

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        ...


R = TypeVar("R", bound=Growing)
T = TypeVar("T")


def described(growing: Iterator[R], settings: dict[str, Any], notes: Sequence[str], began: float) -> Iterator[R]:
    """The run, growing, with what it was asked for, notes, and the seconds since `began` (`time.perf_counter()`).

    settings: before those that the run finds out itself.
    """
    for run in growing:
        run.settings = settings | run.settings
        run.notes, run.seconds = tuple(notes), time.perf_counter() - began
        yield run


def last(growing: Iterator[T]) -> T:
    """What is yielded last: the run once it has ended."""
    *_, run = growing
    return run


def settings_json(run: Growing) -> str:
    """The settings as JSON, one line per entry."""
    stopped = {} if run.finished else {"cancelled_after_step": run.done}
    return one_line_each(run.settings | stopped | told_of_own(run.settings))


def digits(value: float) -> str:
    """A number for a command line, as short as it can be written without changing it."""
    return short if float(short := f"{value:g}") == value else repr(value)
