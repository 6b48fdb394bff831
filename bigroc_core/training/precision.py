"""The precision that a machine trains fastest in."""

from __future__ import annotations

import torch


def fastest_precision() -> str:
    """ "bf16" where the hardware multiplies in it, else "fp32".

    Where it only emulates bfloat16, as CPUs with AVX2 alone do, one step takes many times as long as in float32.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public question for this.
    answers = (getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return "bf16" if any(answers) else "fp32"
