"""Reading checkpoint files without ever running code from them, and putting their weights into a network."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class _NumpyScalar:
    """Stands where a checkpoint records a numpy number (an accuracy, say): the value is not needed, nor built."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# Old and new numpy name these differently; by name, reading does not depend on the numpy installed here.
_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_NumpyScalar, name) for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]
# torch keeps its allow-list, and Python its warning filters, in one place per process: one read at a time.
_READING = threading.Lock()

_ADVICE = "if you trust its origin, open it where it was made and save the state dict alone"


@contextmanager
def weights_only() -> Iterator[None]:
    """Within it every torch.load of this process, other libraries' too, is limited to weights and numpy scalars."""
    with _READING, torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
            else:
                os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


@dataclass(frozen=True)
class StateDict:
    """A network's weights by name, wrappers' prefixes removed, and preprocessing stored beside them, if any.

    mean, std: per channel, in [0, 1] units.
    """

    weights: dict[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint file holds, tensors on the CPU: .safetensors, or a torch.save file of either format.

    The kind is told by the content. Nothing is ever unpickled: torch's weights-only reader, which knows tensors
    and plain containers, is widened by numpy scalars and nothing else. Raises ValueError, one line, for a file
    that is missing, truncated, of another kind, or needs more than that, naming the global it needs.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint file {path}")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ValueError(f"the checkpoint {path} cannot be read: {error}") from error
    if not head:
        raise ValueError(f"the checkpoint {path} is empty")
    return read_safetensors(path) if head[8:9] == b"{" else _read_torch(path, head)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, on the CPU; ValueError if missing, truncated or something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {path} cannot be read as safetensors: {_line(error)}") from error


def _read_torch(path: Path, head: bytes) -> Any:
    is_zip, is_pickle = zipfile.is_zipfile(path), head[:1] == b"\x80"
    if head.startswith(b"PK") and not is_zip:
        raise ValueError(f"the checkpoint {path} is truncated or damaged: its zip directory is missing")
    if not is_zip and not is_pickle:
        if tarfile.is_tarfile(path):
            raise ValueError(
                f"the checkpoint {path} is in PyTorch's tar format of 2017, which only unpickling can read; {_ADVICE}"
            )
        raise ValueError(f"the checkpoint {path} is neither safetensors nor a file written by torch.save")
    if is_zip and not any(name.endswith("/data.pkl") for name in _members(path)):
        raise ValueError(f"the checkpoint {path} is a zip file, but not one written by torch.save (no data.pkl)")
    try:
        with weights_only():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise anything from EOFError to RuntimeError
        raise ValueError(f"the checkpoint {path} {_refusal(path, error)}") from error


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def _refusal(path: Path, error: Exception) -> str:
    """Why torch's weights-only reader would not read the file, as one line."""
    if "TorchScript" in str(error):
        return f"is a TorchScript program, not weights; {_ADVICE}"
    unpickling = isinstance(error, pickle.UnpicklingError)
    needed = re.search(r"GLOBAL (\S+)", str(error))
    if name := needed.group(1) if needed else _first_global(path) if unpickling else "":
        return f"is refused: it needs {name}, which weights do not; nothing in it was run; {_ADVICE}"
    if unpickling:
        return f"is refused: it is a pickle that holds more than weights; nothing in it was run; {_ADVICE}"
    return f"is truncated or damaged: {_line(error)}"


def _first_global(path: Path) -> str:
    """The first global a bare pickle names; read opcode by opcode, none of it is run."""
    strings: list[str] = []
    try:
        with open(path, "rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except (OSError, ValueError):
        pass
    return ""


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def state_dict_of(contents: Any, what: str) -> StateDict:
    """Find the weights in a checkpoint's contents and undo what was wrapped around the network.

    Understands a bare state dict, one under "model", "state_dict", "model_state_dict" or "net", DataParallel's
    "module." prefix, and the `robustness` library's AttackerModel: the network under "model." (again, with the
    same tensors, under "attacker.model."), preprocessing in "normalizer.new_mean" and "normalizer.new_std".
    what: names the file in the message. Raises ValueError if there are no weights in it.
    """
    state = contents
    for wrapper in ("model", "state_dict", "model_state_dict", "net"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{what} holds no state dict: it is a {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{what} holds no state dict: its entry {key!r} is of type {type(value).__name__}")
        if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
            raise ValueError(f"{what}: {key} is not a plain dense tensor, which is all that can be read")
    weights: dict[str, Tensor] = _without_prefix(dict(state), "module.")
    mean, std = (weights.get(f"normalizer.{name}") for name in ("new_mean", "new_std"))
    for prefix in ("model.", "attacker.model."):
        if any(key.startswith(("normalizer.", "attacker.")) for key in weights):
            inside = {key: value for key, value in weights.items() if key.startswith(prefix)}
            weights = _without_prefix(inside, prefix) if inside else weights
    weights = _without_prefix(weights, "model.")
    return StateDict(weights, _channels(mean), _channels(std))


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove a prefix from the keys for as long as all of them have it."""
    while state and all(key.startswith(prefix) for key in state):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _channels(values: Tensor | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values.flatten().tolist())


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Copy `weights` into `network` in the network's own precision; strict but for BatchNorm's batch counters.

    The counters (`num_batches_tracked`) have no part in inference. what: file and architecture, for messages.
    Raises ValueError, one line, if keys are missing or left over, shapes differ, or a weight is not finite.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in expected]
    different = [
        f"{key} is {_shape(weights[key])}, not {_shape(expected[key])}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    broken = [key for key in expected if key in weights and not torch.isfinite(weights[key]).all()]
    complaints = [
        f"{len(keys)} {label} ({_some(keys)})"
        for label, keys in (
            ("missing", missing),
            ("unexpected", extra),
            ("of another shape", different),
            ("not finite", broken),
        )
        if keys
    ]
    if complaints:
        raise ValueError(f"{what} do not fit together: of the weights, " + "; ".join(complaints))
    with torch.no_grad():
        for key, value in expected.items():
            if key in weights:
                value.copy_(weights[key])


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
