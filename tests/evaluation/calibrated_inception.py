"""An Inception-v3 of random weights that behaves: for checking formulas where the real weights cannot be had."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


def write_calibrated_inception(path: Path, images: Tensor) -> Path:
    """He-initialised weights whose BatchNorm statistics are those of images (N, 3, H, W) uint8, in torch-fidelity's
    format. The last layer is scaled so that the class probabilities are neither uniform nor one-hot."""
    torch.manual_seed(0)
    network = _Blank("inception-v3-compat", ["2048", "logits_unbiased"])
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch below
    network.train()
    with torch.no_grad():
        network(images)
    network.eval()
    with torch.no_grad():
        logits = network(images)[1]
        network.fc.weight /= logits.std() / 2
    torch.save(network.state_dict(), path)
    return path


class _Blank(FeatureExtractorInceptionV3):
    """torch-fidelity's network before any weights are read: it has no other way to be made without a file."""

    def __init__(self, name: str, features: list[str]) -> None:
        with _nothing_read():
            super().__init__(name, features, feature_extractor_weights_path="none")


class _nothing_read:
    def __enter__(self) -> None:
        self._load, torch.load = torch.load, lambda *_, **__: {}
        self._strict, nn.Module.load_state_dict = nn.Module.load_state_dict, lambda *_, **__: None

    def __exit__(self, *_: object) -> None:
        torch.load, nn.Module.load_state_dict = self._load, self._strict
