"""What a measurement is judged by: networks by their roles, and real images to compare with."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch

from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers, is_judge, load_classifier
from bigroc_core.evaluation import (
    LITE0_METRICS,
    METRICS,
    ClassifierFeatures,
    FeatureStatistics,
    ImageStream,
    InceptionFeatures,
    Measuring,
    OutsideMetrics,
    Progress,
    Reference,
    cache_folder,
    content_of,
    embedded_data,
    embedded_dimensions,
    embedded_statistics,
    image_set_stream,
    reference_features,
    reference_statistics,
    tensor_stream,
)
from bigroc_core.evaluation.features import Extractor
from bigroc_core.evaluation.lite0 import Lite0Features
from bigroc_core.images import open_image_set
from bigroc_core.images.classes import are_named
from bigroc_core.images.splits import LabelledImages, Splits
from bigroc_core.streams import labels_to
from bigroc_core.training.cifar10 import find_cifar10
from bigroc_core.training.data import load_data

SPLITS = ("train", "validation", "test")
# What is reported, and what an ε is chosen on.
REPORTED, CHOSEN_ON = ("train", "test"), "validation"
# Metrics that compare with nothing.
WITHOUT_REFERENCE = {"is", "diversity-lite0"}
# The standard network of models whose cards say no roles.
STANDARD_NETWORK = "cifar10-standard"


# ----------------------------------------------------------------------------------------------------------- networks


def is_standard(card: Card) -> bool:
    """Whether this classifier is the control, in whose features a sweep chooses, too."""
    return (getattr(card, "role", None) or card.training.get("role")) == "control" or card.name == STANDARD_NETWORK


def _fitting(card: Card) -> list[Card]:
    """The embedded classifiers of the same input size and classes."""
    return [
        other
        for other in embedded_classifiers().values()
        if (other.input_size, other.classes) == (card.input_size, card.classes)
    ]


def has_judge(card: Card) -> bool:
    """Whether a judge of a classifier's size and classes is embedded."""
    return any(map(is_judge, _fitting(card)))


def judge_for(card: Card) -> str:
    """The embedded judge of a classifier's size and classes; ValueError if there is none."""
    name = next((other.name for other in _fitting(card) if is_judge(other)), None)
    if name is None:
        height, width = card.input_size
        judges = [other for other in embedded_classifiers().values() if is_judge(other)]
        if not judges:
            raise ValueError("checkpoints/ holds no judge, so nothing can be measured here: clone the whole repository")
        known = " and ".join(f"{other.name} of {other.input_size[1]}×{other.input_size[0]} pixels" for other in judges)
        raise ValueError(
            f"a judge must have the classes and the size of what it judges: none here has {card.name}'s at "
            f"{width}×{height} pixels; there is {known}. Take another classifier, or measure in other networks' "
            "features on the command line (evaluate --metrics)"
        )
    return name


def standard_for(card: Card) -> str | None:
    """The embedded standard network of a classifier's size and classes, if there is one."""
    return next((other.name for other in _fitting(card) if is_standard(other)), None)


def chooser_for(card: Card) -> str:
    """The network in whose features an ε is chosen where none is named; ValueError where there is none."""
    if (name := standard_for(card)) is None:
        raise ValueError(
            f"there is no standard network of {card.name}'s size and classes to choose an ε in the features of: name a "
            "network (--features), or take lite0"
        )
    return name


@lru_cache(maxsize=8)
def least_images(name: str) -> int:
    """How many images a Fréchet distance in an embedded network's features needs."""
    # The statistics beside it say how many features it has without its being built, for which a page would start later.
    return (embedded_dimensions(name) or ClassifierFeatures(load_classifier(name)).dimensions) + 1


# --------------------------------------------------------------------------------------------------------- references


def splits_for(card: Card, data: Path | None, size: tuple[int, int] | None = None) -> Splits:
    """The data set at a classifier's size, or at the `size` of images that are compared with it where it is as large;
    None for CIFAR-10 where it is looked for. ValueError where it cannot be."""
    height, width = card.input_size
    if data is not None and size is not None and size[0] == size[1] != height:
        with contextlib.suppress(ValueError):  # its images are smaller; whatever else is wrong is so at any size
            return load_data(data, size[0])
    if data is None and (height, width) != (32, 32):
        raise ValueError(
            f"{card.name} takes images of {width}×{height} pixels, and CIFAR-10's are of 32×32; give --data a folder "
            "or a zip of class folders"
        )
    lies = find_cifar10() if data is None else data
    return _read_once(data, lies, lies.stat().st_mtime_ns if lies.exists() else 0, height)


@lru_cache(maxsize=1)
def _read_once(data: Path | None, _lies: Path, _changed: int, side: int) -> Splits:
    """The data set read last, which one measurement after another asks for."""
    return load_data(data, side)


def labelled_for(
    classifier: Classifier, data: Splits, part: LabelledImages, mapping: Mapping[str, str]
) -> tuple[LabelledImages, tuple[str, ...]]:
    """A part of the data with the labels as the classifier's, by name, and notes.

    Images that come class by class are mixed by a fixed draw, so that the first so many are of all classes.
    ValueError for classes that the classifier does not know.
    """
    if len(part) > 1 and bool((part.labels.diff() >= 0).all()):
        part = part.subset(torch.randperm(len(part), generator=torch.Generator().manual_seed(0)))
    known = classifier.classes
    if len(known) == len(data.classes) and not mapping and not are_named(known):
        return part, (f"{classifier.card.name}'s classes have no names, so {data.name}'s are taken in their order",)
    table = labels_to(classifier, data.name, data.classes, mapping)
    return part if table is None else LabelledImages(part.images, table[part.labels]), ()


class References:
    """The real images that names stand for: splits of a data set, which is read only if it is needed, or image sets.

    data: where the data lie; None for what the statistics beside a judge are of, else CIFAR-10 where it is looked for.
    size: of the images that are compared with them, (height, width); None for that of whoever looks at them. notes:
    what was guessed about those that were read.
    """

    def __init__(
        self,
        names: Sequence[str],
        data: Path | None = None,
        progress: Progress | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.names, self._data, self._progress, self._size = names, data, progress, size
        self._splits: dict[tuple[int, int], Splits] = {}
        self._notes: dict[str, None] = {}  # in order, each once

    @property
    def notes(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(self._notes)

    def _images(self, name: str, card: Card, fitted: bool = True) -> tuple[ImageStream, str]:
        """A reference's images, and a digest of them. Those of a set keep their size where they have but one; fitted:
        else they are brought to that of a classifier's card."""
        if name in SPLITS:
            if card.input_size not in self._splits:
                self._splits = {card.input_size: splits_for(card, self._data, self._size)}
            (splits,) = self._splits.values()
            self._note(splits.name, splits.notes)
            images = splits.reference(name)
            return tensor_stream(f"{splits.name} {name}", images), content_of(images)
        found, wanted = open_image_set(name, "own"), None
        digest = found.digest()
        if len(set(map(found.own_size, range(len(found))))) > 1:
            wanted = card.input_size if fitted else None
            found = open_image_set(name, wanted)
        self._note(Path(name).name, found.notes)
        return dataclasses.replace(image_set_stream(found), name=Path(name).name), f"{digest} {wanted}"

    def _note(self, name: str, notes: Sequence[str]) -> None:
        self._notes |= dict.fromkeys(f"{name}: {note}" for note in notes)

    def in_features_of(self, classifier: Classifier) -> dict[str, FeatureStatistics]:
        """Their statistics in a classifier's features, by title: those beside it, else measured."""
        found = {}
        extractor = ClassifierFeatures(classifier)
        for name in self.names:
            # With data of one's own the person says which are meant.
            beside = embedded_statistics(classifier, name) if name in SPLITS and self._data is None else None
            if beside is not None:
                found[f"{embedded_data(classifier)} {name}"] = beside
                continue
            try:
                stream, content = self._images(name, classifier.card)
            except ValueError as error:
                if name not in SPLITS or self._data is not None:
                    raise
                raise ValueError(
                    f"there are no {name} statistics beside {classifier.card.name}, and {error}"
                ) from error
            found[stream.name] = reference_statistics(extractor, stream, content, progress=self._progress)
        return found

    def outside(self, network: Extractor, metrics: tuple[str, ...], card: Card, measuring: Measuring) -> OutsideMetrics:
        """What is needed to measure `metrics` in an outside network's features. card: of the classifier that boosts, at
        whose size splits are read.

        The Inception score and the diversity need no reference.
        """
        names = self.names if set(metrics) - WITHOUT_REFERENCE else ()
        return OutsideMetrics(network, tuple(self.features(network, name, card, measuring) for name in names), metrics)

    def features(
        self, network: Extractor, name: str, card: Card, measuring: Measuring, most: int | None = None
    ) -> Reference:
        """A reference's images in a network's features, computed once and kept on disk. card: as above. most: of more
        images so many, the same every time; None for all of them."""
        stream, content = self._images(name, card, fitted=isinstance(network, ClassifierFeatures))
        if most is not None and most < (stream.size or 0):
            stream, content = _some_of(stream, most), f"{content} {most}"
        key = hashlib.sha256((network.key + content).encode()).hexdigest()[:20]
        cache = cache_folder() / f"{network.kind}-{key}"
        return reference_features(network, stream, stream.size or 0, cache, measuring.progress, measuring.share)


def _some_of(stream: ImageStream, count: int) -> ImageStream:
    """So many images of a set, by a fixed draw, so that those of every class may be among them."""
    size = stream.size or 0
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count].sort().values.tolist()

    def draw(seed: int, start: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return torch.cat([stream.draw(seed, row, 1)[0] for row in rows[start : start + wanted]]), None

    return dataclasses.replace(stream, name=f"{count:,} of {stream.name}", draw=draw, size=count, labelled=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outside:
    """Metrics in the features of networks trained by others. weights, layer: of Inception, as InceptionFeatures has."""

    metrics: tuple[str, ...] = ()
    weights: Path | None = None
    layer: str = "2048"

    def measured_by(
        self, references: References, card: Card, measuring: Measuring, device: torch.device | str
    ) -> list[OutsideMetrics]:
        """The networks asked for with their references; ValueError where one cannot be had, or images are too few."""
        found = []
        for known, network_of in (
            (METRICS, lambda: InceptionFeatures(self.weights, self.layer, device)),
            (LITE0_METRICS, lambda: Lite0Features(device)),
        ):
            metrics = tuple(name for name in self.metrics if name in known)
            if metrics:
                network: Extractor = network_of()
                OutsideMetrics(network, (), metrics).check(measuring.count)
                found.append(references.outside(network, metrics, card, measuring))
        return found
