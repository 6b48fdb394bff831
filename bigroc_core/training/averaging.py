"""Running average of weights (and BatchNorm statistics), which is what gets evaluated and shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def running_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential running average whose decay rises as (1 + n) / (10 + n) up to `decay`.

    The rise forgets the random start, which a short run would otherwise still carry at its end.
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        warm = (1 + int(count)) / (10 + int(count))
        get_ema_multi_avg_fn(min(decay, warm))(averaged, current, count)

    average: Callable[..., None] = torch.no_grad()(update)
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
