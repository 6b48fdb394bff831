"""Reading checkpoint files without ever running code from them, and putting their weights into a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, on the CPU; ValueError if missing or truncated."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {path} cannot be read as safetensors: {error}") from error


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def load_weights(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copy `state` into `network` in the network's own precision; strict but for BatchNorm's batch counters.

    The counters (`num_batches_tracked`) have no part in inference. what: file and architecture, for messages.
    Raises ValueError, one line, if keys are missing or left over, or shapes differ.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in expected]
    different = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    complaints = [
        f"{len(keys)} {label} ({_some(keys)})"
        for label, keys in (("missing", missing), ("unexpected", extra), ("of another shape", different))
        if keys
    ]
    if complaints:
        raise ValueError(f"{what} do not fit together: weights " + "; ".join(complaints))
    with torch.no_grad():
        for key, value in expected.items():
            if key in state:
                value.copy_(state[key])
