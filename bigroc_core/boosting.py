"""P1 Algorithm 2 and P2 Algorithm 2: boost images towards given or estimated classes, with early stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bigroc_core.checks import MAX_STEPS, Labels, check_classifier, check_images, checked_batch_size, whole
from bigroc_core.engine.batching import in_batches
from bigroc_core.engine.config import GRADIENTS, NORMS, BoostConfig
from bigroc_core.engine.logits import check_finite
from bigroc_core.engine.plan import Plan
from bigroc_core.engine.precision import private_modes
from bigroc_core.engine.results import BoostResult, Snapshot, Standing, result_of, stuck
from bigroc_core.engine.viewed import ViewedNetwork, viewed_copy
from bigroc_core.engine.views import ViewName, view_note, view_of
from bigroc_core.progress import Bar

__all__ = [
    "GRADIENTS",
    "NORMS",
    "BoostConfig",
    "BoostResult",
    "Snapshot",
    "boost",
    "boost_stream",
    "logits_of",
    "view_note",
]

DEFAULTS = BoostConfig()

Debias = Tensor | np.ndarray | Sequence[float]
Mask = Tensor | np.ndarray


def boost(
    classifier: nn.Module,
    images: Tensor,
    labels: Labels | None = None,
    config: BoostConfig = DEFAULTS,
    debias: Debias | None = None,
    batch_size: int | None = None,
    progress: Callable[[int, int], object] | bool | None = None,
    mask: Mask | None = None,
    view: ViewName = None,
    precision: str = "exact",
) -> BoostResult:
    """P1 Alg. 2: move each image, within the config's ball, towards its class as the classifier sees it.

    classifier: any module from (N, 3, H, W) in [0, 1] to logits (N, C), or to something that has `.logits` or begins
        with them. A private copy does the work, in eval mode and in the images' dtype; the module itself is never
        touched. Forward hooks count as part of it.
    images: (N, 3, H, W), float32 or float64, in [0, 1], N ≥ 1, on any device.
    labels: target classes, (N,) whole numbers (or one for all); None estimates them as argmax f(x), with
        `debias` as argmax (f(x) + d) (P1 Alg. 2 and Eq. 2).
    debias: d from `fit_debias`, (C,). Only without labels.
    batch_size: images computed at once; None chooses what is fast on a CPU and what fits on a GPU. A batch
        that does not fit into memory is halved and redone. Results do not depend on it beyond rounding.
    progress: called after every step of every batch with (done, total), both counted in images × steps; an
        exception it raises ends the run. True shows a bar, in a notebook as in a terminal.
    mask: m of δ = m ⊙ u in [0, 1], (H, W), (1, H, W) or (N, 1, H, W): ‖m ⊙ u‖₂ ≤ ε, or |δ| ≤ m·ε. Where it is 0 a
        pixel comes back bit for bit; None lets all of them move.
    view: what the classifier sees of images of another size than its own: "input" (resized to its input size),
        "native" (as they are) or a side in pixels; None is "input" for a classifier with a card, else "native".
        Images come back at their own size, and ε is of their own pixels.
    precision: "exact", or "fast" for bfloat16 where the hardware computes it: the same outcome, other last digits.
        The logits in the result are of the same precision, to about a hundredth of the largest; targets are estimated
        exactly in both.

    What a reader should know stands in the result's notes: how the classifier sees images of another size, images
    whose gradient is NaN or zero (they stay in place, the others move on), a network whose results depend on the batch.
    All but the first are also warned of. Raises ValueError for bad input, naming it; MemoryError where a single image
    does not fit.
    """
    plan = Plan(classifier, images, labels, config, debias, batch_size, mask, view, precision)
    count, weight = len(images), max(config.steps, 1)
    if isinstance(progress, bool):
        progress = Bar(count * weight) if progress else None
    done: list[Standing] = []
    with plan.network() as network:
        size = network.batch_size(images, plan.batch_size)
        for rows in _slices(count, size.images):
            for standing in plan.walk(network, rows, size):
                if progress is not None:
                    progress(rows.start * weight + standing.step * len(standing.images), count * weight)
            done.append(standing.moved_to(images.device))
            if progress is not None:
                progress(rows.stop * weight, count * weight)
    result = result_of(images, done, network.notes)
    _warn(network.warnings + stuck(done))
    return result


def boost_stream(
    classifier: nn.Module,
    images: Tensor,
    labels: Labels | None = None,
    config: BoostConfig = DEFAULTS,
    debias: Debias | None = None,
    every: int = 1,
    batch_size: int | None = None,
    mask: Mask | None = None,
    view: ViewName = None,
    precision: str = "exact",
) -> Iterator[Snapshot]:
    """The run of `boost` while it happens: all images at step 0, every, 2·every, … and at the last step.

    Step 0 shows the originals with their logits. The last snapshot is what `boost` returns, bit for bit; it
    comes at the config's last step, or earlier once all images rest. Closing the iterator at any point
    cancels the run. Arguments and errors are those of `boost`; bad input is refused at the call, not at the
    first snapshot.
    """
    every = whole(every, "every", 1, MAX_STEPS)
    plan = Plan(classifier, images, labels, config, debias, batch_size, mask, view, precision)
    plan.images = images.detach().clone()  # the caller may write to theirs before the first snapshot
    return (snapshots[0] for snapshots in _snapshots([plan], every))


@dataclass(frozen=True)
class Group:
    """Images (N, 3, H, W) of one size, with labels, a mask and radii (N,) of their own.

    radii: of each image, in place of the config's eps: what `boost` gives at that eps, several of them in one batch.
    """

    images: Tensor
    labels: Labels | None = None
    mask: Mask | None = None
    radii: Tensor | None = None


def boost_streams(
    classifier: nn.Module,
    groups: Sequence[Group],
    config: BoostConfig = DEFAULTS,
    debias: Debias | None = None,
    batch_size: int | None = None,
    precision: str = "exact",
) -> Iterator[tuple[Snapshot, ...]]:
    """`boost_stream` of several groups of images, each of a size of its own, step by step together.

    One copy of the network serves all of them. The last snapshots come once the images of all groups rest.
    """
    plans = [
        Plan(
            classifier,
            group.images.detach().clone(),
            group.labels,
            config,
            debias,
            batch_size,
            group.mask,
            None,
            precision,
            group.radii,
        )
        for group in groups
    ]
    return _snapshots(plans, 1)


def _snapshots(plans: Sequence[Plan], every: int) -> Iterator[tuple[Snapshot, ...]]:
    config = plans[0].config
    with plans[0].network() as first:
        networks = [first, *(first.seeing(plan.view) for plan in plans[1:])]
        groups = []
        for plan, network in zip(plans, networks, strict=True):
            size = network.batch_size(plan.images, plan.batch_size)
            groups.append([plan.walk(network, rows, size) for rows in _slices(len(plan.images), size.images)])
        standings = [[next(walk) for walk in walks] for walks in groups]
        for step in range(config.steps + 1):
            if step:
                # A batch whose images all rest has no next step: it stands where it stood.
                standings = [
                    [next(walk, standing) for walk, standing in zip(walks, reached, strict=True)]
                    for walks, reached in zip(groups, standings, strict=True)
                ]
            last = step == config.steps
            if not last and config.stop_at is not None:
                last = all(bool(standing.resting.all()) for reached in standings for standing in reached)
            if last or step % every == 0:
                each = zip(plans, networks, standings, strict=True)
                yield tuple(_snapshot(step, plan, network, reached) for plan, network, reached in each)
            if last:
                break
        for network, reached in zip(networks, standings, strict=True):
            _warn(network.warnings + stuck(reached))


def _snapshot(step: int, plan: Plan, network: ViewedNetwork, standings: list[Standing]) -> Snapshot:
    images, logits, resting, labels = (
        torch.cat([getattr(standing, field) for standing in standings]).to(plan.images.device)
        for field in ("images", "logits", "resting", "labels")
    )
    return Snapshot(step, images, logits, resting, labels, network.notes + stuck(standings))


def logits_of(classifier: nn.Module, images: Tensor, batch_size: int | None = None, view: ViewName = None) -> Tensor:
    """f(x) as boosting sees it: (N, 3, H, W) in [0, 1] -> (N, C), in the images' dtype and on their device.

    Eval mode, without gradients, through a private copy and the view, in batches that fit into memory. Raises
    ValueError as `boost` does.
    """
    check_images(images)
    check_classifier(classifier)
    batch_size = checked_batch_size(batch_size)
    seen = view_of(classifier, (images.shape[2], images.shape[3]), view)
    with viewed_copy(classifier, images, seen) as network, private_modes(network.device):

        def compute(batch: Tensor) -> tuple[Tensor]:
            return (network.logits(batch.to(network.device)).to(images.device),)

        (logits,) = in_batches(compute, network.batch_size(images, batch_size), images.detach())
    check_finite(logits, "for these images")
    return logits


def _warn(notes: Sequence[str]) -> None:
    """Said once by Python's own rule, and to whoever reads no notes."""
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
