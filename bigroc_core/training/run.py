"""A training run in its folder: state, log, clock and processes, the same for everything that is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from bigroc_core.training.batches import share_of_batch
from bigroc_core.training.checkpoint import append_log, load_state, save_state, trim_log

if TYPE_CHECKING:
    from accelerate import Accelerator


def processes(precision: str = "fp32") -> Accelerator:
    """This process alone, or all of an `accelerate launch`, computing in "bf16" or "fp32"."""
    from accelerate import Accelerator
    from accelerate.utils import parse_flag_from_env

    # Without being told, accelerate takes several processes on CPUs for so many runs of one process.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU", not torch.accelerator.is_available())
    return Accelerator(cpu=cpu, mixed_precision="bf16" if precision == "bf16" else "no")


class Run:
    """One run of a recipe in a folder, by this process alone or by all of an `accelerate launch`.

    Killed at any moment and begun again, it ends as an unbroken one: every draw of a step comes from `draws(step)`;
    what a step adds to the log, and what is exported after it, comes before the state that holds the step done; and a
    run that goes on drops the log's lines of the steps that it does again.

    kept: small tensors that are part of the state, such as a running loss.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], steps: int, save_minutes: float) -> None:
        """recipe: all that makes a run what it is, with "batch_size", "precision" and "seed". steps: of the whole run.

        Raises ValueError if the folder holds a run of another recipe, or a batch cannot be split over the
        processes.
        """
        self.accelerator = processes(recipe["precision"])
        self.device: torch.device = self.accelerator.device
        self.is_main: bool = self.accelerator.is_main_process
        self.share = share_of_batch(recipe["batch_size"], self.accelerator.num_processes)
        self.folder, self.recipe, self.steps_in_all, self.save_minutes = folder, recipe, steps, save_minutes
        self._state = load_state(folder / "state.pt", recipe) or {}
        self.first: int = self._state.get("step", 0)
        self.ends: list[int] = self._state.get("ends", [])
        self.kept: dict[str, Tensor] = {
            name: value.to(self.device) for name, value in self._state.get("kept", {}).items()
        }
        self._parts: dict[str, Any] = {}
        self._order, self._epoch = torch.empty(0), -1
        self._began = self._saved = time.monotonic() - self._state.get("seconds", 0.0)
        folder.mkdir(parents=True, exist_ok=True)

    def restore(self, **parts: Any) -> None:
        """Say what else has a state (networks, averages, prepared optimizers), and bring it to where the run stands.

        Raises ValueError for the state of a version of the trainer that had other parts.
        """
        self._parts = parts
        if self._state and (missing := [name for name in parts if name not in self._state]):
            raise ValueError(f"{self.folder / 'state.pt'} was written by another version: it lacks {missing[0]}")
        for name, part in parts.items() if self._state else ():
            part.load_state_dict(self._state[name])
        self._state = {}

    def steps(self) -> Iterator[int]:
        """The steps that are left, with a progress bar."""
        if self.is_main:
            trim_log(self.folder / "log.jsonl", self.first)
        self._saved = time.monotonic()
        self.progress = tqdm(
            range(self.first, self.steps_in_all),
            initial=self.first,
            total=self.steps_in_all,
            desc=self.recipe["name"],
            mininterval=5,
            disable=not self.is_main,
        )
        yield from self.progress

    @property
    def had_ended(self) -> bool:
        """Whether all steps were done before: then nothing is left but to export again what it ended with."""
        return self.first == self.steps_in_all

    def draws(self, step: int) -> torch.Generator:
        """Where every random number of a step comes from, another for each process."""
        seed = (self.recipe["seed"] * 1_000_003 + step) * 64 + self.accelerator.process_index
        return torch.Generator().manual_seed(seed)

    def rows(self, count: int, step: int) -> Tensor:
        """This process's share (n,) of the rows of a step's batch, where each epoch goes once through `count` rows."""
        batch = self.recipe["batch_size"]
        epoch, within = divmod(step, count // batch)
        if epoch != self._epoch:
            draws = torch.Generator().manual_seed(self.recipe["seed"] * 10_007 + epoch)
            self._order, self._epoch = torch.randperm(count, generator=draws), epoch
        return self._order[within * batch + self.accelerator.process_index * self.share :][: self.share]

    def log(self, step: int, **entry: Any) -> None:
        """Add a line to folder/log.jsonl: what was found after `step` steps."""
        if self.is_main:
            append_log(self.folder / "log.jsonl", {"step": step, "seconds": time.monotonic() - self._began, **entry})

    def is_time_to_save(self, step: int) -> bool:
        """Whether the state should be written once this step is done: after `save_minutes`, and after the last."""
        return step + 1 == self.steps_in_all or time.monotonic() - self._saved > 60 * self.save_minutes

    def save(self, step: int) -> None:
        """Write folder/state.pt: `step` steps are done, with all that they add to the log and all that they export."""
        if self.is_main:
            state = {
                "recipe": self.recipe,
                "step": step,
                "seconds": time.monotonic() - self._began,
                "ends": self.ends,
                "kept": self.kept,
                **{name: part.state_dict() for name, part in self._parts.items()},
            }
            save_state(self.folder / "state.pt", state)
        self._saved = time.monotonic()

    def training(self, command: str) -> dict[str, Any]:
        """What a card says of the training; "ended_before": at which steps the run had ended before it went on."""
        ended = {"ended_before": self.ends} if self.ends else {}
        return {"recipe": self.recipe, "command": command, **ended}
