"""Images moved as far as boosting moves them, in another direction."""

from __future__ import annotations

import torch
from torch import Tensor

from bigroc_core.attack import l2_norms


def moved_by(images: Tensor, directions: Tensor, lengths: Tensor) -> Tensor:
    """Images moved along `directions` (N, 3, H, W) so that ‖δ‖₂ per image is `lengths` (N,) after the clamp to [0, 1].

    Where the box does not let them go so far, as far as it lets them; a zero direction does not move.
    """
    directions = directions.to(images.device)
    x, norms = images.double(), l2_norms(directions).double()
    unit = directions.double() / norms.clamp_min(1e-12).view(-1, 1, 1, 1)
    wanted = lengths.double().to(x.device)

    def at(scales: Tensor) -> Tensor:
        return (x + scales.view(-1, 1, 1, 1) * unit).clamp(0, 1)

    # ‖δ‖ grows with the scale, never beyond it: bisect between the length itself and where the box is surely filled.
    low, high = wanted.clone(), wanted * 1024
    for _ in range(48):
        middle = (low + high) / 2
        short = l2_norms(at(middle) - x) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return at(high).to(images.dtype)
