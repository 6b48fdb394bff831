"""The systems that the two papers boost, each with the road from its weights or images to boosting them here."""

from __future__ import annotations

from dataclasses import dataclass

from bigroc_core.presets import PAPER_PRESETS

TRAINED, NATIVE, PIPELINE, IMAGES = "trained here", "native", "diffusers", "images"
ROADS = {
    TRAINED: "Weights come along.",
    NATIVE: "Published weights as downloaded, read as tensors only; which network they are is told by their names.",
    PIPELINE: "A diffusers pipeline, by folder or Hub name, fetched when it is first used.",
    IMAGES: "The images themselves: a folder, a zip or an .npz as guided-diffusion writes it.",
}
# A robust classifier of the classes and size that P2's systems are boosted with.
IMAGENET_CLASSIFIER = "madrylab/resnet50_l2_eps3"


@dataclass(frozen=True)
class System:
    """One row of a paper's tables.

    name: as the paper has it. table: where it stands. road: one of ROADS. source: what is boosted, as the command line
    takes it. preset: the paper's settings in PAPER_PRESETS, or None where they cannot be read. family: as `train
    generator` trains it, or None.
    """

    name: str
    table: str
    road: str
    source: str
    preset: str | None = None
    family: str | None = None

    @property
    def command(self) -> str:
        """The command line that boosts it."""
        program = "python -m bigroc_core"
        if self.preset is None:
            return f"{program} boost {self.source} boosted/"
        classifier = f" --classifier {IMAGENET_CLASSIFIER}" if PAPER_PRESETS[self.preset].size > 32 else ""
        return f"{program} boost {self.source} boosted/ --preset {self.preset}{classifier}"


def _first(name: str, table: int, road: str, source: str, preset: str | None, family: str | None) -> System:
    return System(name, f"P1 Table {table}", road, source, preset, family)


_MIMICRY = "generator:netG_100000_steps.pth"

SYSTEMS = (
    _first("CGAN", 1, TRAINED, "generator:cifar10-cgan", "p1-cgan", "cgan"),
    _first("cGAN-PD", 1, NATIVE, _MIMICRY, "p1-cgan-pd", "cgan-pd"),
    _first("BigGAN (CIFAR)", 1, NATIVE, "generator:biggan-cifar10.pth", "p1-biggan", "biggan"),
    _first(
        "DiffAugment BigGAN",
        1,
        NATIVE,
        "generator:DiffAugment-biggan-cifar10.pth",
        "p1-diffaugment-biggan",
        "diffaugment-biggan",
    ),
    _first("StyleGAN2-ADA", 1, IMAGES, "samples.npz", "p1-stylegan2-ada", None),
    _first("VAE", 2, TRAINED, "generator:cifar10-vae", None, "vae"),
    _first("DCGAN", 2, TRAINED, "generator:cifar10-dcgan", None, "dcgan"),
    _first("WGAN-GP", 2, NATIVE, _MIMICRY, "p1-wgan-gp", "wgan-gp"),
    _first("SNGAN", 2, NATIVE, _MIMICRY, "p1-sngan", "sngan"),
    _first("InfoMax-GAN", 2, NATIVE, _MIMICRY, "p1-infomax-gan", "infomax-gan"),
    _first("SSGAN", 2, NATIVE, _MIMICRY, "p1-ssgan", "ssgan"),
    System(
        "Consistency training, 1 step", "P2 Table 1", PIPELINE, "generator:ct-imagenet64-1", "p2-ct-1", "consistency"
    ),
    System(
        "Consistency training, 2 steps", "P2 Table 1", PIPELINE, "generator:ct-imagenet64-2", "p2-ct-2", "consistency"
    ),
    System("Consistency distillation, 1 step", "P2 Table 1", PIPELINE, "generator:cd-imagenet64-1", "p2-cd-1"),
    System("Consistency distillation, 2 steps", "P2 Table 1", PIPELINE, "generator:cd-imagenet64-2", "p2-cd-2"),
    System("ADM", "P2 Table 2", IMAGES, "samples.npz", "p2-adm"),
    System("BigGAN (ImageNet)", "P2 Table 2", IMAGES, "samples.npz", "p2-biggan"),
    System("iDDPM", "P2 Table 2", IMAGES, "samples.npz", "p2-iddpm"),
)


def system_of(family: str) -> System | None:
    """The row of the papers' tables that a family of `train generator` stands for, or None."""
    return next((system for system in SYSTEMS if system.family == family), None)
