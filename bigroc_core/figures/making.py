"""From a recipe to its figure: the images drawn, boosted and measured, then laid out.

Imported where a figure is made, since matplotlib is slow to import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, logits_of
from bigroc_core.catalogue import generator_named
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.debiasing import class_histogram, histogram_entropy
from bigroc_core.experiments.comparison import Comparison, Row
from bigroc_core.experiments.every_class import towards_every_class
from bigroc_core.experiments.frames import Interpolation
from bigroc_core.experiments.interpolate import Manner, between
from bigroc_core.experiments.threat_models import in_both_balls
from bigroc_core.figures.drawing import (
    Block,
    InterpolatedRow,
    TargetedRow,
    Walk,
    blocks,
    debias_histograms,
    fig2,
    fig3,
    interpolations,
    quality_against_time,
    side_by_side,
    sweep_curve,
    table,
    training_curves,
)
from bigroc_core.figures.parts import (
    BATCH,
    Boosted,
    Found,
    Making,
    Models,
    Progress,
    boosted,
    boosting_said,
    change_said,
    end_image,
    followed,
    images_from,
    moved,
    seeing,
    shift_for,
)
from bigroc_core.figures.recipe import Recipe
from bigroc_core.images import from_uint8
from bigroc_core.messages import in_words
from bigroc_core.norms import NORMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Made:
    """A figure, and what its caption says of it."""

    figure: Figure
    caption: str


def make(
    recipe: Recipe, device: torch.device | str = "cpu", classifiers: Mapping[str, Classifier] | None = None
) -> Making[Made]:
    """Make a recipe's figure, telling progress on the way; the generator's return value is the figure.

    classifiers: by name, those that are not embedded. ValueError where the recipe does not fit the models.
    """
    makers = {
        "fig2": _aligned,
        "fig3": _debiased,
        "fig4": _threat_models,
        "fig5": _families,
        "fig6": _interpolated,
        "fig11": _interpolated,
        "side-by-side": _side_by_side,
        "debias": _histograms,
        **dict.fromkeys(("table1", "table2", "table3"), _table),
        "curve": _curve,
        "sweep": _sweep,
        "training": _training,
    }
    return (yield from makers.get(recipe.figure, _pairs)(recipe, Models(device, classifiers or {})))


def _tensor(row: Row) -> Tensor:
    """The images (N, 3, H, W) of a row, which have one size."""
    return from_uint8(np.stack(list(row.images)))


def targeted_rows(run: Comparison, names: Sequence[str]) -> list[TargetedRow]:
    """The rows of P1 Fig. 2 under these names; P and ‖δ‖₂ are those of the 8-bit pictures."""
    return [
        TargetedRow(
            name,
            _tensor(row),
            torch.from_numpy(row.certainty),
            torch.from_numpy(run.l2(place)),
        )
        for place, (name, row) in enumerate(zip(names, run.rows, strict=True))
    ]


def _boosted_set(recipe: Recipe, models: Models) -> Making[tuple[Found, Boosted, Classifier, str]]:
    """A source and the same boosted, the classifier, and the caption."""
    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    found = images_from(settings["source"], recipe, classifier)
    classifier = seeing(classifier, recipe, found.size)
    shift = shift_for(settings["debias"], settings["source"], classifier) if found.labels is None else None
    after = yield from boosted(found, classifier, config, shift)
    changed = moved(classifier, found.images, after)
    said = f"{len(found.images)} images of {found.name}, {boosting_said(config, settings['classifier'])}: {changed}."
    return found, after, classifier, said


def _pairs(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Figs. 1 and 7 to 10: generated images and beside them the boosted ones."""
    found, after, classifier, caption = yield from _boosted_set(recipe, models)
    columns = recipe.settings["columns"]
    names = _row_names(found.labels, columns, classifier.classes)
    return Made(blocks([Block("generated", found.images), Block("boosted", after.images)], columns, names), caption)


def _row_names(labels: Tensor | None, columns: int, classes: tuple[str, ...]) -> list[str]:
    """The class of each row, where each row is of one class."""
    if labels is None:
        return []
    rows = [set(labels[start : start + columns].tolist()) for start in range(0, len(labels), columns)]
    return [in_words(classes[next(iter(row))]) for row in rows] if all(len(row) == 1 for row in rows) else []


def _aligned(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 2."""
    settings = recipe.settings
    robust, standard = (models.classifier(settings[name]) for name in ("robust", "standard"))
    original, name = end_image(settings["start"], recipe)
    robust, standard = (seeing(one, recipe, (original.shape[1], original.shape[2])) for one in (robust, standard))
    config = BoostConfig(**settings["config"])
    run = yield from followed(towards_every_class((robust, standard), original, config, BATCH), "towards every class: ")
    rows = targeted_rows(run, ("Robust", "Standard"))
    said = "; ".join(
        f"{row.name.lower()}: mean P {row.certainty.mean():.3f}, mean ‖δ‖₂ {row.l2.mean():.2f}" for row in rows
    )
    towards = f"{name} moved towards every class through {settings['robust']} and {settings['standard']}"
    return Made(fig2(original, rows, robust.classes), f"{towards}, ε = {config.eps:g}, T = {config.steps}; {said}.")


def _debiased(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 3."""
    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    found = images_from(settings["source"], recipe, classifier)
    found = Found(found.images, None, found.name)  # targets are estimated here, whatever the labels
    classifier = seeing(classifier, recipe, found.size)
    shift = shift_for(settings["debias"], settings["source"], classifier)
    if shift is None:
        raise ValueError("this figure compares boosting without and with debiasing: say what it is fitted to")
    without = yield from boosted(found, classifier, config, doing="boosting without debiasing")
    with_shift = yield from boosted(found, classifier, config, shift, "boosting with debiasing")
    counts = [class_histogram(after.labels, len(classifier.classes)) for after in (without, with_shift)]
    entropies = histogram_entropy(counts[0]), histogram_entropy(counts[1])
    top = int(counts[0].argmax())
    name, times = in_words(classifier.classes[top]), [int(count[top]) for count in counts]
    shown = (
        Block("generated", found.images),
        Block("boosted without debiasing", without.images, without.labels == top),
        Block("boosted with debiasing", with_shift.images, with_shift.labels == top),
    )
    note = f"Red: taken for {name},\n{times[0]} of {len(found.images)} without debiasing,\n{times[1]} with it."
    figure = fig3(
        shown, (counts[0].tolist(), counts[1].tolist()), entropies, classifier.classes, settings["columns"], note
    )
    return Made(
        figure,
        f"{len(found.images)} images of {found.name}, {boosting_said(config, settings['classifier'])}: "
        f"{name} {times[0]} → {times[1]}, entropy of the targets {entropies[0]:.3f} → {entropies[1]:.3f} nats "
        "with debiasing (P1 Eq. 2).",
    )


def _threat_models(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 4."""
    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    found, share = images_from(settings["source"], recipe, classifier), settings["share"]
    classifier = seeing(classifier, recipe, found.size)
    run = yield from followed(in_both_balls(classifier, tuple(found.images), found.labels, config, share, BATCH))
    l2, linf, eps = *map(_tensor, run.rows), run.settings["linf_eps"]
    said = [change_said(run.before[place], row.certainty, run.l2(place)) for place, row in enumerate(run.rows)]
    columns = settings["columns"]
    figure = blocks(
        [
            Block("generated", found.images),
            Block(f"L∞, ε = {eps:.3f}", linf),
            Block(f"L2, ε = {config.eps:g}", l2),
        ],
        columns,
        _row_names(found.labels, columns, classifier.classes),
    )
    return Made(
        figure,
        f"{len(found.images)} images of {found.name} boosted through {settings['classifier']}, "
        f"T = {config.steps}: in L2 with ε = {config.eps:g} "
        f"({said[0]}), and in L∞ with ε = {eps:.4f}, the "
        f"{share:.0%} quantile of |δ| over all pixels of the L2 result "
        f"({said[1]}).",
    )


def _families(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 5: of several generators one image per class, and the same boosted."""
    classifier = models.classifier(recipe.settings["classifier"])
    before, after, names, said = [], [], [], []
    for one in recipe.settings["sets"]:
        config, source = BoostConfig(**one["config"]), one["source"]
        found = images_from(source, recipe, classifier)
        looking = seeing(classifier, recipe, found.size)
        shift = shift_for(one["debias"], source, looking) if found.labels is None else None
        chosen = _one_of_each(found, looking, shift)
        result = yield from boosted(chosen, looking, config, doing=found.name)
        before.append(chosen.images)
        after.append(result.images)
        names.append(source.get("generator", found.name).removeprefix("cifar10-"))
        changed = moved(looking, chosen.images, result)
        said.append(f"{found.name}, ε = {config.eps:g}, T = {config.steps}: {changed}")
    columns = len(classifier.classes)
    if len({images.shape[1:] for images in before}) > 1:
        raise ValueError("the generators make images of different sizes, and a figure shows one: choose others")
    figure = blocks([Block("generated", torch.cat(before)), Block("boosted", torch.cat(after))], columns, names)
    return Made(figure, f"One image per class, boosted through {recipe.settings['classifier']}: {'; '.join(said)}.")


def _one_of_each(found: Found, classifier: Classifier, shift: Tensor | None) -> Found:
    """For each class the first image of it: by its label, else the one the classifier is surest of.

    Each image serves once, so that a class nobody drew gets the best of the rest.
    """
    count = len(classifier.classes)
    if len(found.images) < count:
        raise ValueError(f"{found.name} has {len(found.images)} images: one for each of {count} classes is needed")
    if found.labels is not None:
        places = [torch.nonzero(found.labels == c) for c in range(count)]
        if missing := [classifier.classes[c] for c in range(count) if not len(places[c])]:
            raise ValueError(f"{found.name} has no image of {', '.join(missing)}")
        rows = [int(place[0]) for place in places]
    else:
        logits = logits_of(classifier, found.images.to(classifier.mean.device)).float().cpu()
        sure = (logits if shift is None else logits + shift.cpu()).log_softmax(1)
        rows = [-1] * count
        for _ in range(count):
            place = int(sure.argmax())
            row, c = divmod(place, count)
            rows[c] = row
            sure[row], sure[:, c] = -math.inf, -math.inf
    return Found(found.images[rows], torch.arange(count), found.name)


def _interpolated(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Figs. 6 and 11."""
    settings = recipe.settings
    classifiers = [models.classifier(name) for name in settings["classifiers"]]
    fractions, walks, said = sorted(settings["c"]), [], []
    manner = Manner(
        fractions=tuple(fractions),
        steps=settings["steps"],
        weights=settings["weights"],
        warm_start=settings["warm_start"],
        view=settings.get("view"),
    )
    for source_end, target_end in settings["pairs"]:
        source, _ = end_image(source_end, recipe)
        target, _ = end_image(target_end, recipe, (source.shape[1], source.shape[2]))
        growing = between(classifiers, source, target, manner)
        run = yield from followed(growing, "interpolating through ")
        rows = interpolated_rows(run)
        said += [
            f"{row.name}: ‖δ‖₂ {row.l2[-1]:.2f}, {row.share[-1]:.3f} of the feature distance at c = {fractions[-1]:g}"
            for row in rows
        ]
        walks.append(Walk(source, target, rows))
    ways = "from one image to another" if len(walks) == 1 else f"between {len(walks)} pairs of images"
    caption = f"Interpolation {ways} by P1 Eq. 3, T = {settings['steps']}; {'; '.join(said)}."
    return Made(interpolations(walks, fractions), caption)


def interpolated_rows(run: Interpolation, frames: Sequence[int] | None = None) -> list[InterpolatedRow]:
    """The rows of P1 Fig. 6, of these frames; None: of all."""
    frames = range(len(run.fractions)) if frames is None else frames
    return [
        InterpolatedRow(
            name,
            from_uint8(run.frames[strip][list(frames)]),
            torch.tensor([run.l2(strip, frame) for frame in frames]),
            torch.tensor([run.share(strip, frame) for frame in frames]),
        )
        for strip, name in enumerate(run.classifiers)
    ]


def _side_by_side(recipe: Recipe, models: Models) -> Making[Made]:
    """Rows of originals, each over its row of boosted ones, with the targets under them."""
    found, after, classifier, caption = yield from _boosted_set(recipe, models)
    names = [in_words(classifier.classes[label]) for label in after.labels.tolist()]
    return Made(side_by_side(found.images, after.images, names, recipe.settings["columns"]), caption)


def _histograms(recipe: Recipe, models: Models) -> Making[Made]:
    """Class histograms without and with debiasing (P1 Eq. 2), counted here or, where they were counted before, drawn
    from their numbers."""
    settings = recipe.settings
    if "without" in settings:
        yield Progress(0, 1, "drawing")
        counts = torch.tensor(settings["without"]), torch.tensor(settings["with"])
        said = settings["seen_by"], settings["of"], settings["fitted_to"]
        return _counted(counts, tuple(settings["classes"]), said)
    classifier, source = models.classifier(settings["classifier"]), settings["source"]
    if generator_named(source["generator"], "cpu").classes:
        raise ValueError(f"{source['generator']} is conditional: its labels are given, and debiasing plays no part")
    yield Progress(0, 1, "estimating classes")
    found = images_from(source, recipe, classifier)
    classifier = seeing(classifier, recipe, found.size)
    yield Progress(0, 1, "fitting d")
    shift = shift_for(settings["debias"], source, classifier)
    assert shift is not None
    logits = logits_of(classifier, found.images.to(classifier.mean.device))
    found_by = [values.argmax(1).cpu() for values in (logits, logits + shift)]
    counts = (
        class_histogram(found_by[0], len(classifier.classes)),
        class_histogram(found_by[1], len(classifier.classes)),
    )
    return _counted(counts, classifier.classes, (settings["classifier"], found.name, settings["debias"]["count"]))


def _counted(counts: Sequence[Tensor], classes: tuple[str, ...], said: tuple[str, str, int]) -> Made:
    """The histograms of two counts (C,). said: by which classifier, of which images, d fitted to how many others."""
    if not len(counts[0]) == len(counts[1]) == len(classes):
        raise ValueError(f"{len(counts[0])} and {len(counts[1])} counts for {len(classes)} classes")
    entropies = histogram_entropy(counts[0]), histogram_entropy(counts[1])
    seen_by, of, fitted_to = said
    return Made(
        debias_histograms(counts[0].tolist(), counts[1].tolist(), classes, entropies),
        f"Classes that {seen_by} sees in {int(counts[0].sum()):,} images of {of}: entropy {entropies[0]:.3f} nats "
        f"without, {entropies[1]:.3f} with debiasing fitted to {fitted_to:,} others.",
    )


def _training(recipe: Recipe, models: Models) -> Making[Made]:
    """The curves of a joint model's training; its points stand in the recipe."""
    lines = recipe.settings["lines"]
    # A vanilla run attacks nothing, and has no such readings.
    vanilla = not any(line["real"] for line in lines)
    yield Progress(0, 1, "drawing")
    last = lines[-1]
    return Made(
        training_curves(lines, vanilla),
        f"{recipe.settings['name']}: joint training, {last['step']:,} "
        f"iterations; at its end held-out images are told apart with AUC {last['auc']:.3f}, accuracy "
        f"{last['clean']:.1%} clean and {last['pgd10']:.1%} under PGD.",
    )


def _table(recipe: Recipe, models: Models) -> Making[Made]:
    """P2's tables; their numbers stand in the recipe."""
    settings = recipe.settings
    yield Progress(0, 1, "drawing")
    return Made(
        table(settings["columns"], settings["rows"]),
        f"P2 Table {recipe.figure[-1]} on the generators here: Fréchet distance in {settings['features_of']}'s "
        "features, in brackets the gain over the images as they came; bold where it is below every column to its left "
        "beyond the error bar. In italics the FIDs that P2 prints, of which only the order can be compared.",
    )


def _curve(recipe: Recipe, models: Models) -> Making[Made]:
    """P2 4.2's quality against time; its points stand in the recipe."""
    points, features_of = recipe.settings["points"], recipe.settings["features_of"]
    yield Progress(0, 1, "drawing")
    said = f"Quality against time: Fréchet distance in {features_of}'s features over milliseconds per image, of more"
    return Made(
        quality_against_time(points, features_of),
        f"{said} consistency steps, and of more PGD steps on one-step images.",
    )


def _sweep(recipe: Recipe, models: Models) -> Making[Made]:
    """The curve of a sweep; its points stand in the recipe."""
    settings = recipe.settings
    groups = {
        stage: [(p["eps"], p["mean"], p["std"]) for p in settings["points"] if p["stage"] == stage]
        for stage in ("fine", "coarse")
    }
    norm = NORMS[settings["norm"]].title.replace("∞", "$\\infty$")
    measure = "KID" if settings.get("measure") == "kid" else "Fréchet distance"
    yield Progress(0, 1, "drawing")
    figure = sweep_curve(
        groups["fine"],
        settings["best"],
        settings["features_of"],
        groups["coarse"],
        f"$\\epsilon$ ({norm}, images in [0, 1])",
        measure,
    )
    return Made(
        figure,
        f"{settings['source']}: {measure} in {settings['features_of']}'s features over ε; best {settings['best']:.3g}.",
    )
