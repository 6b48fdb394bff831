"""Image sizes that networks growing by doublings from 4×4 pixels can have."""

from __future__ import annotations

from bigroc_core.messages import short

SIDES = (32, 64, 128)
NAMED = "32, 64 or 128"


def doublings(side: int, start: int = 4) -> int:
    """How many doublings lead from `start` pixels to `side`; ValueError for a side that is none of SIDES."""
    if side not in SIDES:
        raise ValueError(f"the side of its images must be {NAMED}, not {short(side)}")
    return (side // start).bit_length() - 1
