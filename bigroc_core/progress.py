"""A bar for whoever calls from Python: in a notebook a notebook's, in a terminal a terminal's."""

from __future__ import annotations


class Bar:
    """Shows how far a run is: called with what is done and of how much, it goes away at the end."""

    def __init__(self, total: int, doing: str = "") -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, desc=doing, bar_format="{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}")

    def __call__(self, done: int, total: int) -> None:
        """done: counted as `total` is."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
