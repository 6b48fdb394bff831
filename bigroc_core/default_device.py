"""torch's default device, which a caller may have set to a GPU, is none of ours: what is read and drawn here is made on
the CPU, and brought from there to where it is wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def on_cpu(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with the CPU as torch's default device while it runs."""

    @functools.wraps(function)
    def called(*values: P.args, **named: P.kwargs) -> R:
        if torch.get_default_device().type == "cpu":  # torch's own way costs a little in every call of it
            return function(*values, **named)
        with torch.device("cpu"):
            return function(*values, **named)

    return called
