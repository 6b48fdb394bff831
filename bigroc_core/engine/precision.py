"""How numbers are computed: exactly by default, or in what the hardware is fastest in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, get_args

import torch

from bigroc_core.engine.exactness import exact_arithmetic, fast_arithmetic
from bigroc_core.messages import short

PrecisionName = Literal["exact", "fast"]
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)


def fastest_precision() -> str:
    """ "bf16" where the hardware multiplies in it, else "fp32".

    Where it only emulates bfloat16, as CPUs with AVX2 alone do, one step takes many times as long as in float32.
    """
    return "bf16" if computes_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu")) else "fp32"


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bfloat16, rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch has no public question for this.
    answers = (getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(answers)


def check_precision(precision: object) -> None:
    """ValueError unless it is "exact" or "fast"."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {short(precision)}")


def is_fast(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether "fast" differs from "exact" there, for images of this type: where bfloat16 is computed natively."""
    return dtype == torch.float32 and computes_bf16(device)


@contextmanager
def private_modes(device: torch.device, fast: bool = False) -> Iterator[None]:
    """No trace of the caller's no_grad, inference_mode or autocast; never held while a generator waits.

    Exact arithmetic inside, or with `fast` what is quickest outside `reduced` too.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.no_grad())
        if torch.amp.is_autocast_available(device.type):
            modes.enter_context(torch.autocast(device.type, enabled=False))
        modes.enter_context(fast_arithmetic(device) if fast else exact_arithmetic(device))
        yield


@contextmanager
def reduced(device: torch.device) -> Iterator[None]:
    """Convolutions and matrix products in bfloat16."""
    with torch.autocast(device.type, dtype=torch.bfloat16):
        yield
