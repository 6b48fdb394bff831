"""A generator with its card, sampled so that image i depends on (seed, i) alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bigroc_core.cards import Card
from bigroc_core.default_device import on_cpu
from bigroc_core.fingerprints import digest_of_weights
from bigroc_core.messages import short

BLOCK = 32
SEEDS = 2**63


def index_seed(seed: int, index: int) -> int:
    """The 32-bit seed of image `index`: distinct within a seed, far apart between seeds (splitmix64).

    torch's CPU generator keeps 32 bits of its seed, so plain hashing would collide within 50,000 images.
    """
    mixed = (seed + 0x9E3779B97F4A7C15) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return ((mixed ^ (mixed >> 31)) + index) & (2**32 - 1)


def latents(shape: tuple[int, ...], seed: int, indices: Sequence[int]) -> Tensor:
    """Standard normal latents (len(indices), *shape), each drawn on the CPU from its own generator."""
    drawn = torch.empty((len(indices), *shape))
    for row, index in enumerate(indices):
        generator = torch.Generator().manual_seed(index_seed(seed, index))
        torch.randn(shape, generator=generator, out=drawn[row])
    return drawn


class Sampler(Protocol):
    """Draws images (n, 3, H, W) in [0, 1] of indices of a seed, in blocks of `block` at fixed places."""

    block: int

    def __call__(self, seed: int, indices: range, labels: Tensor | None) -> Tensor: ...

    def fingerprint(self) -> str:
        """A digest of all that decides the images but seed, indices and labels."""
        ...


class LatentSampler:
    """Draws with a network: latents (N, latent) and labels (N,) or None -> images (N, 3, H, W) in [-1, 1]."""

    block = BLOCK

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        self.latent = int(network.latent)  # type: ignore[arg-type]

    def __call__(self, seed: int, indices: range, labels: Tensor | None) -> Tensor:
        """See Sampler. Always computes a whole block, so that an image meets the same arithmetic in any request."""
        inside = slice(indices.start % self.block, indices.start % self.block + len(indices))
        batch = torch.zeros((self.block, self.latent))
        batch[inside] = latents((self.latent,), seed, indices)
        block_labels = None
        if labels is not None:
            block_labels = torch.zeros(self.block, dtype=torch.int64)
            block_labels[inside] = labels
            block_labels = block_labels.to(self.device)
        drawn = self.network(batch.to(self.device), block_labels)[inside].float().cpu()
        return ((drawn + 1) / 2).clamp(0, 1)

    def fingerprint(self) -> str:
        """See Sampler."""
        return digest_of_weights([type(self.network).__name__], self.network)


class Generator:
    """A sampler and its card. notes: what was guessed when it was loaded."""

    def __init__(self, sampler: Sampler, card: Card, notes: tuple[str, ...] = ()) -> None:
        self.sampler = sampler
        self.card = card
        self.notes = notes

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of a conditional generator, else ()."""
        return self.card.classes if self.card.conditional else ()

    def _checked_labels(self, count: int, labels: Sequence[int] | Tensor | None, start: int) -> Tensor | None:
        if not self.card.conditional:
            if labels is not None:
                raise ValueError(f"{self.card.name} is unconditional: it takes no labels")
            return None
        classes = len(self.card.classes)
        if labels is None:
            return torch.arange(start, start + count) % classes
        try:
            given = torch.as_tensor(np.asarray(labels) if not isinstance(labels, Tensor) else labels).cpu()
        except (TypeError, ValueError) as error:
            raise ValueError(f"labels must be {count} class numbers, not {short(labels)}") from error
        if given.ndim != 1 or len(given) != count:
            raise ValueError(f"labels must be {count} class numbers, got shape {tuple(given.shape)}")
        if given.is_floating_point() or given.dtype == torch.bool:
            raise ValueError(f"labels must be integers, got {given.dtype}")
        if len(given) and (int(given.min()) < 0 or int(given.max()) >= classes):
            raise ValueError(
                f"labels must be 0 to {classes - 1} ({self.card.name} has {classes} classes), "
                f"got {int(given.min())} to {int(given.max())}"
            )
        return given.long()

    @on_cpu
    @torch.no_grad()
    def sample(
        self, count: int, labels: Sequence[int] | Tensor | None = None, seed: int = 0, start: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Images `start` to `start + count - 1` of a seed: ((N, 3, H, W) float32 in [0, 1], (N,) int64 or None).

        Image i depends on (seed, start + i) and its label alone: any split, order or restart gives the same bits.
        labels: class numbers, or None for class (start + i) mod C; None for an unconditional generator.
        Raises ValueError for a negative count, start or seed, and for labels that do not fit.
        """
        for name, value, least, bound in (
            ("count", count, 0, 2**31),
            ("start", start, 0, 2**31),
            ("seed", seed, 0, SEEDS),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value < bound:
                raise ValueError(f"{name} must be a whole number from {least} to {bound - 1}, got {short(value)}")
        checked = self._checked_labels(count, labels, start)
        height, width = self.card.input_size
        images = torch.empty((count, 3, height, width))
        block = self.sampler.block
        for position in range(start // block, -(-(start + count) // block) if count else 0):
            indices = range(max(start, position * block), min(start + count, (position + 1) * block))
            inside = slice(indices.start - start, indices.stop - start)
            drawn = self.sampler(seed, indices, None if checked is None else checked[inside])
            if drawn.shape[1:] != images.shape[1:]:
                raise ValueError(
                    f"{self.card.name} drew {'×'.join(map(str, drawn.shape[1:]))}, and its card says 3×{height}×{width}"
                )
            images[inside] = drawn
        return images, checked
