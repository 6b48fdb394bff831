"""Images that keep their own sizes, boosted and looked at together.

Pictures are 8-bit, (H, W, 3): of one size together (N, H, W, 3), else a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, Group, Snapshot, boost_streams, logits_of
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.images import from_uint8, to_uint8

Pictures = np.ndarray | list[np.ndarray]


def together(pictures: Sequence[np.ndarray]) -> Pictures:
    """Pictures as one array where all have one size, else as a list."""
    return np.stack(list(pictures)) if len({one.shape for one in pictures}) == 1 else list(pictures)


def rounded(images: Sequence[Tensor]) -> Pictures:
    """Images (3, H, W) in [0, 1], each of its own size, at 8-bit levels."""
    return together([to_uint8(image) for image in images])


def copied(pictures: Pictures) -> Pictures:
    """Pictures of their own, with the same pixels."""
    return pictures.copy() if isinstance(pictures, np.ndarray) else [one.copy() for one in pictures]


def changes(originals: Pictures, pictures: Pictures) -> list[np.ndarray]:
    """The signed change of each picture, (H, W, 3) in [0, 1] units."""
    pairs = zip(originals, pictures, strict=True)
    return [(after.astype(np.float32) - before.astype(np.float32)) / 255 for before, after in pairs]


def l2_of(originals: Pictures, pictures: Pictures) -> np.ndarray:
    """‖δ‖₂ (N,)."""
    return np.array([np.sqrt((change**2).sum()) for change in changes(originals, pictures)], np.float32)


def linf_of(originals: Pictures, pictures: Pictures) -> np.ndarray:
    """‖δ‖∞ (N,)."""
    return np.array([np.abs(change).max() for change in changes(originals, pictures)], np.float32)


def per_value(l2: np.ndarray | float, size: tuple[int, int]) -> np.ndarray | float:
    """The change per value in levels of 255, ‖δ‖₂ / √(3HW): it carries over between sizes, ε does not."""
    return 255 * l2 / (3 * size[0] * size[1]) ** 0.5


def groups_of(pictures: Pictures) -> list[list[int]]:
    """The numbers of the pictures of each size, by the first of each."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(number)
    return list(groups.values())


def batches(pictures: Pictures, device: str | torch.device) -> list[Tensor]:
    """A tensor (n, 3, H, W) in [0, 1] for each of `groups_of`."""
    chosen = [np.stack([pictures[number] for number in group]) for group in groups_of(pictures)]
    return [from_uint8(one).to(device) for one in chosen]


def logits_by_size(classifier: Classifier, pictures: Pictures) -> np.ndarray:
    """Logits (N, C) of pictures, as boosting sees them."""
    device, groups = classifier.mean.device, groups_of(pictures)
    each = [logits_of(classifier, images).float().cpu() for images in batches(pictures, device)]
    return _in_order(groups, each).numpy()


@dataclass(frozen=True)
class Moment:
    """All images after `step` steps: (3, H, W) each, logits (N, C), which of them rest (N,), their targets (N,), and
    what has to be said so far."""

    step: int
    images: list[Tensor]
    logits: Tensor
    resting: Tensor
    labels: Tensor
    notes: tuple[str, ...]

    @property
    def pictures(self) -> Pictures:
        """The images at 8-bit levels."""
        return rounded(self.images)


@dataclass(frozen=True)
class Reach:
    """Where and how far each picture may move.

    masks: of each picture (H, W) in [0, 1], None to change all of it. radii: of each picture (N,), in place of the
    config's eps.
    """

    masks: Sequence[np.ndarray | None] | None = None
    radii: Tensor | None = None


EVERYWHERE = Reach()


def boost_by_size(
    classifier: Classifier,
    originals: Pictures,
    labels: Tensor | None,
    config: BoostConfig,
    debias: Tensor | None = None,
    reach: Reach = EVERYWHERE,
    batch_size: int | None = None,
    precision: str = "exact",
) -> Iterator[Moment]:
    """`boost_stream` of pictures of any sizes, on the classifier's device; errors are those of `boost`, at the call.

    labels: targets (N,), None to estimate them.
    """
    groups, device = groups_of(originals), classifier.mean.device
    given = [
        Group(
            images,
            None if labels is None else labels[group].to(device),
            None if reach.masks is None else _masks_of([reach.masks[number] for number in group], originals[group[0]]),
            None if reach.radii is None else reach.radii[group],
        )
        for group, images in zip(groups, batches(originals, device), strict=True)
    ]
    growing = boost_streams(classifier, given, config, debias, batch_size, precision)
    return (_moment(groups, snapshots) for snapshots in growing)


def _masks_of(masks: list[np.ndarray | None], picture: np.ndarray) -> Tensor | None:
    if all(mask is None for mask in masks):
        return None
    whole = np.ones(picture.shape[:2], np.float32)
    return torch.from_numpy(np.stack([whole if mask is None else mask for mask in masks]).astype(np.float32))[:, None]


def _moment(groups: list[list[int]], snapshots: tuple[Snapshot, ...]) -> Moment:
    images: list[Tensor] = [torch.empty(0)] * sum(map(len, groups))
    for group, snapshot in zip(groups, snapshots, strict=True):
        for number, image in zip(group, snapshot.images, strict=True):
            images[number] = image
    logits, resting, labels = (
        _in_order(groups, [getattr(snapshot, name).cpu() for snapshot in snapshots])
        for name in ("logits", "resting", "labels")
    )
    notes = tuple(dict.fromkeys(note for snapshot in snapshots for note in snapshot.notes))
    return Moment(snapshots[0].step, images, logits.float(), resting, labels, notes)


def _in_order(groups: list[list[int]], each: list[Tensor]) -> Tensor:
    """Rows of all groups, in the order of the pictures."""
    order = torch.tensor([number for group in groups for number in group])
    return torch.cat(each)[order.argsort()]
