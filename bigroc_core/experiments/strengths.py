"""A run's images at several strengths at once: what moving ε over a finished run shows, before it is run anew."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_named, compute_device
from bigroc_core.checks import MAX_STEP_SIZE
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.sizes import Reach, boost_by_size, together
from bigroc_core.limits import MAX_STRENGTHS_SECONDS

STRENGTHS = 8
# More steps than these show the same picture, later.
MOST_STEPS = 10
FEWEST_STEPS = 3


def radii_up_to(most: float) -> list[float]:
    """The strengths that are computed: closer to each other where they are small, as that is where most boosting is."""
    return [float(f"{most * (number / STRENGTHS) ** 2:.3g}") for number in range(1, STRENGTHS + 1)]


def steps_for(run: Run) -> int:
    """How many steps they are computed in at most; 0 where a few of them would take too long here, by what the run's
    own took."""
    taken = run.steps[-1] if run.steps else 0
    if not taken or not run.finished or STRENGTHS * run.stepping / taken > MAX_STRENGTHS_SECONDS / 2:
        return 0
    return min(run.total_steps, MOST_STEPS)


def affordable(steps: int, seconds: float) -> int:
    """So many steps, or as few as can be had where one takes so long; 0 where those are too few to show anything."""
    fewer = min(steps, int(MAX_STRENGTHS_SECONDS / max(seconds, 1e-3)))
    return fewer if fewer == steps or fewer >= FEWEST_STEPS else 0


def key_of(run: Run, most: float) -> str:
    """Runs of one key have the same images at these strengths, whatever their own ε."""
    return f"{run_key(run)} {radii_up_to(most)}"


def run_key(run: Run) -> str:
    """Runs of one key have the same images at every strength, whatever their own ε."""
    settings = {name: value for name, value in run.settings.items() if name != "eps"}
    key = hashlib.blake2b(f"{settings!r}{run.targets.tolist()}".encode(), digest_size=12)
    for picture in run.originals:
        key.update(np.ascontiguousarray(picture).tobytes())
    for mask in run.masks or ():
        key.update(b"none" if mask is None else mask.tobytes())
    return key.hexdigest()


def config_in(run: Run, steps: int) -> BoostConfig:
    """The run's settings in so many steps; a step size of its own grows as they become fewer."""
    config = run.config
    step_size = config.step_size
    if step_size is not None and 0 < steps < run.total_steps:
        step_size = min(step_size * run.total_steps / steps, MAX_STEP_SIZE)
    return dataclasses.replace(config, steps=steps, step_size=step_size)


def strengths(run: Run, most: float, steps: int) -> Iterator[Run | None]:
    """The originals and their STRENGTHS boosted versions, as the frames of a run whose `steps` are 0, 1, 2, …; None
    after each step until then. Towards the run's targets, all in one batch."""
    device = compute_device()
    classifier, count = classifier_named(run.settings["classifier"], device), len(run.targets)
    repeated = together([picture for _ in range(STRENGTHS) for picture in run.originals])
    radii = torch.tensor(radii_up_to(most), dtype=torch.float64).repeat_interleave(count)
    labels = torch.from_numpy(run.targets).repeat(STRENGTHS)
    masks = list(run.masks) * STRENGTHS if run.masks else None
    config, reach = config_in(run, steps), Reach(masks, radii)
    growing = boost_by_size(classifier, repeated, labels, config, None, reach, precision=run.precision)
    last = next(growing)
    for moment in growing:
        last = moment
        yield None
    pictures = last.pictures
    frames, logits = [run.originals], {0: run.logits_of(0)}
    for number in range(STRENGTHS):
        rows = slice(number * count, (number + 1) * count)
        frames.append(together(list(pictures[rows])))
        logits[number + 1] = last.logits[rows].numpy()
    shown: dict[str, Any] = {"steps": list(range(STRENGTHS + 1)), "frames": frames, "logits": logits, "preview": None}
    yield dataclasses.replace(run, **shown)
