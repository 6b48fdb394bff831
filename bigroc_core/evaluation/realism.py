"""How real images read to a joint model, and how well it tells generated ones from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bigroc_core.images.splits import Images
from bigroc_core.losses import class_logits

# Of softplus(f_c) over real images, by which one image's reading can be placed.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@torch.no_grad()
def scores(model: nn.Module, images: Tensor, labels: Tensor | None, batch: int = 250) -> Tensor:
    """f_c of images (N, 3, H, W) in [0, 1], (N,) on the CPU. labels: (N,) int64; None takes each image's largest logit.

    The model is used in the mode it is in.
    """
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(images), batch):
        logits = model(images[start : start + batch].to(device, memory_format=torch.channels_last)).float().cpu()
        found.append(logits.amax(1) if labels is None else class_logits(logits, labels[start : start + batch].cpu()))
    return torch.cat(found) if found else torch.empty(0)


def separation(real: Tensor, generated: Tensor) -> float:
    """The area under the ROC curve: how probably a real image scores above a generated one, ties counting half.

    real, generated: scores (N,) and (M,); softplus(f_c) and f_c give the same. Raises ValueError where either is empty.
    """
    if not (len(real) and len(generated)):
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images cannot be told apart: both are needed"
        )
    ordered = generated.double().sort().values
    below = torch.searchsorted(ordered, real.double()) + torch.searchsorted(ordered, real.double(), right=True)
    return float(below.double().mean() / (2 * len(generated)))


def realism_statistics(model: nn.Module, images: Images, batch: int = 250) -> dict[str, Any]:
    """softplus(f_c) of real images: its mean "l0" (P2 Eq. 14), per class "l0_of_class", "std" and "quantiles".

    A class without images has None. Raises ValueError for no images.
    """
    if not len(images):
        raise ValueError("ℓ₀ is a mean over real images, and there are none")
    found = torch.cat(
        [
            scores(model, images.floats(slice(start, start + batch)), images.labels[start : start + batch], batch)
            for start in range(0, len(images), batch)
        ]
    )
    readings = F.softplus(found.double(), threshold=1e9)
    classes = int(images.labels.max()) + 1
    of_class = [readings[images.labels == label] for label in range(classes)]
    levels = readings.quantile(torch.tensor(QUANTILES, dtype=torch.float64))
    return {
        "images": len(images),
        "l0": float(readings.mean()),
        "l0_of_class": [float(one.mean()) if len(one) else None for one in of_class],
        "std": float(readings.std(correction=0)),
        "quantiles": {f"{level:g}": float(value) for level, value in zip(QUANTILES, levels, strict=True)},
    }
