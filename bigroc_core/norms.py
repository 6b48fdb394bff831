"""The norms whose balls images move in: what captions, controls and limits need to know of each. The balls themselves
are in `attack`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bigroc_core.limits import MAX_EPS_L2, MAX_EPS_LINF

NormName = Literal["l2", "linf"]


@dataclass(frozen=True)
class Norm:
    """What is said of a norm, and radii of its ball, on pixels in [0, 1].

    title: in captions. words: of the choice on the page. most: the largest ε of a request. slider, step: where ε's
    slider ends, and its step. usual: an ε to begin with. compared: values of ε that a comparison begins with.
    """

    title: str
    words: str
    most: float
    slider: float
    step: float
    usual: float
    compared: str


NORMS: dict[str, Norm] = {
    "l2": Norm(
        "L2",
        "L2: ‖δ‖₂ over the whole image",
        most=MAX_EPS_L2,
        slider=16.0,  # beyond, a ball around a 32-pixel image no longer holds the image itself
        step=0.05,
        usual=2.0,
        compared="0.5, 1, 2, 4",
    ),
    "linf": Norm(
        "L∞",
        "L∞: |δ| in every pixel",
        most=MAX_EPS_LINF,
        slider=0.5,
        step=0.001,
        usual=0.03,
        compared="0.01, 0.02, 0.04, 0.08",
    ),
}
