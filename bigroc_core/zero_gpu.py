"""A ZeroGPU Space lends a GPU for one call and for as long as that call says; anywhere else nothing here has an effect.

What is lent runs in a process of its own: its arguments and all that it yields are pickled, and of an error that is not
Gradio's own only the name comes back. Ours carry a sentence for the visitor, so they come back as values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

try:
    import spaces
except ImportError:  # only a ZeroGPU Space has it
    spaces = None

# Seconds to fork, to move the models over, and to load one of the host's own; and what is computed in a second: the
# gradients of 200 images of 224×224 through a ResNet-50, which that GPU is several times faster at.
START_SECONDS, PIXELS_PER_SECOND = 15, 200 * 224 * 224
# Visitors without an account have two minutes a day, and a call is refused that wants more than is left.
MAX_SECONDS = 100

P = ParamSpec("P")
Y = TypeVar("Y")


@dataclass(frozen=True)
class Refused:
    """What was raised where the GPU is."""

    error: Exception


def seconds_for(pixels: int) -> int:
    """How long a call may take. pixels: of all images whose gradients it computes, each counted once a step."""
    return min(MAX_SECONDS, START_SECONDS + math.ceil(pixels / PIXELS_PER_SECOND))


def on_gpu(work: Callable[P, int]) -> Callable[[Callable[P, Iterator[Y]]], Callable[P, Iterator[Y]]]:
    """Mark a handler that computes: on a ZeroGPU Space it borrows a GPU, elsewhere nothing changes.

    work: of the same arguments, how much is computed, as `seconds_for` counts it.
    """

    def mark(handler: Callable[P, Iterator[Y]]) -> Callable[P, Iterator[Y]]:
        if spaces is None:
            return handler

        @functools.wraps(handler)
        def lent(*args: P.args, **named: P.kwargs) -> Iterator[Y | Refused]:
            try:
                yield from handler(*args, **named)
            except (ValueError, MemoryError, OSError) as error:
                yield Refused(error)

        def seconds(*args: P.args, **named: P.kwargs) -> int:
            return seconds_for(work(*args, **named))

        borrowed: Any = spaces.GPU(duration=seconds)(lent)

        @functools.wraps(handler)
        def here(*args: P.args, **named: P.kwargs) -> Iterator[Y]:
            with closing(borrowed(*args, **named)) as growing:
                for standing in growing:
                    if isinstance(standing, Refused):
                        raise standing.error
                    yield standing

        return here

    return mark
