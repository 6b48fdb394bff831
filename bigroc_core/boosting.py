"""P1 Algorithm 2 and P2 Algorithm 2: boost images towards given or estimated classes, with early stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bigroc_core.attack import L2Ball, LinfBall, RawGradient, ThreatModel, l2_norms, targeted_pgd
from bigroc_core.checks import (
    MAX_EPS,
    MAX_STEP_SIZE,
    MAX_STEPS,
    Labels,
    check_classifier,
    check_images,
    checked_batch_size,
    checked_l0,
    checked_labels,
    checked_shift,
    number,
    whole_number,
)
from bigroc_core.engine.batching import BatchSize, fitting_batch_size, in_batches
from bigroc_core.engine.exactness import exact_arithmetic
from bigroc_core.engine.frozen import FrozenNetwork, frozen_copy
from bigroc_core.losses import LOSSES, Loss, loss_named, realism

NORMS = ("l2", "linf")
GRADIENTS = ("normalized", "raw")


@dataclass(frozen=True, kw_only=True)
class BoostConfig:
    """How to boost. All sizes are in units of images in [0, 1]. Raises ValueError naming the field at fault.

    eps: radius of the ball that an image may move in, 0 (nothing moves) to MAX_EPS.
    steps: T of P1 Alg. 1, 0 to MAX_STEPS.
    step_size: α, 0 to MAX_STEP_SIZE; None is eps / steps.
    norm: "l2" (‖δ‖₂ per image) or "linf" (|δ| in every pixel).
    loss: "ce" (P1), "bce", "ce-bce" (P2 Eq. 12) or "combined" (P2 Eq. 13).
    gradient: "normalized" (g / ‖g‖₂, or sign(g) for "linf") or "raw" (P1 Alg. 1 as its formula is printed).
    stop_at: when an image rests: None never, p in (0, 1] once the target's probability p(c | x) ≥ p, "l0"
        once softplus(f_c) ≥ ℓ₀ (P2). An image that starts there is returned untouched.
    l0: ℓ₀ of P2 Eq. 14, for "combined" and for stop_at "l0": one number or one per class, 0 to MAX_L0; None
        takes the classifier's card.
    """

    eps: float = 1.0
    steps: int = 30
    step_size: float | None = None
    norm: Literal["l2", "linf"] = "l2"
    loss: Literal["ce", "bce", "ce-bce", "combined"] = "ce"
    gradient: Literal["normalized", "raw"] = "normalized"
    stop_at: float | Literal["l0"] | None = None
    l0: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (frozen: no other way)
        set_field("eps", number("eps", self.eps, MAX_EPS))
        set_field("steps", whole_number("steps", self.steps, MAX_STEPS))
        if self.step_size is not None:
            set_field("step_size", number("step_size", self.step_size, MAX_STEP_SIZE))
        for name, allowed in (("norm", NORMS), ("loss", LOSSES), ("gradient", GRADIENTS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if self.stop_at is not None and self.stop_at != "l0":
            if isinstance(self.stop_at, str):
                raise ValueError(f"stop_at must be None, a number in (0, 1] or 'l0', not {self.stop_at!r}")
            set_field("stop_at", number("stop_at", self.stop_at, 1.0))
            if self.stop_at == 0:
                raise ValueError("stop_at must be above 0 and at most 1, not 0: all would rest at once")
        if self.l0 is not None:
            set_field("l0", checked_l0(self.l0))

    @property
    def alpha(self) -> float:
        """The step size α: `step_size`, or eps / steps where that is None (P1 Alg. 1)."""
        return self.step_size if self.step_size is not None else self.eps / max(self.steps, 1)

    @property
    def threat_model(self) -> ThreatModel:
        """The ball, and the direction that steps inside it take."""
        ball: ThreatModel = L2Ball(self.eps) if self.norm == "l2" else LinfBall(self.eps)
        return ball if self.gradient == "normalized" else RawGradient(ball)


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


@dataclass(frozen=True)
class Snapshot:
    """All images after `step` steps, on the device of the images given. The receiver may keep its tensors."""

    step: int
    images: Tensor  # (N, 3, H, W)
    logits: Tensor  # (N, C), of these very images
    resting: Tensor  # (N,) bool: this image has stopped early
    labels: Tensor  # (N,) int64: the targets


def boost(
    classifier: nn.Module,
    images: Tensor,
    labels: Labels | None = None,
    config: BoostConfig = BoostConfig(),
    debias: Tensor | np.ndarray | Sequence[float] | None = None,
    batch_size: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> BoostResult:
    """P1 Alg. 2: move each image, within the config's ball, towards its class as the classifier sees it.

    classifier: any module from (N, 3, H, W) in [0, 1] to logits (N, C). A private copy does the work, in eval
        mode and in the images' dtype; the module itself is never touched. Forward hooks count as part of it.
    images: (N, 3, H, W), float32 or float64, in [0, 1], N ≥ 1, on any device.
    labels: target classes, (N,) whole numbers (or one for all); None estimates them as argmax f(x), with
        `debias` as argmax (f(x) + d) (P1 Alg. 2 and Eq. 2).
    debias: d from `fit_debias`, (C,). Only without labels.
    batch_size: images computed at once; None chooses what is fast on a CPU and what fits on a GPU. A batch
        that does not fit into memory is halved and redone. Results do not depend on it beyond rounding.
    progress: called after every step of every batch with (done, total), both counted in images × steps; an
        exception it raises ends the run.

    Raises ValueError for bad input, naming it; MemoryError where a single image does not fit.
    """
    plan = _Plan(classifier, images, labels, config, debias, batch_size)
    count, weight = len(images), max(config.steps, 1)
    done: list[_Standing] = []
    with frozen_copy(classifier, images) as network:
        size = plan.batch_size(network)
        for rows in _slices(count, size.images):
            for standing in plan.walk(network, rows, size):
                if progress is not None:
                    progress(rows.start * weight + standing.step * len(standing.images), count * weight)
            done.append(standing.moved_to(images.device))
            if progress is not None:
                progress(rows.stop * weight, count * weight)
    return _result(images, done)


def boost_stream(
    classifier: nn.Module,
    images: Tensor,
    labels: Labels | None = None,
    config: BoostConfig = BoostConfig(),
    debias: Tensor | np.ndarray | Sequence[float] | None = None,
    every: int = 1,
    batch_size: int | None = None,
) -> Iterator[Snapshot]:
    """The run of `boost` while it happens: all images at step 0, every, 2·every, … and at the last step.

    Step 0 shows the originals with their logits. The last snapshot is what `boost` returns, bit for bit; it
    comes at the config's last step, or earlier once all images rest. Closing the iterator at any point
    cancels the run. Arguments and errors are those of `boost`; bad input is refused at the call, not at the
    first snapshot.
    """
    every = whole_number("every", every, MAX_STEPS)
    if every == 0:
        raise ValueError("every must be at least 1, not 0")
    plan = _Plan(classifier, images, labels, config, debias, batch_size)
    plan.images = images.detach().clone()  # the caller may write to theirs before the first snapshot
    return _snapshots(classifier, plan, every)


def _snapshots(classifier: nn.Module, plan: _Plan, every: int) -> Iterator[Snapshot]:
    originals, steps = plan.images, plan.config.steps
    with frozen_copy(classifier, originals) as network:
        size = plan.batch_size(network)
        walks = [plan.walk(network, rows, size) for rows in _slices(len(originals), size.images)]
        standings = [next(walk) for walk in walks]
        for step in range(steps + 1):
            if step:
                # A batch whose images all rest has no next step: it stands where it stood.
                standings = [next(walk, standing) for walk, standing in zip(walks, standings, strict=True)]
            last = step == steps
            if not last and plan.config.stop_at is not None:
                last = all(bool(standing.resting.all()) for standing in standings)
            if last or step % every == 0:
                images, logits, resting, labels = (
                    torch.cat([getattr(standing, field) for standing in standings]).to(originals.device)
                    for field in ("images", "logits", "resting", "labels")
                )
                yield Snapshot(step, images, logits, resting, labels)
            if last:
                return


def logits_of(classifier: nn.Module, images: Tensor, batch_size: int | None = None) -> Tensor:
    """f(x) as boosting sees it: (N, 3, H, W) in [0, 1] -> (N, C), in the images' dtype and on their device.

    Eval mode, without gradients, through a private copy, in batches that fit into memory. Raises ValueError
    as `boost` does.
    """
    check_images(images)
    check_classifier(classifier)
    batch_size = checked_batch_size(batch_size)
    with frozen_copy(classifier, images) as network, private_modes(network.device):
        size = BatchSize(batch_size or fitting_batch_size(network, images))

        def compute(batch: Tensor) -> tuple[Tensor]:
            return (_checked_logits(network, batch.to(network.device)).to(images.device),)

        (logits,) = in_batches(compute, size, images.detach())
    _check_finite(logits, "for these images")
    return logits


class _Plan:
    """A request to boost, checked, and the walk of any batch of it."""

    def __init__(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Labels | None,
        config: BoostConfig,
        debias: Tensor | np.ndarray | Sequence[float] | None,
        batch_size: int | None,
    ) -> None:
        check_classifier(classifier)
        check_images(images)
        if not isinstance(config, BoostConfig):
            raise ValueError(f"config must be a BoostConfig, not {type(config).__name__}")
        if labels is not None and debias is not None:
            raise ValueError(
                "labels and debias were both given: debiasing plays a part only where targets are estimated; "
                "leave one of them out"
            )
        self.images = images
        self.config = config
        self.labels = None if labels is None else checked_labels(labels, len(images))
        self.shift = None if debias is None else checked_shift(debias)
        self.l0 = _reference_l0(classifier, config)
        self._given_batch_size = checked_batch_size(batch_size)
        classes = getattr(classifier, "classes", None)
        if isinstance(classes, Sized) and len(classes):
            self.check_classes(len(classes))

    def batch_size(self, network: FrozenNetwork) -> BatchSize:
        chosen = self._given_batch_size or fitting_batch_size(network, self.images)
        return BatchSize(min(chosen, len(self.images)))

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

    def walk(self, network: FrozenNetwork, rows: slice, size: BatchSize) -> Iterator[_Standing]:
        """P1 Alg. 1 on these images: where they all stand, before the first step and after each.

        One object, updated in place. Ends early once all rest.
        """
        device, dtype, config = network.device, network.dtype, self.config
        with private_modes(device):
            x = self.images[rows].detach().to(device, copy=True, memory_format=torch.contiguous_format)
            l0 = None if self.l0 is None else self.l0.to(device, dtype)
            shift = None if self.shift is None else self.shift.to(device, dtype)
            given = torch.full((len(x),), -1) if self.labels is None else self.labels[rows]
            targets = _Targets(network, loss_named(config.loss, l0), given.to(device, copy=True), shift, size, self)
            rests = None if config.stop_at is None else _rest_rule(config.stop_at, l0, targets)
            points = targeted_pgd(targets, x, config.threat_model, config.alpha, config.steps, rests)
        standing = None
        for step in range(config.steps + 1):
            with private_modes(device):
                point = next(points, None)
                if point is None:
                    break
                if standing is None:
                    _check_finite(point.logits, "for these images")
                    standing = _Standing(x.clone(), point.logits, targets.labels)
                standing.update(step, point.rows, point.images, point.logits, point.resting)
            if step == config.steps or (rests is not None and bool(standing.resting.all())):
                when = f"after {step} steps of size {config.alpha:g}: try smaller steps"
                _check_finite(standing.logits, when)
            yield standing


class _Standing:
    """Where all images of a batch stand."""

    def __init__(self, images: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.step = 0
        self.images = images
        self.labels = labels
        self.logits_before = logits
        self.logits = logits.clone()
        self.resting = torch.zeros_like(labels, dtype=torch.bool)
        self.steps_taken = torch.zeros_like(labels)

    def update(self, step: int, rows: Tensor, images: Tensor, logits: Tensor, resting: Tensor) -> None:
        self.step = step
        self.images.index_copy_(0, rows, images)
        self.logits.index_copy_(0, rows, logits)
        self.resting.index_copy_(0, rows, resting)
        self.steps_taken.index_fill_(0, rows, step)

    def moved_to(self, device: torch.device) -> _Standing:
        for name in ("images", "labels", "logits_before", "logits", "resting", "steps_taken"):
            setattr(self, name, getattr(self, name).to(device))
        return self


class _Targets:
    """P1 Alg. 2's objective for one batch: the loss towards each image's class, settled at the first look."""

    def __init__(
        self,
        network: FrozenNetwork,
        loss: Loss,
        labels: Tensor,
        shift: Tensor | None,
        size: BatchSize,
        plan: _Plan,
    ) -> None:
        self.labels = labels  # (n,) int64, -1 where the target is still to be estimated
        self._network = network
        self._loss = loss
        self._shift = shift
        self._size = size
        self._plan = plan

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        def compute(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = images.detach().requires_grad_()
                logits = self._look(leaf, rows)
                if not logits.requires_grad:
                    raise ValueError(
                        "the classifier's logits carry no gradient to the images: it must be differentiable "
                        "(no torch.no_grad, detach, rounding or argmax inside)"
                    )
                # The sum, so that each image's gradient is its own whatever the batch.
                total = self._loss(logits, self.labels[rows]).sum()
                (gradient,) = torch.autograd.grad(total, leaf)
            return logits.detach(), gradient

        logits, gradient = in_batches(compute, self._size, images, rows)
        return logits, gradient

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        (logits,) = in_batches(lambda images, rows: (self._look(images, rows),), self._size, images, rows)
        return logits

    def _look(self, images: Tensor, rows: Tensor) -> Tensor:
        logits = _checked_logits(self._network, images)
        self._plan.check_classes(logits.shape[1])
        shifted = logits.detach() if self._shift is None else logits.detach() + self._shift
        known = self.labels[rows]
        self.labels[rows] = torch.where(known < 0, shifted.argmax(dim=1), known)
        return logits


def _rest_rule(
    stop_at: float | Literal["l0"], l0: Tensor | None, targets: _Targets
) -> Callable[[Tensor, Tensor], Tensor]:
    """Which images rest (P2's image-dependent early stop): those that read as real, or as sure enough."""
    if stop_at != "l0":

        def sure_enough(logits: Tensor, rows: Tensor) -> Tensor:
            labels = targets.labels[rows]
            return logits.softmax(dim=1).gather(1, labels[:, None])[:, 0] >= stop_at

        return sure_enough

    def real_enough(logits: Tensor, rows: Tensor) -> Tensor:
        assert l0 is not None  # _reference_l0 saw to it
        labels = targets.labels[rows]
        return realism(logits, labels) >= l0.expand(logits.shape[1])[labels]

    return real_enough


def _result(originals: Tensor, batches: list[_Standing]) -> BoostResult:
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
    )


@contextmanager
def private_modes(device: torch.device) -> Iterator[None]:
    """No trace of the caller's no_grad, inference_mode or autocast; never held while a generator waits."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.no_grad())
        if torch.amp.is_autocast_available(device.type):
            modes.enter_context(torch.autocast(device.type, enabled=False))
        modes.enter_context(exact_arithmetic(device))
        yield


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _checked_logits(network: FrozenNetwork, images: Tensor) -> Tensor:
    logits = network(images)
    if not isinstance(logits, Tensor):
        raise ValueError(f"the classifier must return logits (N, C) as a tensor, not {type(logits).__name__}")
    if logits.dim() != 2 or len(logits) != len(images) or not logits.shape[1]:
        raise ValueError(
            f"the classifier must return logits (N, C), but returned {tuple(logits.shape)} for {len(images)} images"
        )
    return logits.to(network.dtype)


def _check_finite(logits: Tensor, when: str) -> None:
    if not bool(logits.isfinite().all()):
        raise ValueError(f"the classifier's logits are not all finite {when}")


def _reference_l0(classifier: nn.Module, config: BoostConfig) -> Tensor | None:
    """ℓ₀ from the config, else from the classifier's card, () or (C,); None where the run needs none."""
    needs = "loss 'combined' (P2 Eq. 13)" if config.loss == "combined" else None
    needs = needs or ("stop_at 'l0'" if config.stop_at == "l0" else None)
    card = getattr(classifier, "card", None)
    if needs is None:
        if config.loss != "ce" and config.l0 is None and getattr(card, "l0", 0.0) is None:
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
    return torch.tensor(l0, dtype=torch.float64)
