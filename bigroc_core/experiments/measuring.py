"""What every measurement of boosted images begins with: the images, whose gradients move them, P1 Eq. 2's shift."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, view_note
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier, refuse_judge
from bigroc_core.debiasing import fit_debias
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.engine.views import ViewName
from bigroc_core.evaluation import ImageStream, Way
from bigroc_core.evaluation.shards import Share
from bigroc_core.experiments.requests import BallRequest
from bigroc_core.images.classes import OPTION, parse_mapping
from bigroc_core.messages import short
from bigroc_core.settings import like, setting
from bigroc_core.sources import DEBIAS_SEED
from bigroc_core.streams import GENERATOR_PREFIX, open_stream

CONFIG_FIELDS = tuple(field.name for field in dataclasses.fields(BoostConfig))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, as it was asked for.

    images: generator:NAME, or a folder, zip or .npz. view: what classifiers see of images of another size than their
    own, precision: what steps are computed in, as in `boost`. title: what the images are called, if not that. count,
    seeds: None and () for the experiment's own. debias: how many images of debias_seed P1 Eq. 2 is fitted to.
    map_classes: --map-classes. data: of the references that are splits of a data set.
    """

    images: str
    classifier: str
    view: ViewName = None
    title: str = ""
    count: int | None = setting(None, "images per seed (default: of an image set all)")
    seeds: tuple[int, ...] = setting((), "of a generator; never report those that an ε was chosen on")
    debias: int = setting(0, "estimate targets with debiasing, fitted to so many more images of the generator")
    debias_seed: int = setting(DEBIAS_SEED, "these images' seed")
    map_classes: str | None = None
    data: Path | None = None
    precision: PrecisionName = like(BallRequest, "precision")
    run: Path | None = setting(None, "folder of the run (default: one in runs/ for these settings)")

    def shared(self) -> dict[str, Any]:
        """The fields that every experiment on these images has."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Subject)}

    def opened(self, device: torch.device | str) -> Opened:
        """The images, at their own size and with the classifier's classes, and the classifier; ValueError for bad
        input, and for images of different sizes, which have no common statistics."""
        classifier = load_classifier(self.classifier, device=device)
        refuse_judge(classifier.card)
        mapping = parse_mapping(self.map_classes)
        if mapping and not classifier.classes:
            raise ValueError(f"{OPTION} maps onto class names, which {classifier.card.name} does not have")
        drawing = device if self.precision == "fast" else "cpu"
        stream = open_stream(self.images, classifier, mapping, own_sizes=True, device=drawing)
        if len(sizes := sorted(set(stream.shapes or ()))) > 1:
            (low, wide), (tall, wider) = sizes[0], sizes[-1]
            raise ValueError(
                f"{self.images} holds images of {len(sizes)} sizes, from {wide}×{low} to {wider}×{tall}, and a "
                "distance is measured over images of one size: bring them to one first"
            )
        if mapping and not stream.labelled:
            raise ValueError(f"{self.images} has no labels, so {OPTION} has nothing to map; leave it out")
        name = self.title or stream.name
        # A run of other labels is another run.
        name = f"{name}, {OPTION} {self.map_classes}" if mapping else name
        return Opened(dataclasses.replace(stream, name=name), classifier, device, self.view)

    def folder(self, kind: str, settings: object) -> Path:
        """A folder of its own for every setting, so that the same command goes on where it was killed."""
        digest = hashlib.sha256(
            json.dumps([settings, self.map_classes], sort_keys=True, default=str).encode()
        ).hexdigest()[:10]
        name = self.title or self.images
        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.removeprefix(GENERATOR_PREFIX))[-40:]
        return Path("runs") / f"{kind}-{plain}-{digest}"

    @property
    def said_of_precision(self) -> list[str]:
        """What a command says of it, as words."""
        return [] if self.precision == "exact" else ["--precision", self.precision]

    @property
    def said_of_data(self) -> list[str]:
        """What a command says of the data: which they are, but not the folder that they lie in here."""
        return [] if self.data is None else ["--data", self.data.name]

    def debiasing(self) -> list[int]:
        """What tells one shift from another, for a run's settings."""
        return [self.debias, self.debias_seed] if self.debias else []


@dataclass(frozen=True)
class Opened:
    """A subject's images and the classifier that boosts them."""

    stream: ImageStream
    classifier: Classifier
    device: torch.device | str
    view: ViewName = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        if self.stream.shapes:
            return self.stream.shapes[0]
        return self.card.input_size if self.card is not None else self.classifier.card.input_size

    def done(self, share: Share) -> Sequence[str]:
        """What was done to the images that have been measured; of several processes each knows of a part, so none."""
        return self.stream.done() if share.count == 1 else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed about the classifier and the images, and how it sees them. ValueError for a view that this
        classifier cannot take."""
        seen = view_note(self.classifier, self.size, self.view)
        return (*self.classifier.notes, *self.stream.notes, *([seen] if seen else []))

    @property
    def card(self) -> Card | None:
        """The generator's."""
        return self.stream.card

    def count(self, wanted: int | None, of_a_generator: int) -> int:
        """So many as wanted, else all of a set."""
        return wanted if wanted is not None else self.stream.size or of_a_generator

    def seeds(self, wanted: tuple[int, ...], of_a_generator: tuple[int, ...]) -> tuple[int, ...]:
        """Those wanted, else a generator's own; a set has but itself."""
        return wanted or (of_a_generator if self.stream.size is None else (0,))

    def shift(self, asked: Subject, measured: Sequence[int] = ()) -> Tensor | None:
        """P1 Eq. 2's shift (C,), fitted to images that are not measured; ValueError where they have labels, and where
        their seed is among those that are."""
        if asked.debias == 0:
            return None
        if asked.debias < 0:
            raise ValueError(f"--debias must be a number of images, not {asked.debias}")
        if self.stream.size is not None:
            raise ValueError("--debias draws its own images from a generator; for an image set it is not available")
        if asked.debias_seed in measured:
            raise ValueError(
                f"--debias-seed {asked.debias_seed} is also one of the seeds that are measured ("
                f"{', '.join(map(str, measured))}): P1 Eq. 2 is fitted on other images than those; change one of them"
            )
        images, labels = self.stream.draw(asked.debias_seed, 0, asked.debias)
        if labels is not None:
            raise ValueError(f"{self.stream.name} has labels, with which debiasing plays no part; leave --debias out")
        return fit_debias(self.classifier, images, view=self.view)


def largest_eps(l2: float, norm: str, size: tuple[int, int]) -> float:
    """The end of a sweep: an L2 radius, or the L∞ radius at which every value of images (height, width) changes as much
    on average."""
    height, width = size
    return l2 if norm == "l2" else min(1.0, l2 / math.sqrt(3 * height * width))


def card_entry(kind: str, card: Card, classifier: str) -> str:
    """Where a generator's card keeps what was found with a classifier: "default", or for any but the first its name."""
    first = card.presets.get("default", {}).get("classifier", classifier) == classifier
    own = "default" if kind == "preset" else kind
    return own if first else classifier if kind == "preset" else f"{kind} {classifier}"


@dataclass(frozen=True)
class Beside:
    """A way of boosting beside the main one: through another classifier, "" for the same, or with other settings."""

    classifier: str = ""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Beside:
        """What `--beside` takes: "NAME,field=value,…", NAME or fields alone; ValueError for a wrong field or value."""
        first, *rest = text.split(",")
        name, parts = ("", [first, *rest]) if "=" in first else (first, rest)
        changes: dict[str, Any] = {}
        for part in parts:
            field, given, value = part.partition("=")
            if field not in CONFIG_FIELDS or not given or field in changes:
                raise ValueError(f"--beside {text!r}: {part!r} is not one FIELD=VALUE of {', '.join(CONFIG_FIELDS)}")
            if value == "none":
                changes[field] = None
            elif field in ("norm", "loss", "gradient") or value == "l0":
                changes[field] = value
            else:
                try:
                    changes[field] = int(value) if field == "steps" else float(value)
                except ValueError:
                    raise ValueError(f"--beside {short(text)}: {field} must be a number, not {short(value)}") from None
        # A step size belongs to its ε and steps.
        if {"eps", "steps"} & set(changes):
            changes.setdefault("step_size", None)
        return cls(name, changes)

    @classmethod
    def of(cls, classifier: str, config: BoostConfig) -> Beside:
        """Every setting said; ℓ₀ only if it is given. ValueError for one per class, which no command can say."""
        fields = dataclasses.asdict(config)
        if fields["l0"] is None:
            del fields["l0"]
        elif not isinstance(fields["l0"], float | int):
            raise ValueError("an ℓ₀ per class cannot be said on the command line; leave it to the card")
        return cls(classifier, fields)

    @property
    def text(self) -> str:
        """As `--beside` takes it."""
        said = (f"{name}={'none' if value is None else value}" for name, value in self.changes.items())
        return ",".join(filter(None, [self.classifier, *said]))

    def way(self, main: Way) -> Way:
        """The way it is; ValueError for a classifier that is not there, or impossible settings."""
        classifier = main.classifier
        if self.classifier:
            classifier = load_classifier(self.classifier, device=main.classifier.mean.device)
        return main._replace(classifier=classifier, config=dataclasses.replace(main.config, **self.changes))
