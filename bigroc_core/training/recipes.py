"""How a classifier, a joint model or a generator is trained: all that decides what comes out, but for the images."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass, field
from typing import Any

from bigroc_core.engine.precision import fastest_precision
from bigroc_core.settings import Setting, setting
from bigroc_core.training.augmentation import AUGMENTATIONS
from bigroc_core.training.families import CONSISTENCY, KNOWN, SEEDS

NAME = "name of the checkpoint"
ARGUMENTS = Setting(help="of the network, as JSON")
PRECISION = Setting(help="bf16 is several times slower where the hardware lacks it", choices=("bf16", "fp32"))
AVERAGE = "decay of the running average of weights that is measured and exported"
LARGEST_SEED = 2**31 - 1
LAST, BEST = KEPT = ("last", "best")


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """How a classifier is trained.

    eps: L2 radius of the training attack in [0, 1] pixel units; 0 trains plainly. attack_steps: its PGD steps.
    lr: peak learning rate, reached linearly over `warmup` steps, kept for a fifth of the run, then linear to 0.
    ema: decay of the running average of weights that is evaluated and shipped. keep: which epoch's; "best" is that of
    the highest accuracy on held-out images, under attack where there is one: a small data set is learnt by heart in the
    last epochs, and its robustness with it (Rice et al. 2020).
    """

    name: str = setting(MISSING, NAME)
    architecture: str = setting("resnet9", "of the network")
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"setting": ARGUMENTS})
    eps: float = setting(0.0, "L2 radius, images in [0, 1]", least=0, most=1_000)
    attack_steps: int = setting(1, "PGD steps of the attack in training", least=1, most=1_000)
    epochs: int = setting(20, "passes over the training images", least=1, most=100_000)
    batch_size: int = setting(128, "images of a step", least=1, most=100_000)
    lr: float = setting(0.1, "peak learning rate", least=0, most=1_000)
    momentum: float = setting(0.9, "of SGD", least=0, most=1)
    weight_decay: float = setting(5e-4, "of matrices and kernels", least=0, most=1_000)
    label_smoothing: float = setting(0.1, "of the cross-entropy", least=0, most=1)
    warmup: int = setting(300, "steps in which the learning rate rises", least=0, most=10**9)
    ema: float = setting(0.999, AVERAGE, least=0, most=1)
    augmentation: str = setting("crop-flip", "of training images", choices=AUGMENTATIONS)
    keep: str = setting("last", "the epoch to export: the last, or the best on held-out images", choices=KEPT)
    precision: str = field(default_factory=fastest_precision, metadata={"setting": PRECISION})
    seed: int = setting(0, "of weights, order and every draw", least=0, most=LARGEST_SEED)

    def entries(self) -> dict[str, Any]:
        """As states and cards hold it: as ever where nothing is chosen."""
        return {name: value for name, value in dataclasses.asdict(self).items() if (name, value) != ("keep", LAST)}


@dataclass(frozen=True, kw_only=True)
class JointRecipe:
    """How a joint model is trained. Sizes of attacks are L2, in units of images in [0, 1].

    init: the robust classifier that training starts from; init_options: what was said of it besides. real, generated:
    names of the images; weights: each source's share of the generated ones. vanilla: train on the images as they are,
    attacking none.
    real_*: the attack on real images. generated_*: the attack on generated ones, whose number of steps T grows by one
    every `grow_every` iterations from `first_steps` to `last_steps`; None lets the run reach the last just before its
    end. batch_size: real images of each iteration, and as many generated ones. lr: of the body, reached linearly over
    `warmup` iterations; lr_head: of the fresh head. Both are kept for a fifth of the run, then fall linearly to 0.
    """

    name: str = setting(MISSING, NAME)
    init: str
    real: str
    generated: tuple[str, ...]
    weights: tuple[float, ...]
    size: tuple[int, int]
    init_options: dict[str, str] = field(default_factory=dict)
    vanilla: bool = setting(False, "attack nothing: P2's non-robust joint model")
    real_eps: float = setting(0.5, "radius of the attack on real images", least=0, most=10_000)
    real_step_size: float = setting(0.25, "of the attack on real images", least=0, most=10_000)
    real_steps: int = setting(2, "of the attack on real images", least=0, most=1_000)
    generated_eps: float = setting(5.0, "radius of the attack on generated images", least=0, most=10_000)
    generated_step_size: float = setting(0.2, "of the attack on generated images", least=0, most=10_000)
    first_steps: int = setting(1, "T of the attack on generated images at first", least=0, most=10_000)
    last_steps: int = setting(8, "T at the end", least=0, most=10_000)
    grow_every: int | None = setting(
        None,
        "iterations after which T grows by one; default: evenly, so that it gets to --last-steps",
        least=1,
        most=10**9,
    )
    steps: int = setting(3_000, "iterations", least=1, most=10**9)
    batch_size: int = setting(32, "real images of each, and as many generated ones", least=1, most=100_000)
    lr: float = setting(0.01, "peak learning rate of the body", least=0, most=1_000)
    lr_head: float = setting(0.1, "of the fresh head", least=0, most=1_000)
    momentum: float = setting(0.9, "of SGD", least=0, most=1)
    weight_decay: float = setting(5e-4, "of matrices and kernels", least=0, most=1_000)
    warmup: int = setting(200, "iterations in which the body's rate rises", least=0, most=10**9)
    ema: float = setting(0.998, AVERAGE, least=0, most=1)
    augmentation: str = setting("flip", "of real and generated alike", choices=AUGMENTATIONS)
    precision: str = field(default_factory=fastest_precision, metadata={"setting": PRECISION})
    seed: int = setting(0, "of the head, order and every draw", least=0, most=LARGEST_SEED)

    def entries(self) -> dict[str, Any]:
        """As states and cards hold it, without what was not said."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "init_options" or value}


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What a run's log tells: of how many held-out images of each kind, and how often."""

    watched: int = setting(256, "held-out images of each kind for the curves", least=2, most=100_000)
    reports: int = setting(20, "points of the curves", least=1, most=10_000)


CURVES = Curves()


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """How a generator is trained.

    family: one of KNOWN. arguments: of the generator's network. discriminator_width: of the critic, or a VAE's
    encoder. auxiliary: weight of the auxiliary classifier's cross-entropy in both losses (Odena et al. 2017),
    conditional only. lr_generator, lr_discriminator: Adam's rates, constant for half of the run, then linear to a
    tenth. ema: decay of the running average that is sampled and shipped. deviation: σ of a VAE's pixels, which are in
    [-1, 1]. intervals: between a consistency model's noise levels, at the start and at the end; iCT (Song & Dhariwal
    2023) ends at 1280, after 400,000 steps. log_sigma: mean and deviation of ln σ as they are drawn (its Section 3.5).
    """

    name: str = setting(MISSING, NAME)
    family: str = setting(MISSING, "networks, losses and augmentation", choices=KNOWN)
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"setting": ARGUMENTS})
    discriminator_width: int = setting(40, "of the critic, or a VAE's encoder", least=1, most=10_000)
    steps: int = setting(10_000, "of the generator", least=1, most=10**9)
    batch_size: int = setting(64, "images of a step", least=1, most=100_000)
    lr_generator: float = setting(2e-4, "of the generator", least=0, most=1_000)
    lr_discriminator: float = setting(4e-4, "of the critic", least=0, most=1_000)
    auxiliary: float = setting(0.0, "weight of the auxiliary classifier, if conditional", least=0, most=1_000)
    deviation: float = setting(0.3, "σ of a VAE's pixels, which are in [-1, 1]", least=1e-6, most=1_000)
    ema: float = setting(0.999, AVERAGE, least=0, most=1)
    intervals: tuple[int, int] = setting(
        (10, 80), "between a consistency model's noise levels: how many at first and at last, doubled in between"
    )
    log_sigma: tuple[float, float] = setting(
        (-1.1, 2.0), "mean and deviation of the logarithm of a consistency model's noise levels as they are drawn"
    )
    precision: str = field(default_factory=fastest_precision, metadata={"setting": PRECISION})
    seed: int = setting(0, "of weights and every draw", least=0, most=LARGEST_SEED)

    def entries(self) -> dict[str, Any]:
        """As states and cards hold it, without what plays no part in the family."""
        if self.family == SEEDS:
            return {"name": self.name, "family": self.family}
        idle = () if self.family == CONSISTENCY else ("intervals", "log_sigma")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in idle}
