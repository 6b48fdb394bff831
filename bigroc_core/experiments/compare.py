"""The Boost tab's comparison: the same images towards the same targets, under up to four settings.

One thing varies and all else stays. p is always that of the Boost tab's classifier, also where the classifiers vary:
only so can their rows be compared. Every number is of the 8-bit images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_named, compute_device, on_gpu, pixels_of
from bigroc_core.checks import whole
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import BoostRequest, target_labels
from bigroc_core.experiments.comparison import Comparison, Row, certainty_of, folder_of, packed, unpacked, walked
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.kept import keep, kept, weights_digest
from bigroc_core.experiments.masks import masks_of
from bigroc_core.experiments.requests import DEBIASED, GIVEN, opening_generator, opening_target, recommended
from bigroc_core.experiments.sizes import Reach, boost_by_size, copied, rounded
from bigroc_core.limits import MAX_COMPARED, MAX_STEPS_PER_REQUEST
from bigroc_core.norms import NORMS
from bigroc_core.places import ASSETS
from bigroc_core.settings import like, numbers_in, setting
from bigroc_core.sources import UPLOAD, classifier_choices

EPS, STEPS, CLASSIFIER = "eps", "steps", "classifier"
# The finished example the panel opens with, which would take a second of the server's start.
KEPT = ASSETS / "compare.npz"


@dataclass(frozen=True, kw_only=True)
class CompareRequest(BoostRequest):
    """A comparison as asked for: a run's settings, one of which varies from row to row. What the request says of that
    one counts for nothing, but that its classifier estimates targets and says p."""

    target: str = like(BoostRequest, "target", help="What the images are moved towards, the same in all rows.")
    classifier: str = like(
        BoostRequest,
        "classifier",
        help="Whose gradients move the images, unless classifiers vary; it estimates targets, and p is its own.",
    )
    eps: float = like(BoostRequest, "eps", help="Radius of the ball, on pixels in [0, 1], unless it varies.")
    steps: int = like(BoostRequest, "steps", help="PGD steps T, unless they vary.")
    vary: Literal["eps", "steps", "classifier"] = setting(
        EPS,
        "What varies from row to row: eps, steps or classifier.",
        label="What varies",
        info="A step size left empty is each row's ε/T.",
        choices=(("strength ε", EPS), ("steps T", STEPS), ("classifier", CLASSIFIER)),
    )
    values: str = setting(
        NORMS["l2"].compared,
        "Of vary eps or steps: up to four numbers, with commas between them.",
        label="Values",
        info=f"Up to {MAX_COMPARED}, with commas between them; ε on pixels in [0, 1].",
    )
    classifiers: tuple[str, ...] = setting(
        (),
        "Of vary classifier: up to four, by name.",
        label="Classifiers",
        info=f"Up to {MAX_COMPARED}. Targets are estimated, and p is said, by the classifier set above: only so can "
        "the rows be compared.",
        choices=classifier_choices,
    )

    @property
    def own(self) -> str:
        """The field that has what is compared."""
        return "classifiers" if self.vary == CLASSIFIER else "values"

    @property
    def movers(self) -> tuple[str, ...]:
        """The classifiers whose gradients move the images."""
        return self.classifiers if self.vary == CLASSIFIER else (self.classifier,)

    def conflicts(self) -> dict[str, str]:
        """Settings that cannot be compared."""
        problems = super().conflicts()
        try:
            self.compared()
        except ValueError as error:
            problems[self.own] = str(error)
        return problems

    def compared(self) -> tuple[Any, ...]:
        """The settings to compare, in the order of the rows: of ε and T as typed, of classifiers as chosen.

        ValueError for none, more than MAX_COMPARED, one twice, or one that cannot be.
        """
        values: tuple[Any, ...] = self.classifiers if self.vary == CLASSIFIER else numbers_in(self.values, "the values")
        if not values:
            kind = "classifiers" if self.vary == CLASSIFIER else "numbers with commas between them"
            raise ValueError(f"name 1 to {MAX_COMPARED} {kind} to compare, not none")
        if len(values) > MAX_COMPARED:
            raise ValueError(f"at most {MAX_COMPARED} settings can be compared at once, not {len(values)}")
        names = [name_of(self.vary, value) for value in values]
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise ValueError(f"{twice[0]} is there twice: name each setting once")
        if self.vary == STEPS:
            return tuple(whole(steps, "each number of steps", 0, MAX_STEPS_PER_REQUEST) for steps in values)
        most = NORMS[self.norm].most
        if self.vary == EPS and (outside := [eps for eps in values if not 0 <= eps <= most]):
            raise ValueError(f"each ε must be from 0 to {most:g} in this norm, not {outside[0]:g}")
        return values

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON: a run's settings, with the values of what varies."""
        settings = super().settings()
        if self.vary != CLASSIFIER:
            del settings[self.vary]
        return settings | {"compared": {self.vary: list(self.compared())}}


def name_of(varied: str, value: Any) -> str:
    """What a row is called."""
    return str(value) if varied == CLASSIFIER else f"{'ε' if varied == EPS else 'T'} = {value:g}"


def compare(request: CompareRequest, device: str | None = None) -> Iterator[Comparison]:
    """The comparison, growing row by row, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    values, device = request.compared(), device or compute_device()
    judge = classifier_named(request.classifier, device)
    named = request.vary == CLASSIFIER
    movers = [classifier_named(name, device) for name in (values if named else (request.classifier,) * len(values))]
    configs = [request.config if named else replace(request.config, **{request.vary: value}) for value in values]
    for mover in movers:
        if mover.classes != judge.classes:
            raise ValueError(
                f"{mover.card.name} has other classes than {request.classifier}, the Boost tab's classifier: they "
                "cannot share targets"
            )
    read = request.images.read(judge.classes, None, device)
    labels, debias = target_labels(request, read, judge, device)
    originals = rounded(read.images)
    first = next(boost_by_size(judge, originals, labels, BoostConfig(eps=0.0, steps=0), debias))
    masks = masks_of(request.mask_files, originals)
    # All of them before the first step, since each refuses here what it cannot do.
    streams = [
        boost_by_size(mover, originals, first.labels, config, None, Reach(masks), precision=request.precision)
        for mover, config in zip(movers, configs, strict=True)
    ]
    targets = first.labels.numpy()
    before = certainty_of(judge, originals, targets)
    run = Comparison(
        originals,
        np.stack([before] * len(values)),
        targets,
        judge.classes,
        [Row(name_of(request.vary, value), "", copied(originals), before) for value in values],
        request.settings() | read.as_used(),
        read.notes,
        total=sum(config.steps for config in configs),
        masks=masks,
    )
    for place, (stream, config, mover) in enumerate(zip(streams, configs, movers, strict=True)):
        for _ in walked(run, place, stream, config.steps, judge, judged=mover is judge):
            run.seconds = time.perf_counter() - began
            yield run
    run.finished = True
    yield run


def computing(request: CompareRequest, device: str | None = None) -> int:
    """What a comparison computes: a run's pixels for each row, and those that debiasing is fitted to."""
    rows = request.compared()
    steps = sum(rows) if request.vary == STEPS else len(rows) * request.steps
    fitted = request.validation_count if request.target == DEBIASED else 0
    return (request.images.most * steps + fitted) * max(map(pixels_of, request.movers))


compare_on_gpu = on_gpu(computing)(compare)


def settle(run: Comparison) -> None:
    """Keep what a cancelled comparison reached: the row that it was at says how far it came, with p of its 8-bit images
    as any other has it."""
    for place, row in enumerate(run.rows):
        if row.step and not row.finished:
            judge = classifier_named(run.settings["classifier"], "cpu")
            row.certainty = certainty_of(judge, row.images, run.targets)
            row.name += f", step {row.step} of {row_settings(run, place)['steps']}"
            row.finished = True


def row_settings(run: Comparison, place: int) -> dict[str, Any]:
    """The settings of one row, as a run of its own has them."""
    ((varied, values),) = run.settings["compared"].items()
    return {name: value for name, value in run.settings.items() if name != "compared"} | {varied: values[place]}


def commands(run: Comparison) -> str:
    """One command per row, each into a folder named after it.

    Where no command of its own makes the images and their targets, it takes them from the download.
    """
    ((varied, values),) = run.settings["compared"].items()
    lines = []
    for place, value in enumerate(values):
        settings, to = row_settings(run, place), folder_of(name_of(varied, value))
        own = snippets.as_command(settings, to)
        # Another classifier would estimate other targets.
        estimates_otherwise = settings["target"] != GIVEN.lower() and settings[CLASSIFIER] != run.settings[CLASSIFIER]
        if own.startswith("#") or "masks" in settings or estimates_otherwise or settings["source"] == UPLOAD.lower():
            own = snippets.command_for_folder(settings, "original", to)
        lines.append(own)
    if any(" boost original " in line for line in lines):
        lines.insert(0, "# In the unpacked download, whose original/ holds the images and their targets:")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- the example kept in assets/


def opening_request(steps: int = 10) -> CompareRequest:
    """The example the panel opens with: the recommended settings, in so many steps, under four ε."""
    name = opening_generator()
    config = recommended(name) | {"steps": steps}
    return CompareRequest(generator=name, count=6, target=opening_target(), **config)


def opening(path: Path = KEPT) -> Comparison:
    """The finished example: the kept one, or where models have changed since, one of few steps, on the CPU."""
    request = opening_request()
    return kept(
        path,
        _digest(request),
        request.settings(),
        lambda entries: unpacked(entries, "compare"),
        lambda: last(compare(opening_request(2), "cpu")),
    )


def keep_opening(path: Path = KEPT) -> None:
    """Make the example anew: `python -m bigroc_core.experiments.opening`."""
    keep(path, _digest(opening_request()), packed(last(compare(opening_request(), "cpu")), "compare"))


def _digest(request: CompareRequest) -> str:
    return weights_digest((request.classifier, request.generator))
