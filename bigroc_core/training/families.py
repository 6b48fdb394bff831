"""The families of P1's tables, each a combination of networks, losses and augmentations."""

from __future__ import annotations

from dataclasses import dataclass

from bigroc_core.generators.sizes import NAMED, SIDES
from bigroc_core.training.critics import Critic, DCGANBackbone, ResNetBackbone


@dataclass(frozen=True)
class Family:
    """How a kind of generator is trained.

    architecture: the generator's, as its registry knows it. conditional: whether both networks are told the label.
    loss: one of ADVERSARIAL. critic: its backbone, "dcgan" or "resnet". critic_steps: of the critic per step of the
    generator. penalty: weight of WGAN-GP's gradient penalty, whose critic has layer instead of spectral normalisation.
    turns: weights of the rotation loss for critic and generator. infomax: weight of InfoMax-GAN's loss for both.
    augmentation: what the critic sees of all images. betas: Adam's.
    """

    architecture: str
    conditional: bool = False
    loss: str = "hinge"
    critic: str = "resnet"
    critic_steps: int = 1
    penalty: float = 0.0
    turns: tuple[float, float] = (0.0, 0.0)
    infomax: float = 0.0
    augmentation: tuple[str, ...] = ()
    betas: tuple[float, float] = (0.0, 0.9)


# Losses, critic steps and weights as in the papers, and where those are silent as in the Mimicry library, whose models
# P1 boosts. BigGAN's critic here is SNGAN's with a projection, as on CIFAR-10 it nearly is.
FAMILIES = {
    "dcgan": Family("dcgan", critic="dcgan", betas=(0.5, 0.999)),
    "cgan": Family("dcgan", conditional=True, critic="dcgan", betas=(0.5, 0.999)),
    "wgan-gp": Family("resnet32", loss="wasserstein", critic_steps=5, penalty=10.0),
    "sngan": Family("resnet32", critic_steps=5),
    "ssgan": Family("resnet32", critic_steps=2, turns=(1.0, 0.2)),
    "infomax-gan": Family("resnet32", critic_steps=5, infomax=0.2),
    "cgan-pd": Family("resnet32", conditional=True, critic_steps=5),
    "biggan": Family("biggan", conditional=True, critic_steps=4, betas=(0.0, 0.999)),
    "diffaugment-biggan": Family(
        "biggan", conditional=True, critic_steps=4, betas=(0.0, 0.999), augmentation=("translation", "cutout")
    ),
}

# Trained by its evidence lower bound, without a critic; its decoder is DCGAN's generator.
VAE = "vae"
# Trained by consistency with itself, without a critic; a diffusers pipeline.
CONSISTENCY = "consistency"
# Gaussians of 8×8 pixels, fitted in closed form.
SEEDS = "seeds"

# Dimensions that InfoMax-GAN compares local and global features in, per channel of the critic (published: 8 × 128).
INFOMAX_PER_CHANNEL = 8

KNOWN = (*FAMILIES, VAE, CONSISTENCY, SEEDS)


def check_size(family: str, size: tuple[int, int]) -> None:
    """ValueError for images of a size (height, width) that a family does not make: all but `seeds`, which makes images
    of any size, are of one of SIDES."""
    if family != SEEDS and size[0] not in SIDES:
        raise ValueError(
            f"{family} makes images of {NAMED} pixels a side, and the data are at {size[0]}; give --size, or "
            f"--family {SEEDS}, which makes images of any size"
        )


def build_critic(family: Family, width: int, classes: int, auxiliary: bool, size: int = 32) -> Critic:
    """A family's critic of images of `size` pixels a side; width: channels of a ResNet, or of a DCGAN's first layer."""
    spectral = family.penalty == 0
    dcgan = family.critic == "dcgan"
    backbone = DCGANBackbone(width, size) if dcgan else ResNetBackbone(width, size, spectral=spectral)
    return Critic(
        backbone,
        classes=classes,
        auxiliary=auxiliary,
        turns=family.turns[0] > 0,
        infomax=INFOMAX_PER_CHANNEL * backbone.channels if family.infomax else 0,
        spectral=spectral,
    )
