"""Digests by which what a network computes is told from what another one does."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def digest_of_weights(described: list[Any], module: nn.Module) -> str:
    """SHA-256 of a description and all of a module's tensors."""
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            if tensor.ndim
            else str(tensor.item()).encode()
        )
    return digest.hexdigest()
