"""P1 Eq. 3: from one image towards another by matching features at every resolution of a robust classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigroc_core.attack import TINY, l2_norms, targeted_pgd
from bigroc_core.boosting import private_modes
from bigroc_core.checks import (
    MAX_STEPS,
    check_classifier,
    check_images,
    checked_batch_size,
    number,
    whole_number,
)
from bigroc_core.engine.batching import BatchSize, fitting_batch_size, in_batches
from bigroc_core.engine.frozen import FrozenNetwork, frozen_copy

# α = STEP · ε / T, so that the whole ball can be reached.
STEP = 2.5
MAX_WEIGHT = 1e6


@dataclass(frozen=True)
class L2Balls:
    """‖δ‖₂ ≤ radii[i] of image i, radii (N,) in units of [0, 1] pixels; steps are in shares of the radius."""

    radii: Tensor

    def direction(self, gradient: Tensor) -> Tensor:
        scale = self.radii / l2_norms(gradient).to(gradient.dtype).clamp_min(TINY)
        return gradient * scale[:, None, None, None]

    def project(self, delta: Tensor) -> Tensor:
        norms = l2_norms(delta)
        # As in L2Ball: rounding must not lead out.
        shrink = (self.radii / norms) * (1 - 2 * torch.finfo(delta.dtype).eps)
        scale = torch.where(norms > self.radii, shrink, torch.ones_like(norms))
        return delta * scale.to(delta.dtype)[:, None, None, None]


class FeatureMatch:
    """Σᵢ wᵢ ‖Fⁱ(x) - Fⁱ(x_t)‖² / (number of features of level i), per image: what P1 Eq. 3 descends.

    targets: features of the n target images by level. The walk's "logits" are this distance, (n, 1).
    """

    def __init__(
        self, network: FrozenNetwork, names: Sequence[str], weights: Sequence[float], targets: Sequence[Tensor]
    ) -> None:
        self.network, self.names, self.weights, self.targets = network, names, weights, targets

    def distance(self, images: Tensor) -> Tensor:
        """(n,) of images (n, 3, H, W)."""
        found = self.network.features(images, self.names)
        levels = (
            weight * (feature - target).flatten(1).square().mean(1)
            for feature, target, weight in zip(found, self.targets, self.weights, strict=True)
        )
        return torch.stack(list(levels)).sum(0)

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The distance (n, 1) and its gradient (n, 3, H, W)."""
        with torch.enable_grad():
            moving = images.detach().requires_grad_(True)
            distance = self.distance(moving)
            (gradient,) = torch.autograd.grad(distance.sum(), moving)
        return distance.detach()[:, None], gradient

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """The distance (n, 1)."""
        with torch.no_grad():
            return self.distance(images)[:, None]


class PathPoint(NamedTuple):
    """Where the images of one fraction stand after a number of steps."""

    place: int  # of the fraction, in the order given
    step: int
    images: Tensor  # (N, 3, H, W)
    distance: Tensor  # (N,): what P1 Eq. 3 descends, at these very images


def interpolate(
    classifier: nn.Module,
    source: Tensor,
    target: Tensor,
    fractions: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 1.0),
    steps: int = 60,
    weights: Sequence[float] | None = None,
    features: Sequence[str] | None = None,
    warm_start: bool = False,
    batch_size: int | None = None,
) -> Tensor:
    """P1 Eq. 3: for each fraction c the image within c·‖x_t - x_s‖₂ of x_s whose features are nearest to x_t's.

    classifier: one of ours, or any module with `features`, dotted names of its submodules whose outputs are compared,
        from fine to coarse. A private copy does the work.
    source, target: x_s and x_t, (N, 3, H, W), float32 or float64, in [0, 1], of one shape and type.
    fractions: c, each from 0 (the source itself) to 1; one frame per c, in the order given.
    steps: T of P1 Alg. 1, with α = 2.5·ε/T. weights: wᵢ of the levels, default 1 each.
    warm_start: begin each c where the next smaller c ended, instead of at the source. Then frames follow one path, and
        T steps are taken from frame to frame: smoother, and by the last frame as many times longer.

    Returns frames (F, N, 3, H, W), on the device of `source`. Raises ValueError for bad input, naming it; MemoryError
    where a single image does not fit.
    """
    asked = _Path(classifier, source, target, fractions, steps, weights, features, warm_start)
    size = checked_batch_size(batch_size)

    with frozen_copy(classifier, source, asked.names) as network, private_modes(network.device):

        def compute(x: Tensor, y: Tensor) -> tuple[Tensor]:
            frames = {point.place: point.images for point in asked.points(network, x, y)}
            return (torch.stack([frames[place] for place in range(len(frames))], 1).to(source.device),)

        (found,) = in_batches(compute, BatchSize(size or fitting_batch_size(network, source)), source, target)
    return found.transpose(0, 1).contiguous()


def interpolate_stream(
    classifier: nn.Module,
    source: Tensor,
    target: Tensor,
    fractions: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 1.0),
    steps: int = 60,
    weights: Sequence[float] | None = None,
    features: Sequence[str] | None = None,
    warm_start: bool = False,
) -> Iterator[PathPoint]:
    """The run of `interpolate` while it happens: fraction by fraction, smallest first, each from step 0 on.

    All images go in one batch. The last point of a fraction is its frame; at c = 0 the source is it, without a step.
    Closing the iterator at any point cancels the run. Arguments and errors are those of `interpolate`; bad input is
    refused at the call, not at the first point.
    """
    asked = _Path(classifier, source, target, fractions, steps, weights, features, warm_start)
    return _points(classifier, asked, source.detach().clone(), target.detach().clone())


def _points(classifier: nn.Module, asked: _Path, x: Tensor, y: Tensor) -> Iterator[PathPoint]:
    with frozen_copy(classifier, x, asked.names) as network:
        with private_modes(network.device):
            points = asked.points(network, x, y)
        while True:
            with private_modes(network.device):
                point = next(points, None)
            if point is None:
                return
            yield point._replace(images=point.images.to(x.device), distance=point.distance.to(x.device))


def feature_distance(
    classifier: nn.Module,
    images: Tensor,
    target: Tensor,
    weights: Sequence[float] | None = None,
    features: Sequence[str] | None = None,
) -> Tensor:
    """What P1 Eq. 3 descends: Σᵢ wᵢ ‖Fⁱ(x) - Fⁱ(x_t)‖² / (number of features of level i), per image, (N,).

    images: (N, 3, H, W) in [0, 1]. target: (N, 3, H, W), or (1, 3, H, W) for all. Raises ValueError as `interpolate`.
    """
    repeated = target.expand(len(images), -1, -1, -1) if len(target) == 1 else target
    asked = _Path(classifier, images, repeated, (0.0,), 0, weights, features, False)
    with frozen_copy(classifier, images, asked.names) as network, private_modes(network.device):

        def compute(x: Tensor, y: Tensor) -> tuple[Tensor]:
            (point,) = asked.points(network, x, y)
            return (point.distance.to(images.device),)

        (distance,) = in_batches(compute, BatchSize(fitting_batch_size(network, images)), images, repeated.contiguous())
    return distance


class _Path:
    """A request to interpolate, checked, and the walks of any batch of it."""

    def __init__(
        self,
        classifier: nn.Module,
        source: Tensor,
        target: Tensor,
        fractions: Sequence[float],
        steps: int,
        weights: Sequence[float] | None,
        features: Sequence[str] | None,
        warm_start: bool,
    ) -> None:
        check_classifier(classifier)
        for name, images in (("source", source), ("target", target)):
            try:
                check_images(images)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if source.shape != target.shape or source.dtype != target.dtype:
            raise ValueError(
                f"source and target must be of one shape and type, not {tuple(source.shape)} {source.dtype} and "
                f"{tuple(target.shape)} {target.dtype}"
            )
        self.steps = whole_number("steps", steps, MAX_STEPS)
        if not len(fractions):
            raise ValueError("fractions must be one or more numbers from 0 to 1, not none")
        self.shares = [number(f"fractions[{i}]", c, 1.0) for i, c in enumerate(fractions)]
        self.names = _feature_names(classifier, features)
        self.weights = _weights(weights, len(self.names))
        self.warm_start = warm_start

    def points(self, network: FrozenNetwork, x: Tensor, y: Tensor) -> Iterator[PathPoint]:
        """Every point of every fraction's walk, on the network's device."""
        x, y = x.detach().to(network.device), y.detach().to(network.device)
        match = FeatureMatch(network, self.names, self.weights, [f.detach() for f in network.features(y, self.names)])
        whole = l2_norms(y - x).to(x.dtype)
        start = None
        for place in sorted(range(len(self.shares)), key=self.shares.__getitem__):
            share = self.shares[place]
            steps = self.steps if share else 0
            walk = targeted_pgd(match, x, L2Balls(share * whole), STEP / max(steps, 1), steps, start=start)
            for step, point in enumerate(walk):
                yield PathPoint(place, step, point.images, point.logits[:, 0])
            start = point.images if self.warm_start else None


def _feature_names(classifier: nn.Module, features: Sequence[str] | None) -> tuple[str, ...]:
    if features is None:
        own = tuple(getattr(classifier, "feature_names", ()))
        if not own:
            raise ValueError(
                f"{type(classifier).__name__} does not say which features to compare: give features, dotted names of "
                "its submodules"
            )
        # Ours name them inside the network that they wrap.
        return tuple(f"network.{name}" for name in own)
    if isinstance(features, str) or not len(features):
        raise ValueError("features must be one or more dotted names of submodules")
    known = dict(classifier.named_modules())
    if unknown := [name for name in features if name not in known or not name]:
        some = ", ".join(name for name in list(known)[:8] if name)
        raise ValueError(f"{type(classifier).__name__} has no submodule {unknown[0]!r}; it has {some}, …")
    return tuple(features)


def _weights(weights: Sequence[float] | None, levels: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * levels
    if len(weights) != levels:
        raise ValueError(f"weights must be {levels} numbers, one per level of features, not {len(weights)}")
    checked = tuple(number(f"weights[{i}]", weight, MAX_WEIGHT) for i, weight in enumerate(weights))
    if not any(checked):
        raise ValueError("weights must not all be 0")
    return checked
