"""One image moved towards every class, through a robust network and through one that is not (P1 Fig. 2).

Everything kept is 8-bit, and every number is computed from those images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    control_for,
    kind_of,
    on_gpu,
    pixels_of,
)
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.own import shell
from bigroc_core.experiments.comparison import Comparison, Row, certainty_of, unpacked, walked
from bigroc_core.experiments.growing import described, digits, last
from bigroc_core.experiments.kept import kept, weights_digest
from bigroc_core.experiments.one_image import OneImageRequest
from bigroc_core.experiments.requests import BallRequest, ProbabilityStopRequest, StepSizeRequest, said_of_precision
from bigroc_core.experiments.sizes import boost_by_size
from bigroc_core.images import to_uint8
from bigroc_core.places import ASSETS
from bigroc_core.settings import like
from bigroc_core.sources import EXAMPLES, example_paths

# The finished example of this and of `threat_models`.
KEPT = ASSETS / "threat-models.npz"


@dataclass(frozen=True, kw_only=True)
class EveryClassRequest(ProbabilityStopRequest, StepSizeRequest, BallRequest, OneImageRequest):
    """P1 Fig. 2 as asked for; ε, T and α are P1's, in units of images in [0, 1]."""

    eps: float = like(
        BallRequest,
        "eps",
        15.0,
        help="Radius of the L2 ball, on pixels in [0, 1].",
        info="Radius of the L2 ball, pixels in [0, 1]. P1's is 30 on [-1, 1], which is 15.",
    )
    steps: int = like(BallRequest, "steps", 60, least=1)
    step_size: float | None = like(StepSizeRequest, "step_size", 0.25)
    stop_at: float | None = like(
        ProbabilityStopRequest, "stop_at", 0.99, help="A copy rests at this probability of its class; empty: never."
    )

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The chosen classifier, and its control if there is one that knows the same classes."""
        cards, control = classifier_cards(), control_for(self.classifier)
        if control is None or cards[control].classes != cards[self.classifier].classes:
            return (self.classifier,)
        return self.classifier, control

    @property
    def config(self) -> BoostConfig:
        """How each copy is moved."""
        return BoostConfig(eps=self.eps, steps=self.steps, step_size=self.step_size, stop_at=self.stop_at)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON."""
        own = {name: getattr(self, name) for name in ("eps", "steps", "step_size", "stop_at")}
        images = {"image": self.image.settings(), "classifiers": list(self.classifiers)}
        return images | own | said_of_precision(self.precision)


def towards_every_class(
    networks: Sequence[Classifier],
    image: Tensor,
    config: BoostConfig,
    batch_size: int | None = None,
    precision: str = "exact",
) -> Iterator[Comparison]:
    """P1 Fig. 2: one image moved towards every class, a row per network.

    networks: of the same classes. image: (3, H, W) in [0, 1], taken at 8-bit levels. The run,
    growing, the last time finished. ValueError for bad input.
    """
    first = networks[0]
    for other in networks:
        if other.classes != first.classes:
            raise ValueError(f"{first.card.name} and {other.card.name} differ in classes")
    targets = torch.arange(len(first.classes))
    originals = to_uint8(image[None]).repeat(len(targets), 0)
    before = np.stack([certainty_of(network, originals, targets.numpy()) for network in networks])
    rows = [
        Row(network.card.name, kind_of(network.card), originals.copy(), certainty)
        for network, certainty in zip(networks, before, strict=True)
    ]
    run = Comparison(originals, before, targets.numpy(), first.classes, rows, {}, repeated=True)
    run.total = len(rows) * config.steps
    for place, network in enumerate(networks):
        stream = boost_by_size(network, originals, targets, config, batch_size=batch_size, precision=precision)
        for _ in walked(run, place, stream, config.steps, network):
            yield run
    run.finished = True
    yield run


def align(request: EveryClassRequest, device: str | None = None) -> Iterator[Comparison]:
    """P1 Fig. 2 of a request: the run, growing, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    device = device or compute_device()
    networks = [classifier_named(name, device) for name in request.classifiers]
    read = request.image.read(None, device)
    growing = towards_every_class(networks, read.images[0], request.config, precision=request.precision)
    yield from described(growing, request.settings(), read.notes, began)


def computing(request: EveryClassRequest, device: str | None = None) -> int:
    """What the rows compute: the pixels of one image per class, through two networks."""
    classes = len(classifier_cards()[request.classifier].classes)
    return 2 * classes * request.steps * pixels_of(request.classifier)


align_on_gpu = on_gpu(computing)(align)


def as_command(run: Comparison) -> str:
    """The command that draws this comparison as P1 Fig. 2."""
    settings, words = run.settings, ["python", "-m", "bigroc_core", "figure", "fig2"]
    image = settings["image"]
    if "generator" in image:
        words += ["--generator", image["generator"], "--seed", str(image["seed"]), "--index", str(image["number"])]
    else:
        words += ["--image", f"assets/examples/{image['example']}" if "example" in image else image["file"]]
    words += ["--robust", settings["classifiers"][0], "--standard", settings["classifiers"][-1]]
    words += ["--eps", digits(settings["eps"])]
    # Left out, the step size would be P1's.
    alpha = settings["eps"] / settings["steps"] if settings["step_size"] is None else settings["step_size"]
    words += ["--steps", str(settings["steps"]), "--step-size", digits(alpha)]
    if settings["stop_at"] is not None:
        words += ["--stop-at", digits(settings["stop_at"])]
    return shell([*words, "--output", "fig2.png"])


# ------------------------------------------------------------------------------------- the example kept in assets/


def opening_request() -> EveryClassRequest:
    """The example that the tab opens with."""
    names = [path.name for path in example_paths()]
    shown = "garbage_truck-33.png"  # of which every class can be made to be seen
    if shown in names:
        return EveryClassRequest(source=EXAMPLES, example=shown)
    return EveryClassRequest(number=8, example=names[0] if names else None)


def opening_digest() -> str:
    """Of the models that this example and the one of `threat_models` are made with."""
    request = opening_request()
    return weights_digest((*request.classifiers, request.generator))


def opening(path: Path = KEPT) -> Comparison:
    """The finished example: the kept one, or where models have changed since, one of few steps, on the CPU."""
    request = opening_request()
    return kept(
        path,
        opening_digest(),
        request.settings(),
        lambda entries: unpacked(entries, "aligned"),
        lambda: last(align(replace(request, steps=2), "cpu")),
    )
