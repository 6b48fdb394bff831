"""What an image of a generator costs, counted while its network computes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bigroc_core.generators.sampling import Generator


@dataclass(frozen=True)
class SamplingCost:
    """parameters: of the network. macs: multiply-adds per image. evaluations: of the network per image."""

    parameters: int
    macs: float
    evaluations: int


def sampling_cost(generator: Generator) -> SamplingCost:
    """Count what one image costs, by drawing it; convolutions, products of matrices and attention count.

    Raises ValueError for a generator whose sampler has no `network`.
    """
    network = getattr(generator.sampler, "network", None)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{generator.card.name} is not drawn by a network that can be counted")
    batches: list[int] = []

    def count(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        # A sampler may draw more images at once than it is asked for.
        batches.append(len(next(value for value in inputs if isinstance(value, Tensor))))

    hook = network.register_forward_pre_hook(count)
    try:
        with FlopCounterMode(display=False) as counter:
            generator.sample(1)
    finally:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return SamplingCost(parameters, counter.get_total_flops() / 2 / max(batches), len(batches))
