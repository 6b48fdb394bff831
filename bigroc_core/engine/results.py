"""What a run gives: the boosted images and what became of each, at the end and on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigroc_core.attack import Point, l2_norms
from bigroc_core.images.sheet import Sheet, show

NAMED = 8  # images that a note names one by one


@dataclass(frozen=True)
class BoostResult:
    """Boosted images and what became of each, on the device of the images given; N images, C classes."""

    images: Tensor  # (N, 3, H, W) in [0, 1], the dtype given
    labels: Tensor  # (N,) int64: the targets, given or estimated
    l2: Tensor  # (N,): ‖boosted - original‖₂
    linf: Tensor  # (N,): the largest |boosted - original|
    logits_before: Tensor  # (N, C)
    logits_after: Tensor  # (N, C)
    steps_taken: Tensor  # (N,) int64: fewer than the config's where the image came to rest
    notes: tuple[str, ...] = ()  # what a reader of the result should know, a sentence each

    def show(self, originals: Tensor | None = None, columns: int = 8) -> Sheet:
        """The images side by side, for a notebook; under the `originals`, as they were given, if these are too."""
        return (
            show(self.images, columns=columns) if originals is None else show(originals, self.images, columns=columns)
        )

    def _repr_png_(self) -> bytes:
        return self.show().png


@dataclass(frozen=True)
class Snapshot:
    """All images after `step` steps, on the device of the images given. The receiver may keep its tensors."""

    step: int
    images: Tensor  # (N, 3, H, W)
    logits: Tensor  # (N, C), of these very images
    resting: Tensor  # (N,) bool: this image has stopped early
    labels: Tensor  # (N,) int64: the targets
    notes: tuple[str, ...] = ()  # what has to be said so far, as in the result

    def _repr_png_(self) -> bytes:
        return show(self.images).png


class Standing:
    """Where all images of a batch stand, updated in place."""

    def __init__(self, images: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.step = 0
        self.images = images
        self.labels = labels
        self.logits_before = logits
        self.logits = logits.clone()
        self.resting = torch.zeros_like(labels, dtype=torch.bool)
        self.steps_taken = torch.zeros_like(labels)
        self.lost = torch.zeros_like(self.resting)  # its gradient was not finite, and it stays where that was
        self.flat = torch.zeros_like(self.resting)  # its gradient was zero from the start

    def update(self, step: int, point: Point) -> None:
        """Take over where the images that still moved have come to."""
        self.step = step
        self.images.index_copy_(0, point.rows, point.images)
        # A walk may keep images that rest in its batch: those take no step more, and are read no more.
        logits = self.logits.index_copy(0, point.rows, point.logits)
        self.logits = torch.where(self.resting[:, None], self.logits, logits)
        taken = self.steps_taken.index_fill(0, point.rows, step)
        self.steps_taken = torch.where(self.resting, self.steps_taken, taken)
        self.resting.index_copy_(0, point.rows, point.resting)

    def note(self, point: Point, lost: Tensor, flat: Tensor) -> None:
        """Take down which of the images that go on, (n,) bool, have no gradient to go along."""
        moving = ~point.resting
        self.lost.index_copy_(0, point.rows, self.lost[point.rows] | (lost & moving))
        if self.step == 0:
            self.flat.index_copy_(0, point.rows, flat & moving)

    def moved_to(self, device: torch.device) -> Standing:
        """The same, with every tensor on that device."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self


def result_of(originals: Tensor, batches: Sequence[Standing], notes: tuple[str, ...]) -> BoostResult:
    """The batches together. originals: (N, 3, H, W), as given."""
    images, labels, before, after, steps_taken = (
        torch.cat([getattr(batch, field) for batch in batches])
        for field in ("images", "labels", "logits_before", "logits", "steps_taken")
    )
    moved = images - originals.detach()
    return BoostResult(
        images=images,
        labels=labels,
        l2=l2_norms(moved).to(images.dtype),
        linf=moved.abs().amax(dim=(1, 2, 3)),
        logits_before=before,
        logits_after=after,
        steps_taken=steps_taken,
        notes=(*notes, *stuck(batches)),
    )


def stuck(batches: Sequence[Standing]) -> tuple[str, ...]:
    """A sentence about the images whose gradient is not finite, and one about those where it is zero; or none."""
    lost, flat = (torch.cat([getattr(batch, name).cpu() for batch in batches]) for name in ("lost", "flat"))
    said = []
    for which, why in ((lost, "NaN or infinite there"), (flat, "zero everywhere")):
        if numbers := which.nonzero()[:, 0].tolist():
            image, stays, its = ("image", "stays", "its") if len(numbers) == 1 else ("images", "stay", "their")
            said.append(f"{image} {numbered(numbers)} {stays} in place, as the gradient of {its} loss is {why}")
    return tuple(said)


def numbered(numbers: Sequence[int]) -> str:
    """Images by their numbers, the first NAMED of them: "2, 5 (counted from 0)"."""
    more = f" and {len(numbers) - NAMED:,} more" if len(numbers) > NAMED else ""
    return f"{', '.join(map(str, numbers[:NAMED]))}{more} (counted from 0)"
