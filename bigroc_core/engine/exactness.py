"""Full float32 precision and repeatable kernels on CUDA while boosting computes.

PyTorch lets cuDNN round convolutions to TF32 (10 bits of mantissa) and choose kernels by timing them; either breaks
what boosting promises: agreement with the textbook loop to 1e-5, and the same bits from the same run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_holders = 0
_before: tuple[str, str, bool, bool] | None = None


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """On CUDA: IEEE float32 and deterministic cuDNN inside, the caller's settings again outside; elsewhere nothing.

    The settings belong to the whole process, so overlapping holders in several threads share them: the first to enter
    remembers what was set, and the last to leave restores it.
    """
    if device.type != "cuda":
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _holders, _before
    cudnn: Any = torch.backends.cudnn  # a module whose settings type checkers do not see
    convolution, matmul = cudnn.conv, torch.backends.cuda.matmul
    with _lock:
        if _holders == 0:
            _before = (convolution.fp32_precision, matmul.fp32_precision, cudnn.deterministic, cudnn.benchmark)
            convolution.fp32_precision = matmul.fp32_precision = "ieee"
            cudnn.deterministic, cudnn.benchmark = True, False
        _holders += 1


def _leave() -> None:
    global _holders, _before
    cudnn: Any = torch.backends.cudnn
    convolution, matmul = cudnn.conv, torch.backends.cuda.matmul
    with _lock:
        _holders -= 1
        if _holders == 0 and _before is not None:
            convolution.fp32_precision, matmul.fp32_precision, cudnn.deterministic, cudnn.benchmark = _before
            _before = None
