"""P1 Eq. 3: from one image towards another by matching features at every resolution of a robust classifier."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigroc_core.attack import TINY, L2Ball, input_gradient, l2_norms, scaled, targeted_pgd, usable
from bigroc_core.checks import MAX_STEPS, check_classifier, check_images, checked_batch_size, number, whole
from bigroc_core.engine.batching import in_batches
from bigroc_core.engine.precision import check_precision, private_modes
from bigroc_core.engine.results import numbered
from bigroc_core.engine.viewed import ViewedNetwork, viewed_copy
from bigroc_core.engine.views import ViewName, centre_of, view_of

# α = STEP · ε / T, so that the whole ball can be reached.
STEP = 2.5
MAX_WEIGHT = 1e6


@dataclass(frozen=True, eq=False)
class InShares:
    """Steps in shares of each image's own radius, inside an L2 ball with a radius per image, (N,)."""

    ball: L2Ball

    def direction(self, gradient: Tensor) -> Tensor:
        return scaled(gradient, self.ball.radius / l2_norms(gradient).to(gradient.dtype).clamp_min(TINY))

    def project(self, delta: Tensor) -> Tensor:
        return self.ball.project(delta)

    def of(self, rows: Tensor) -> InShares:
        return InShares(self.ball.of(rows))


class FeatureMatch:
    """Σᵢ wᵢ ‖Fⁱ(x) - Fⁱ(x_t)‖² / (number of features of level i), per image: what P1 Eq. 3 descends.

    targets: features of the n target images by level. The walk's "logits" are this distance, (n, 1).
    """

    def __init__(
        self, network: ViewedNetwork, names: Sequence[str], weights: Sequence[float], targets: Sequence[Tensor]
    ) -> None:
        self.network, self.names, self.weights, self.targets = network, names, weights, targets
        self.lost = torch.zeros(len(targets[0]), dtype=torch.bool, device=network.device)  # (n,), once NaN or infinite

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
        found = input_gradient(lambda distance: distance[:, 0], lambda leaf: self.distance(leaf)[:, None], images)
        gradient, lost = usable(found[1])
        self.lost[rows] = self.lost[rows] | lost
        return found[0], gradient

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
    lost: Tensor  # (N,) bool: the gradient was NaN or infinite there, and the image has stayed since


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
    view: ViewName = None,
    precision: str = "exact",
) -> Tensor:
    """P1 Eq. 3: for each fraction c the image within c·‖x_t - x_s‖₂ of x_s whose features are nearest to x_t's.

    classifier: one of ours, or any module with `features`, dotted names of its submodules whose outputs are compared,
        from fine to coarse. A private copy does the work.
    source, target: x_s and x_t, (N, 3, H, W), float32 or float64, in [0, 1], as many and of one type. A target of
        another size is brought to the source's (the centre of its shape, resized).
    fractions: c, each from 0 (the source itself) to 1; one frame per c, in the order given.
    steps: T of P1 Alg. 1, with α = 2.5·ε/T. weights: wᵢ of the levels, default 1 each.
    warm_start: begin each c where the next smaller c ended, instead of at the source. Then frames follow one path, and
        T steps are taken from frame to frame: smoother, and by the last frame as many times longer.
    view: what the classifier sees of images of another size than its own, as in `boost`. precision: "exact", or "fast"
        for features in bfloat16 where the hardware computes it, as in `boost`.

    Returns frames (F, N, 3, H, W), on the device of `source`. An image whose gradient is NaN or infinite stays where
    that was, and is warned of. Raises ValueError for bad input, naming it; MemoryError
    where a single image does not fit.
    """
    path = _Path(classifier, source, target, fractions, steps, weights, features, warm_start, view, precision)
    given = checked_batch_size(batch_size)

    with path.network() as network, private_modes(network.device, network.fast):

        def compute(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            points = {point.place: point for point in path.points(network, x, y)}
            frames = torch.stack([points[place].images for place in range(len(points))], 1)
            lost = torch.stack([point.lost for point in points.values()]).any(0)
            return frames.to(source.device), lost.to("cpu")

        frames, lost = in_batches(compute, network.batch_size(source, given), source, path.target)
    for note in network.warnings:
        warnings.warn(note, UserWarning, stacklevel=2)
    if bool(lost.any()):
        numbers = numbered(lost.nonzero()[:, 0].tolist())
        warnings.warn(f"where the gradient is NaN or infinite an image stays in place: {numbers}", stacklevel=2)
    return frames.transpose(0, 1).contiguous()


def interpolate_stream(
    classifier: nn.Module,
    source: Tensor,
    target: Tensor,
    fractions: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 1.0),
    steps: int = 60,
    weights: Sequence[float] | None = None,
    features: Sequence[str] | None = None,
    warm_start: bool = False,
    view: ViewName = None,
    precision: str = "exact",
) -> Iterator[PathPoint]:
    """The run of `interpolate` while it happens: fraction by fraction, smallest first, each from step 0 on.

    All images go in one batch. The last point of a fraction is its frame; at c = 0 the source is it, without a step.
    Closing the iterator at any point cancels the run. Arguments and errors are those of `interpolate`; bad input is
    refused at the call, not at the first point.
    """
    own, other = source.detach().clone(), target.detach().clone()  # the caller may write to theirs meanwhile
    return _points(_Path(classifier, own, other, fractions, steps, weights, features, warm_start, view, precision))


def _points(path: _Path) -> Iterator[PathPoint]:
    device = path.source.device
    with path.network() as network:
        with private_modes(network.device, network.fast):
            points = path.points(network, path.source, path.target)
        while True:
            with private_modes(network.device, network.fast):
                point = next(points, None)
            if point is None:
                return
            place, step, *tensors = point
            yield PathPoint(place, step, *(tensor.to(device) for tensor in tensors))


def target_note(source: tuple[int, int], target: tuple[int, int]) -> str | None:
    """What a reader should know of how a target is brought to the source's size, (height, width) each; or None."""
    if source == target:
        return None
    height, width = centre_of(target, source).part
    part = "" if (height, width) == target else f": its centre {width}×{height}, resized"
    return f"the target, {target[1]}×{target[0]} pixels, is brought to the source's {source[1]}×{source[0]}{part}"


def feature_distance(
    classifier: nn.Module,
    images: Tensor,
    target: Tensor,
    weights: Sequence[float] | None = None,
    features: Sequence[str] | None = None,
    view: ViewName = None,
) -> Tensor:
    """What P1 Eq. 3 descends: Σᵢ wᵢ ‖Fⁱ(x) - Fⁱ(x_t)‖² / (number of features of level i), per image, (N,).

    images: (N, 3, H, W) in [0, 1]. target: (N, 3, h, w), or (1, 3, h, w) for all. Raises ValueError as `interpolate`.
    """
    repeated = target.expand(len(images), -1, -1, -1) if len(target) == 1 else target
    path = _Path(classifier, images, repeated.contiguous(), (0.0,), 0, weights, features, False, view)
    with path.network() as network, private_modes(network.device):

        def compute(x: Tensor, y: Tensor) -> tuple[Tensor]:
            (point,) = path.points(network, x, y)
            return (point.distance.to(images.device),)

        (distance,) = in_batches(compute, network.batch_size(images, None), images, path.target)
    return distance


@dataclass
class _Path:
    """A request to interpolate, as `interpolate` describes it, checked; and the walks of any batch of it."""

    classifier: nn.Module
    source: Tensor
    target: Tensor
    fractions: Sequence[float]
    steps: int
    given_weights: Sequence[float] | None
    features: Sequence[str] | None
    warm_start: bool
    given_view: ViewName
    precision: str = "exact"

    def __post_init__(self) -> None:
        check_classifier(self.classifier)
        check_precision(self.precision)
        for name, images in (("source", self.source), ("target", self.target)):
            try:
                check_images(images)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if len(self.source) != len(self.target) or self.source.dtype != self.target.dtype:
            raise ValueError(
                f"source and target must be as many images, of one type, not {len(self.source)} of {self.source.dtype} "
                f"and {len(self.target)} of {self.target.dtype}"
            )
        self.steps = whole(self.steps, "steps", 0, MAX_STEPS)
        if not len(self.fractions):
            raise ValueError("fractions must be one or more numbers from 0 to 1, not none")
        self.shares = [number(c, f"fractions[{i}]", 0, 1) for i, c in enumerate(self.fractions)]
        self.names = _feature_names(self.classifier, self.features)
        self.weights = _weights(self.given_weights, len(self.names))
        size = self.source.shape[2], self.source.shape[3]
        self.view = view_of(self.classifier, size, self.given_view)
        if self.target.shape != self.source.shape:
            target = centre_of((self.target.shape[2], self.target.shape[3]), size)(self.target.detach())
            self.target = target.clamp(0, 1)  # rounding may lead a hair out

    def network(self) -> AbstractContextManager[ViewedNetwork]:
        """Lends the private copy that the walks look through."""
        return viewed_copy(self.classifier, self.source, self.view, self.names, self.precision)

    def points(self, network: ViewedNetwork, x: Tensor, y: Tensor) -> Iterator[PathPoint]:
        """Every point of every fraction's walk, on the network's device."""
        x, y = x.detach().to(network.device), y.detach().to(network.device)
        match = FeatureMatch(network, self.names, self.weights, [f.detach() for f in network.features(y, self.names)])
        ends_apart = l2_norms(y - x).to(x.dtype)
        start = None
        for place in sorted(range(len(self.shares)), key=self.shares.__getitem__):
            share = self.shares[place]
            steps = self.steps if share else 0
            ball = InShares(L2Ball(share * ends_apart))
            for step, point in enumerate(targeted_pgd(match, x, ball, STEP / max(steps, 1), steps, start=start)):
                yield PathPoint(place, step, point.images, point.logits[:, 0], match.lost.clone())
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
    checked = tuple(number(weight, f"weights[{i}]", 0, MAX_WEIGHT) for i, weight in enumerate(weights))
    if not any(checked):
        raise ValueError("weights must not all be 0")
    return checked
