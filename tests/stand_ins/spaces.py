"""As much of Hugging Face's `spaces` as a ZeroGPU Space shows: what is lent, for how long, and what gets through.

As there, arguments and what is yielded are pickled, and of an error that is not Gradio's only the name comes through.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

MARKED: list[str] = []
LENT: list[tuple[str, int]] = []
YIELDED: list[int] = []


def GPU(*, duration: Callable[..., int]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator, for a generator and a duration that its arguments tell."""

    def mark(task: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{task.__module__.rpartition('.')[2]}.{task.__name__}"
        MARKED.append(name)

        def lent(*args: Any, **named: Any) -> Iterator[Any]:
            LENT.append((name, duration(*args, **named)))
            args, named = pickle.loads(pickle.dumps((args, named)))
            growing = task(*args, **named)
            while True:
                try:
                    one = pickle.dumps(next(growing))
                except StopIteration:
                    return
                except Exception as error:
                    raise RuntimeError(f"ZeroGPU worker error: {type(error).__name__}") from None
                YIELDED.append(len(one))
                yield pickle.loads(one)

        return lent

    return mark
