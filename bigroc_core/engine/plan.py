"""A request to boost, checked, and the walk of any batch of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bigroc_core.attack import targeted_pgd
from bigroc_core.checks import (
    Labels,
    check_classifier,
    check_images,
    checked_batch_size,
    checked_l0,
    checked_labels,
    checked_mask,
    checked_shift,
)
from bigroc_core.engine.batching import BatchSize
from bigroc_core.engine.config import BoostConfig
from bigroc_core.engine.graphs import Motion, Rests, StepGraph, replayed_pgd, step_graph
from bigroc_core.engine.logits import CheckedLoss, check_finite
from bigroc_core.engine.precision import check_precision, private_modes
from bigroc_core.engine.results import Standing
from bigroc_core.engine.targets import Targets, rest_rule
from bigroc_core.engine.viewed import ViewedNetwork, viewed_copy
from bigroc_core.engine.views import ViewName, view_of
from bigroc_core.losses import OF_REALISM, Loss, loss_named


@dataclass
class Plan:
    """What `boost` was asked for, as it describes it. Raises ValueError for bad input, naming it."""

    classifier: nn.Module
    images: Tensor
    given_labels: Labels | None
    config: BoostConfig
    debias: Tensor | np.ndarray | Sequence[float] | None
    given_batch_size: int | None
    given_mask: Tensor | np.ndarray | None
    given_view: ViewName
    precision: str
    radii: Tensor | None = None  # (N,): each image's own, in place of the config's eps

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        check_images(self.images)
        if not isinstance(self.config, BoostConfig):
            raise ValueError(f"config must be a BoostConfig, not {type(self.config).__name__}")
        if self.given_labels is not None and self.debias is not None:
            raise ValueError(
                "labels and debias were both given: debiasing plays a part only where targets are estimated; "
                "leave one of them out"
            )
        check_precision(self.precision)
        count, _, height, width = self.images.shape
        self.labels = None if self.given_labels is None else checked_labels(self.given_labels, count)
        self.shift = None if self.debias is None else checked_shift(self.debias)
        self.l0 = _reference_l0(self.classifier, self.config)
        self.mask = checked_mask(self.given_mask, self.images)
        self.batch_size = checked_batch_size(self.given_batch_size)
        classes = getattr(self.classifier, "classes", None)
        if isinstance(classes, Sized) and len(classes):
            self.check_classes(len(classes))
        self.view = view_of(self.classifier, (height, width), self.given_view)

    def network(self) -> AbstractContextManager[ViewedNetwork]:
        """Lends the private copy that the walks look through."""
        return viewed_copy(self.classifier, self.images, self.view, precision=self.precision)

    def check_classes(self, classes: int) -> None:
        """Raises ValueError where labels, shift or ℓ₀ do not fit a classifier of so many classes."""
        if self.labels is not None and int(self.labels.max()) >= classes:
            raise ValueError(
                f"labels name class {int(self.labels.max())}, but the classifier has {classes} classes "
                f"(0 to {classes - 1})"
            )
        for name, vector in (("debias", self.shift), ("l0", self.l0)):
            if vector is not None and vector.dim() == 1 and len(vector) != classes:
                raise ValueError(f"{name} has {len(vector)} values, but the classifier has {classes} classes")

    def walk(self, network: ViewedNetwork, rows: slice, size: BatchSize) -> Iterator[Standing]:
        """P1 Alg. 1 on these images: where they all stand, before the first step and after each.

        One object, updated in place. Ends early once all rest.
        """
        device, config, fast = network.device, self.config, network.fast
        with private_modes(device, fast):
            x = self.images[rows].detach().to(device, copy=True, memory_format=torch.contiguous_format)
            mask = self.mask if self.mask is None or len(self.mask) == 1 else self.mask[rows]
            mask = None if mask is None else mask.to(device)
            targets = self._targets(network, rows, size, mask)
            motion = self._motion(device, mask, rows)
            rests = motion.rule(targets)
            graph = self._graph(network, x, targets, motion)
            if graph is None:
                points = targeted_pgd(targets, x, motion.ball, motion.step_size, motion.steps, rests)
            else:
                points = replayed_pgd(graph, x, targets, motion)
        standing = None
        for step in range(config.steps + 1):
            with private_modes(device, fast):
                point = next(points, None)
                if point is None:
                    break
                if standing is None:
                    check_finite(point.logits, "for these images", rows.start)
                    standing = Standing(x.clone(), point.logits, targets.labels)
                standing.update(step, point)
                if step < config.steps:
                    standing.note(point, targets.lost, targets.flat)
            if step == config.steps or (rests is not None and bool(standing.resting.all())):
                check_finite(standing.logits, f"after {step} steps", rows.start)
            yield standing

    def _motion(self, device: torch.device, mask: Tensor | None, rows: slice) -> Motion:
        stop_at, l0 = self.config.stop_at, self._on(device, self.l0)
        ball, step_size = self.config.masked(mask), self.config.alpha
        if self.radii is not None:
            # As precise as a config's own eps.
            radii = self.radii[rows].to(device, torch.float32 if device.type == "mps" else torch.float64)
            if self.config.norm == "linf":
                radii = radii.to(self.images.dtype)  # which a clamp by others would leave
            ball, step_size = self.config.of_radii(radii, mask), 1.0

        def rule(targets: Targets) -> Rests | None:
            return None if stop_at is None else rest_rule(stop_at, l0, targets)

        return Motion(ball, step_size, self.config.steps, rule)

    def _graph(self, network: ViewedNetwork, x: Tensor, targets: Targets, motion: Motion) -> StepGraph | None:
        whole = targets.mask is None and self.radii is None
        if not network.fast or not whole or not isinstance(self.config.loss, str):
            return None
        l0 = None if self.l0 is None else tuple(self.l0.flatten().tolist())
        return step_graph((x.shape[1:], network.view, self.config, l0), x, targets, motion)

    def _targets(self, network: ViewedNetwork, rows: slice, size: BatchSize, mask: Tensor | None) -> Targets:
        device = network.device
        given = torch.full((rows.stop - rows.start,), -1, device=device) if self.labels is None else self.labels[rows]
        return Targets(
            network=network,
            loss=self._loss(device),
            labels=given.to(device, copy=True),
            shift=self._on(device, self.shift),
            mask=mask,
            size=size,
            check_classes=self.check_classes,
            estimating=self.labels is None,
            first=rows.start,
        )

    def _loss(self, device: torch.device) -> Loss:
        loss = self.config.loss
        if isinstance(loss, str):
            return loss_named(loss, self._on(device, self.l0))
        return CheckedLoss(loss, self.config.loss_name)

    def _on(self, device: torch.device, vector: Tensor | None) -> Tensor | None:
        return None if vector is None else vector.to(device, self.images.dtype)


def _reference_l0(classifier: nn.Module, config: BoostConfig) -> Tensor | None:
    """ℓ₀ from the config, else from the classifier's card, () or (C,); None where the run needs none."""
    needs = "loss 'combined' (P2 Eq. 13)" if config.loss == "combined" else None
    needs = needs or ("stop_at 'l0'" if config.stop_at == "l0" else None)
    card = getattr(classifier, "card", None)
    if needs is None:
        of_realism = isinstance(config.loss, str) and config.loss in OF_REALISM
        if of_realism and config.l0 is None and getattr(card, "l0", 0.0) is None:
            name = getattr(card, "name", "this classifier")
            raise ValueError(
                f"loss {config.loss!r} makes images read as real, and {name} was not trained to tell real images from "
                "generated ones: take a joint model, or loss 'ce'"
            )
        return None
    l0 = config.l0
    if l0 is None and (on_card := getattr(card, "l0", None)) is not None:
        try:
            l0 = checked_l0(on_card)
        except ValueError as error:
            raise ValueError(f"this classifier's card has an impossible ℓ₀: {error}") from error
    if l0 is None:
        raise ValueError(
            f"{needs} needs the reference ℓ₀, which neither the config nor this classifier's card has: set "
            "BoostConfig(l0=...), one number or one per class, or take a joint model"
        )
    return torch.tensor(l0, dtype=torch.float64, device="cpu")
