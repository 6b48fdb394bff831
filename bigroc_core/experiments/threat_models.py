"""L2 beside L∞ on the same images (P1 Fig. 4).

Everything kept is 8-bit, and every number is computed from those images; only the L∞ radius comes from the float
result, as P1 has it.
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

from bigroc_core.attack import linf_eps_of
from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_named, compute_device, generator_cards, on_gpu, pixels_of
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.own import shell
from bigroc_core.experiments import every_class
from bigroc_core.experiments.boost import own_labels
from bigroc_core.experiments.comparison import Comparison, Row, certainty_of, packed, unpacked, walked
from bigroc_core.experiments.growing import described, last
from bigroc_core.experiments.kept import keep, kept
from bigroc_core.experiments.requests import ESTIMATED, BallRequest, said_of_precision, why_estimated
from bigroc_core.experiments.sizes import boost_by_size, copied, rounded
from bigroc_core.images import from_uint8
from bigroc_core.settings import like, setting
from bigroc_core.sources import ImagesRequest


@dataclass(frozen=True, kw_only=True)
class ThreatModelsRequest(BallRequest, ImagesRequest):
    """P1 Fig. 4 as asked for; ε and T are P1's, in units of images in [0, 1]."""

    eps: float = like(
        BallRequest,
        "eps",
        5.0,
        help="Radius of the L2 ball, on pixels in [0, 1].",
        info="Radius of the L2 ball, pixels in [0, 1]. P1's is 10 on [-1, 1], which is 5.",
    )
    steps: int = like(BallRequest, "steps", 30, help="PGD steps T, of both.", least=1)
    quantile: float = setting(
        0.7,
        "The L∞ ε is this quantile of |δ| over all pixels of the L2 result.",
        label="Quantile",
        info="The L∞ ε is this quantile of |δ| over all pixels of the L2 result; P1 takes 0.7.",
        least=0.05,
        most=1,
        step=0.05,
    )

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON; the L∞ ε follows from it."""
        own = {name: getattr(self, name) for name in ("classifier", "eps", "steps", "quantile")}
        return self.images.settings() | own | said_of_precision(self.precision)


def in_both_balls(
    classifier: Classifier,
    images: Sequence[Tensor],
    labels: Tensor | None,
    config: BoostConfig,
    quantile: float = 0.7,
    batch_size: int | None = None,
    precision: str = "exact",
) -> Iterator[Comparison]:
    """P1 Fig. 4: the same images in an L2 ball, and in an L∞ ball as large as the L2 result's |δ| at this quantile.

    images: (3, H, W) each in [0, 1], taken at 8-bit levels. labels: the targets (N,), None to have them estimated.
    config: of the L2 run, whose loss, gradient and early stop the other has too. The run, growing, the last time
    finished; settings has "linf_eps" once it is known. ValueError for bad input.
    """
    if config.norm != "l2":
        raise ValueError("norm must be l2: the radius of the L∞ ball comes from the L2 result")
    linf_eps_of(torch.zeros(1, 1, 1, 1), quantile)
    originals = rounded(images)
    labels = next(boost_by_size(classifier, originals, labels, BoostConfig(eps=0.0, steps=0))).labels
    targets = labels.numpy()
    before = certainty_of(classifier, originals, targets)
    rows = [
        Row(f"L2, ε = {config.eps:g}", "‖δ‖₂ ≤ ε", copied(originals), before),
        Row("L∞", f"ε = q{quantile:g} of |δ|", copied(originals), before),
    ]
    run = Comparison(originals, np.stack([before, before]), targets, classifier.classes, rows, {})
    run.total = 2 * config.steps
    moved: list[Tensor] = []
    stream = boost_by_size(classifier, originals, labels, config, batch_size=batch_size, precision=precision)
    for moment in walked(run, 0, stream, config.steps, classifier):
        moved = moment.images
        yield run
    changed = [(after.cpu() - from_uint8(before)).flatten() for before, after in zip(originals, moved, strict=True)]
    eps = linf_eps_of(torch.cat(changed), quantile)
    rows[1].name, run.settings["linf_eps"] = f"L∞, ε = {eps:.4f}", eps
    other = replace(config, eps=eps, step_size=None, norm="linf")
    stream = boost_by_size(classifier, originals, labels, other, batch_size=batch_size, precision=precision)
    for _ in walked(run, 1, stream, config.steps, classifier):
        yield run
    run.finished = True
    yield run


def compare_balls(request: ThreatModelsRequest, device: str | None = None) -> Iterator[Comparison]:
    """P1 Fig. 4 of a request: the run, growing, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    device = device or compute_device()
    classifier = classifier_named(request.classifier, device)
    read = request.images.read(classifier.classes, None, device)
    config = BoostConfig(eps=request.eps, steps=request.steps)
    labels, notes, settings = read.labels, read.notes, request.settings() | read.as_used()
    if labels is not None:
        if why := why_estimated(request.source, request.generator, request.classifier):
            labels, notes = None, (*notes, f"{why}: targets are estimated")
            settings["target"] = ESTIMATED.lower()
        else:
            labels = own_labels(request.images, labels, classifier)
    growing = in_both_balls(classifier, read.images, labels, config, request.quantile, precision=request.precision)
    yield from described(growing, settings, notes, began)


def computing(request: ThreatModelsRequest, device: str | None = None) -> int:
    """What a comparison computes: the pixels of both balls' runs."""
    return 2 * request.images.most * request.steps * pixels_of(request.classifier)


compare_balls_on_gpu = on_gpu(computing)(compare_balls)


def as_command(run: Comparison) -> str:
    """The command that draws this comparison as P1 Fig. 4; images that no generator drew, or whose own classes were not
    the targets, come from the download."""
    settings, words = run.settings, ["python", "-m", "bigroc_core", "figure", "fig4"]
    if settings["source"] == "generator" and "target" not in settings:
        words += ["--generator", settings["generator"], "--seed", str(settings["seed"])]
        words += ["--columns", "1", "--rows", str(settings["count"])]
        if "classes" in settings:
            words += ["--classes", *(run.classes[y] for y in run.targets)]
    else:
        words += ["--images", "original", "--rows", str(len(run.targets)), "--columns", "1"]
    words += [
        "--classifier",
        settings["classifier"],
        "--eps",
        f"{settings['eps']:g}",
        "--steps",
        str(settings["steps"]),
    ]
    return shell([*words, "--quantile", f"{settings['quantile']:g}", "--output", "fig4.png"])


# ------------------------------------------------------------------------------------- the examples kept in assets/


def opening_request() -> ThreatModelsRequest:
    """The example that the tab opens with."""
    name, card = next(iter(generator_cards().items()))
    classes = tuple(one for one in ("airplane", "automobile", "bird", "dog", "horse", "ship") if one in card.classes)
    return ThreatModelsRequest(generator=name, count=6, classes=classes)


def opening(path: Path = every_class.KEPT) -> Comparison:
    """The finished example: the kept one, or where models have changed since, one of few steps, on the CPU."""
    request = opening_request()
    return kept(
        path,
        every_class.opening_digest(),
        request.settings(),
        lambda entries: unpacked(entries, "balls"),
        lambda: last(compare_balls(replace(request, steps=2), "cpu")),
    )


def keep_opening(path: Path = every_class.KEPT) -> None:
    """Make both examples anew: `python -m bigroc_core.experiments.opening`."""
    balls = last(compare_balls(opening_request(), "cpu"))
    aligned = last(every_class.align(every_class.opening_request(), "cpu"))
    keep(path, every_class.opening_digest(), packed(balls, "balls") | packed(aligned, "aligned"))
