"""How a training batch is split over processes."""

from __future__ import annotations


def share_of_batch(batch_size: int, processes: int) -> int:
    """Images of each batch that every process takes; ValueError where they cannot take equally many."""
    if batch_size % processes:
        raise ValueError(f"a batch of {batch_size} cannot be split over {processes} processes; choose a multiple")
    return batch_size // processes
