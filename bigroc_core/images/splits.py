"""Labelled images in memory, and a data set's three disjoint splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """Images with labels (N,) int64, read by rows as float32 (n, 3, H, W) in [0, 1], at 8-bit levels."""

    @property
    def labels(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def floats(self, index: Tensor | slice) -> Tensor: ...


@dataclass(frozen=True)
class LabelledImages:
    """images: (N, 3, H, W) uint8; labels: (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self, index: Tensor | slice) -> Tensor:
        """The chosen images as float32 in [0, 1]."""
        return self.images[index].float() / 255

    def subset(self, index: Tensor | slice) -> LabelledImages:
        """The chosen images and labels."""
        return LabelledImages(self.images[index], self.labels[index])


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set in three disjoint parts, with what its models' cards say of it.

    train: for training; its images may be larger than `size`, for random crops. validation: held out of the training
    images, for every choice. test: reported only. size: (height, width) of validation and test images, in pixels.
    mean, std: per-channel preprocessing in [0, 1] units. description: the data and how they were divided, in a line.
    notes: what was guessed about them.
    """

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    description: str
    notes: tuple[str, ...] = ()

    def reference(self, name: str) -> Tensor:
        """Images (N, 3, H, W) uint8 to compare with: "train" is all training images, the validation ones among them,
        as P1 has it; "validation" or "test".

        Raises ValueError if training images are larger than the others, for crops.
        """
        if name != "train":
            return (self.validation if name == "validation" else self.test).images
        if self.train.images.shape[2:] != self.validation.images.shape[2:]:
            raise ValueError(f"{self.name} was read larger than {self.size}, for crops; read it at its size to compare")
        return torch.cat([self.train.images, self.validation.images])

    def fingerprint(self) -> str:
        """A digest of the training images and their labels, by which a resumed run knows its data again."""
        digest = hashlib.sha256(repr((tuple(self.train.images.shape), self.classes)).encode())
        digest.update(self.train.images.numpy().data)
        digest.update(self.train.labels.numpy().data)
        return digest.hexdigest()[:16]
