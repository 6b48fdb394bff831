"""State of a training run on disk: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from bigroc_core.cards import Card
from bigroc_core.files import write_text


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary place to write to, put in the place of `path` once that is done; OSError, naming it, if not."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch has a RuntimeError of its own for a full disk, on top of the system's.
        why = error.__context__ if isinstance(error.__context__, OSError) else error
        raise OSError(f"{path} could not be written: {str(why).splitlines()[0]}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a run's state (tensors and plain containers); a kill at any moment leaves the old file or the new one."""
    # Opened here: of a file that torch opens itself it does not say what is wrong.
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load_state(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The run's state, or None when it has not begun; ValueError if it is a run of another recipe.

    A recipe of more "steps" than a run that has ended is no other recipe: the run goes on, and "ends" of the state
    lists the steps at which it had ended before, since its learning rate had fallen there.
    """
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    state.setdefault("ends", [])
    if state["recipe"] == recipe:
        return state
    before, steps = state["recipe"].get("steps", 0), recipe.get("steps", 0)
    if state["step"] == before < steps and {**state["recipe"], "steps": steps} == recipe:
        state["ends"].append(before)
        return state
    earlier = state["recipe"]
    other = [key for key in dict.fromkeys((*earlier, *recipe)) if earlier.get(key) != recipe.get(key)]
    raise ValueError(
        f"{path.parent} holds a run of another recipe (of other {', '.join(other)}); give another --run folder or "
        "remove it"
    )


def append_log(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line to a run's log; OSError, naming it, if it cannot be written."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, before)  # of a line that has no room nothing stays
        raise OSError(f"{path} could not be written: {error}") from error


def trim_log(path: Path, step: int) -> None:
    """Drop the lines of iterations after `step`, and one that a kill cut short, from a run's log."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8").splitlines():
        try:
            if json.loads(line).get("step", 0) > step:
                break
        except (json.JSONDecodeError, AttributeError, TypeError):
            break
        kept.append(line + "\n")
    write_text(path, "".join(kept))


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as fp16, the rest as they are; BatchNorm's batch counters, unused in eval, left out."""
    return {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous().clone()
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def export(network: nn.Module, card: Card, folder: Path) -> None:
    """Write NAME.safetensors (fp16) and NAME.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{card.name}.safetensors") as temporary:
        temporary.write_bytes(save(half(network.state_dict())))
    with written_whole(folder / f"{card.name}.json") as temporary:
        temporary.write_text(card.to_json(), "utf-8")
