"""The papers' own boosting settings, one for each row of their tables, in this project's units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigroc_core.boosting import BoostConfig

# The scale of pixels that a paper's ε is printed in; P2 does not state its own, and is taken as [0, 1].
SIGNED, UNIT, UNSTATED = "[-1, 1]", "[0, 1]", "[0, 1] (not stated)"


@dataclass(frozen=True)
class PaperPreset:
    """The settings of one row of a paper's tables.

    system: as the paper names it. source: paper and table. size: side of the images in pixels; radii do not carry over
    to another. printed_eps: the L2 radius as printed, on pixels of `scale`. printed_step_size: α as printed, on the
    same scale; None is ε/T. view: what the paper's classifier saw where that is not its input size, as `boost`'s.
    """

    system: str
    source: str
    size: int
    printed_eps: float
    scale: str
    steps: int
    printed_step_size: float | None = None
    view: str | None = None

    @property
    def config(self) -> BoostConfig:
        """The settings in units of images in [0, 1]."""
        per_unit = 0.5 if self.scale == SIGNED else 1.0
        alpha = None if self.printed_step_size is None else per_unit * self.printed_step_size
        return BoostConfig(eps=per_unit * self.printed_eps, steps=self.steps, step_size=alpha)

    @property
    def summary(self) -> str:
        """One line: system, source, ε in both scales and T."""
        eps = self.config.eps
        return (
            f"{self.system} ({self.source}, {self.size} px): ε {eps:g} on [0, 1] = {2 * eps:g} on [-1, 1], "
            f"T {self.steps}"
        )


def _cifar10(system: str, eps: float, table: str) -> PaperPreset:
    return PaperPreset(system, f"P1 Table {table}", 32, eps, SIGNED, 30)


def _notebook(system: str, size: int, eps: float) -> PaperPreset:
    # α = 1.5·ε/T. The classifier, made for 224 pixels, is shown the images as they are.
    return PaperPreset(system, "P1's notebooks", size, eps, UNIT, 7, 1.5 * eps / 7, None if size == 32 else "native")


def _second(system: str, table: int, steps: int, step_size: float) -> PaperPreset:
    return PaperPreset(system, f"P2 Tables {table} and 4", 64, 10.0, UNSTATED, steps, step_size, "native")


# VAE and DCGAN are missing: what P1 prints for them cannot be read, so theirs are swept.
PAPER_PRESETS: dict[str, PaperPreset] = {
    "p1-cgan": _cifar10("CGAN", 5.0, "1"),
    "p1-cgan-pd": PaperPreset("cGAN-PD", "P1 Table 1", 32, 3.0, SIGNED, 7, 1.5 * 3.0 / 7),
    "p1-biggan": _cifar10("BigGAN", 1.0, "1"),
    "p1-diffaugment-biggan": _cifar10("DiffAugment BigGAN", 1.0, "1"),
    "p1-stylegan2-ada": _cifar10("StyleGAN2-ADA", 0.28, "1"),
    "p1-wgan-gp": _cifar10("WGAN-GP", 5.0, "2"),
    "p1-sngan": _cifar10("SNGAN", 5.0, "2"),
    "p1-infomax-gan": _cifar10("InfoMax-GAN", 3.0, "2"),
    "p1-ssgan": _cifar10("SSGAN", 3.0, "2"),
    "p1-sn-resnet-cifar10": _notebook("SN-ResNet GAN, CIFAR-10", 32, 1.8),
    "p1-sn-resnet-imagenet": _notebook("SN-ResNet GAN, ImageNet", 128, 15.0),
    "p1-adm-g-128": _notebook("ADM-G", 128, 1.5),
    "p1-adm-g-256": _notebook("ADM-G", 256, 3.0),
    "p1-adm-gu-256": _notebook("ADM-G, upsampled", 256, 1.0),
    "p1-biggan-deep-128": _notebook("BigGAN-deep", 128, 5.0),
    "p1-biggan-deep-256": _notebook("BigGAN-deep", 256, 1.0),
    "p2-ct-1": _second("Consistency training, 1 step", 1, 35, 0.1),
    "p2-ct-2": _second("Consistency training, 2 steps", 1, 25, 0.1),
    "p2-cd-1": _second("Consistency distillation, 1 step", 1, 15, 0.15),
    "p2-cd-2": _second("Consistency distillation, 2 steps", 1, 7, 0.14),
    "p2-adm": _second("ADM", 2, 7, 0.14),
    "p2-biggan": _second("BigGAN, ImageNet", 2, 15, 0.1),
    "p2-iddpm": _second("iDDPM", 2, 7, 0.14),
}


def paper_preset(name: str) -> PaperPreset:
    """A row's settings by its name; ValueError, listing the names, for an unknown one."""
    if name not in PAPER_PRESETS:
        raise ValueError(f"there is no paper preset {name!r}; there are {', '.join(PAPER_PRESETS)}")
    return PAPER_PRESETS[name]


def settings_of(name: str) -> dict[str, Any]:
    """A row's settings as a card's preset has them: eps, steps, step_size, in units of images in [0, 1].

    And `view`, where the paper's classifier saw the images otherwise than at its own input size.
    """
    preset = paper_preset(name)
    view = {} if preset.view is None else {"view": preset.view}
    return {"eps": preset.config.eps, "steps": preset.config.steps, "step_size": preset.config.step_size, **view}
