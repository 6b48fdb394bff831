"""Full float32 precision and repeatable kernels on CUDA while boosting computes exactly; TF32 while it need not.

PyTorch lets cuDNN round convolutions to TF32 (10 bits of mantissa) and choose kernels by timing them; either breaks
what boosting promises: agreement with the textbook loop to 1e-5, and the same bits from the same run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Settings = tuple[str, str, bool, bool]  # precision of convolutions and of products, deterministic, benchmark

EXACT: Settings = ("ieee", "ieee", True, False)
FAST: Settings = ("tf32", "tf32", False, True)

_lock = threading.Lock()
_holders: dict[Settings, int] = {EXACT: 0, FAST: 0}
_before: Settings | None = None


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """On CUDA: IEEE float32 and deterministic cuDNN inside, the caller's settings again outside; elsewhere nothing.

    The settings belong to the whole process, so overlapping holders in several threads share them: the first to enter
    remembers what was set, and the last to leave restores it.
    """
    with _holding(EXACT, device):
        yield


@contextmanager
def fast_arithmetic(device: torch.device) -> Iterator[None]:
    """On CUDA: TF32 and the kernels that prove quickest, for as long as nobody computes exactly; elsewhere nothing."""
    with _holding(FAST, device):
        yield


@contextmanager
def _holding(settings: Settings, device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    _count(settings, 1)
    try:
        yield
    finally:
        _count(settings, -1)


def _count(settings: Settings, more: int) -> None:
    global _before
    with _lock:
        if _before is None:
            _before = _current()
        _holders[settings] += more
        if any(_holders.values()):
            _set(EXACT if _holders[EXACT] else FAST)
        else:
            _set(_before)
            _before = None


def _current() -> Settings:
    cudnn: Any = torch.backends.cudnn  # a module whose settings type checkers do not see
    return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.deterministic, cudnn.benchmark


def _set(settings: Settings) -> None:
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = settings[:2]
    cudnn.deterministic, cudnn.benchmark = settings[2:]
