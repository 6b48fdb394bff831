"""One image of a run moved towards another class, with the run's own settings; the others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from bigroc_core.catalogue import classifier_named, compute_device, on_gpu, pixels_of
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.requests import GIVEN
from bigroc_core.experiments.sizes import Pictures, Reach, boost_by_size, logits_by_size, together


def computing(run: Run, index: int, name: str) -> int:
    """What a repainting computes: pixels of the image at each step."""
    return run.total_steps * pixels_of(run.settings["classifier"])


def frames_towards(run: Run, index: int, name: str) -> Iterator[Pictures]:
    """The image `index` at each of the run's kept steps, on its way towards the class of this name."""
    classifier, last = classifier_named(run.settings["classifier"], compute_device()), run.steps[-1]
    label, original = torch.tensor([run.classes.index(name)]), together([run.originals[index]])
    masks = None if run.masks is None else [run.masks[index]]
    reached: Pictures = original
    for moment in boost_by_size(classifier, original, label, run.config, None, Reach(masks), precision=run.precision):
        reached = moment.pictures
        if moment.step in run.steps:
            yield reached
        if moment.step == last:
            return
    # It rests: where it stands is where it would stand later.
    for _ in [step for step in run.steps if step > moment.step]:
        yield reached


frames_on_gpu = on_gpu(computing)(frames_towards)


def repainted(run: Run, index: int, name: str) -> Run:
    """The run with its image `index`, from 0, moved towards the class of this name instead of its own.

    It has the settings that repeat it: the target of every image, by name. ValueError for a class that the classifier
    does not know.
    """
    if name not in run.classes:
        raise ValueError(f"{run.settings['classifier']} knows no class {name!r:.60}")
    own = [pictures[0] for pictures in frames_on_gpu(run, index, name)]
    frames = [_with(frame, index, picture) for frame, picture in zip(run.frames, own, strict=True)]
    logits = {0: run.logits_of(0)}
    for number in run.logits.keys() - {0}:
        logits[number] = run.logits[number].copy()
        logits[number][index] = logits_by_size(classifier_named(run.settings["classifier"], "cpu"), [own[number]])[0]
    targets = run.targets.copy()
    targets[index] = run.classes.index(name)
    settings = {key: value for key, value in run.settings.items() if not key.startswith("validation_")}
    settings |= {"target": GIVEN.lower(), "target_classes": [run.classes[y] for y in targets]}
    return replace(run, targets=targets, settings=settings, frames=frames, logits=logits, preview=None)


def _with(pictures: Pictures, index: int, picture: np.ndarray) -> Pictures:
    return together([picture if number == index else one for number, one in enumerate(pictures)])
