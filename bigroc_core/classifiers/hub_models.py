"""Classifiers of the Hugging Face Hub that are known by name: all robust ImageNet models of Salman et al. 2020."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class HubEntry:
    """A published checkpoint: its repository and file on the Hugging Face Hub, its architecture and classes.

    parameters: of the network. robust: whether it was trained against attacks.
    """

    repo: str
    file: str
    architecture: str
    classes: int
    title: str
    parameters: int
    robust: bool = True

    @property
    def megabytes(self) -> int:
        """Of its weights, in float32."""
        return round(4 * self.parameters / 2**20)


_REPOSITORY = "madrylab/robust-imagenet-models"
# File names as the repository has them: some radii are written 3, others 4.0.
_L2 = ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5")
_LINF = ("0.5", "1.0", "2.0", "4.0", "8.0")
# By name there: the architecture, its title, its parameters, and the radii that were trained.
_NETWORKS = {
    "resnet18": ("resnet18", "ResNet-18", 11_689_512, _L2, _LINF),
    "resnet50": ("resnet50", "ResNet-50", 25_557_032, _L2, _LINF),
    "wide_resnet50_2": ("wide_resnet50_2", "WRN-50-2", 68_883_240, _L2, _LINF),
    "wide_resnet50_4": ("wide_resnet50_4", "WRN-50-4", 223_439_144, _L2, ()),
    "densenet": ("densenet161", "DenseNet-161", 28_681_000, ("0", "3"), ()),
    "mnasnet": ("mnasnet1_0", "MNASNet", 4_383_312, ("0", "3"), ()),
    "mobilenet": ("mobilenet_v2", "MobileNet-v2", 3_504_872, ("0", "3"), ()),
    "resnext50_32x4d": ("resnext50_32x4d", "ResNeXt-50 32x4d", 25_028_904, ("0", "3"), ()),
    "shufflenet": ("shufflenet_v2_x1_0", "ShuffleNet-v2", 2_278_604, ("0", "3"), ()),
    "vgg16_bn": ("vgg16_bn", "VGG-16 with BatchNorm", 138_365_992, ("0", "3"), ()),
}


def _salman() -> Iterator[tuple[str, HubEntry]]:
    for name, (architecture, title, parameters, l2, linf) in _NETWORKS.items():
        for norm, eps in (*(("l2", eps) for eps in l2), *(("linf", eps) for eps in linf)):
            robust = float(eps) > 0
            radius = f"L2-robust, ε = {eps}" if norm == "l2" else f"L∞-robust, ε = {float(eps):g}/255"
            told = f"{title}, ImageNet, {radius if robust else 'standard training'} (Salman et al. 2020)"
            file = f"{name}_{norm}_eps{eps}"
            yield (
                f"madrylab/{file}",
                HubEntry(_REPOSITORY, f"{file}.ckpt", architecture, 1000, told, parameters, robust),
            )


HUB_CLASSIFIERS = dict(_salman())
