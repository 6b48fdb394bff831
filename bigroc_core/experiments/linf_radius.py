"""P1 Fig. 4: an L∞ ball of a size comparable to what an L2 run used."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def linf_eps_of(delta: Tensor, share: float = 0.7) -> float:
    """The quantile of |δ| over all pixels that P1 Fig. 4 takes as the radius of its L∞ ball (q₀.₇ there).

    delta: (N, 3, H, W), the float result of an L2 run minus its originals, before rounding to 8 bits, images in [0, 1].
    share: from 0 to 1. Linear interpolation between neighbouring values. Raises ValueError for a share outside, and for
    no pixels.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, not {share:g}")
    if not delta.numel():
        raise ValueError("delta holds no pixels")
    # NumPy's, since torch's takes at most 16 million values.
    return float(np.quantile(delta.detach().abs().cpu().double().numpy(), share))
