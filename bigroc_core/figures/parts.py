"""What figures are put together from: a recipe's images, its classifiers, and the images boosted.

Every number in a figure, and in its caption, is of the 8-bit images that it shows.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost_stream
from bigroc_core.catalogue import classifier_named, generator_named
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.debiasing import fit_debias
from bigroc_core.engine.views import INPUT, NATIVE, view_of
from bigroc_core.experiments.comparison import Comparison, certainty_of
from bigroc_core.experiments.frames import Interpolation
from bigroc_core.figures.recipe import Recipe, labels_of
from bigroc_core.images import fit_to, from_uint8, to_uint8
from bigroc_core.norms import NORMS
from bigroc_core.streams import labels_to

# Images computed at once: always as many, so that the same recipe gives the same bits.
BATCH = 50
T = TypeVar("T")
S = TypeVar("S", Comparison, Interpolation)


@dataclass(frozen=True)
class Progress:
    """How far a figure is: done of total, and what is being done."""

    done: int
    total: int
    doing: str


Making = Generator[Progress, None, T]


def finished(making: Making[T]) -> T:
    """What is being made, once it is made."""
    while True:
        try:
            next(making)
        except StopIteration as ended:
            return ended.value


@dataclass(frozen=True)
class Models:
    """The classifiers of one figure: `given` ones by name, else those offered here, on one device."""

    device: torch.device | str
    given: Mapping[str, Classifier]

    def classifier(self, name: str) -> Classifier:
        """The classifier of a name. ValueError if there is none, and for a judge, which takes no part in boosting."""
        given = self.given.get(name)
        return classifier_named(name, str(self.device)) if given is None else given


def seeing(classifier: Classifier, recipe: Recipe, size: tuple[int, int]) -> Classifier:
    """A classifier that sees images of a size (height, width) as the recipe says. ValueError where it cannot."""
    view = recipe.settings.get("view", INPUT)
    if view == INPUT:
        return classifier
    view_of(classifier, size, view)
    other = copy.copy(classifier)
    other.card = dataclasses.replace(classifier.card, input_size=size if view == NATIVE else (view, view))
    return other


@dataclass(frozen=True)
class Found:
    """Images (N, 3, H, W) at 8-bit levels on the CPU, their labels (N,) or None, and what a caption calls them."""

    images: Tensor
    labels: Tensor | None
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.images.shape[2], self.images.shape[3]


def images_from(source: Mapping[str, Any], recipe: Recipe, classifier: Classifier) -> Found:
    """The images of a recipe's source, labels in the classifier's numbers."""
    if "images" in source:
        images = recipe.pixels(source["images"])
        labels = labels_of(source["classes"], classifier.classes)
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"{len(labels)} classes for {len(images)} images")
        return Found(rounded(images), labels, source["images"])
    generator = generator_named(source["generator"], "cpu")
    asked = source.get("classes")
    if asked is not None and not generator.classes:
        raise ValueError(f"{source['generator']} is unconditional: it draws no class that is asked for")
    if asked is not None and len(asked) != source["count"]:
        raise ValueError(f"{len(asked)} classes for {source['count']} images")
    drawn, labels = generator.sample(
        source["count"], labels=labels_of(asked, generator.classes), seed=source["seed"], start=source.get("start", 0)
    )
    table = labels_to(classifier, generator.card.name, generator.classes, {})
    if labels is not None and table is not None:
        labels = table[labels]
    return Found(rounded(drawn.cpu()), labels, f"{source['generator']} (seed {source['seed']})")


def end_image(end: Mapping[str, Any], recipe: Recipe, size: tuple[int, int] | None = None) -> tuple[Tensor, str]:
    """One image (3, H, W) of a recipe, brought to `size` if it is given, and what a caption calls it."""
    if "image" in end:
        given = recipe.pixels(end["image"])[0]
        return rounded(given if size is None else fit_to(given, size).pixels), str(end["image"])
    generator = generator_named(end["generator"], "cpu")
    labels = None if end["class"] is None else labels_of([end["class"]], generator.classes)
    drawn, _ = generator.sample(1, labels=labels, seed=end["seed"], start=end["number"])
    fitted = drawn[0].cpu() if size is None else fit_to(drawn[0].cpu(), size).pixels
    return rounded(fitted), f"{end['generator']}'s {end['number']} (seed {end['seed']})"


def shift_for(debias: Mapping[str, Any] | None, source: Mapping[str, Any], classifier: Classifier) -> Tensor | None:
    """P1 Eq. 2's shift as a recipe asks for it, or None."""
    if debias is None:
        return None
    if "shift" in debias:
        return torch.tensor(debias["shift"], dtype=torch.float32)
    if "generator" not in source:
        raise ValueError("debiasing is fitted to more images of a generator; of images from elsewhere give the shift")
    if debias["seed"] == source["seed"]:
        raise ValueError("debiasing is fitted to other images: its seed must differ from theirs")
    generator = generator_named(source["generator"], "cpu")
    held_out, _ = generator.sample(debias["count"], seed=debias["seed"])
    return fit_debias(classifier, rounded(held_out.cpu()).to(classifier.mean.device))


@dataclass(frozen=True)
class Boosted:
    """Boosted images (N, 3, H, W) on the CPU: as computed, and at 8-bit levels. labels: the targets (N,)."""

    exact: Tensor
    images: Tensor
    labels: Tensor


def boosted(
    found: Found, classifier: Classifier, config: BoostConfig, shift: Tensor | None = None, doing: str = "boosting"
) -> Making[Boosted]:
    """The images boosted, in batches of a fixed size."""
    device, parts, targets = classifier.mean.device, [], []
    count = len(found.images)
    for start in range(0, count, BATCH):
        rows = slice(start, start + BATCH)
        labels = None if found.labels is None else found.labels[rows].to(device)
        last = None
        for last in boost_stream(
            classifier,
            found.images[rows].to(device),
            labels,
            config,
            debias=None if labels is not None else shift,
            batch_size=BATCH,
        ):
            share = last.step / max(config.steps, 1)
            yield Progress(round(start + share * (min(start + BATCH, count) - start)), count, doing)
        assert last is not None
        parts.append(last.images.cpu())
        targets.append(last.labels.cpu())
    exact = torch.cat(parts)
    return Boosted(exact, rounded(exact), torch.cat(targets))


def rounded(images: Tensor) -> Tensor:
    return from_uint8(to_uint8(images))


def boosting_said(config: BoostConfig, classifier: str) -> str:
    norm = NORMS[config.norm].title
    return f"boosted through {classifier} ({norm}, ε = {config.eps:g} on [0, 1] pixels, T = {config.steps})"


def change_said(before: np.ndarray, after: np.ndarray, l2: np.ndarray) -> str:
    """What boosting did to images, in numbers: p of their targets (N,) before and after, and ‖δ‖₂ (N,)."""
    return f"mean P of the target {before.mean():.2f} → {after.mean():.2f}, mean ‖δ‖₂ {l2.mean():.2f}"


def moved(classifier: Classifier, before: Tensor, after: Boosted) -> str:
    """What boosting did to 8-bit images (N, 3, H, W), in numbers."""
    targets = after.labels.numpy()
    sure = [certainty_of(classifier, to_uint8(images), targets) for images in (before, after.images)]
    return change_said(sure[0], sure[1], (after.images - before).flatten(1).norm(dim=1).numpy())


def followed(growing: Iterator[S], doing: str = "") -> Making[S]:
    """An experiment's run once it has ended, its progress told on the way; doing: what is said before its own words."""
    run = None
    for run in growing:
        yield Progress(run.done, run.total, f"{doing}{run.doing}")
    assert run is not None
    return run
