"""From a recipe to its figure: the images drawn, boosted and measured, then laid out.

Every number in a figure, and in its caption, is of the 8-bit images that it shows.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from bigroc_core.attack import TINY, linf_eps_of
from bigroc_core.boosting import BoostConfig, boost_stream, logits_of
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier, refuse_judge
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy
from bigroc_core.figures.recipe import TRAINING_LOSSES, TRAINING_SHARES, Recipe, labels_of
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import fit_to, from_uint8, to_uint8
from bigroc_core.interpolation import feature_distance, interpolate_stream
from bigroc_core.sources import labels_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bigroc_core.figures.drawing import TargetedRow

# Images computed at once: always as many, so that the same recipe gives the same bits.
BATCH = 50
# Images that are looked through for one of each class.
POOL = 200
T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a figure is: done of total, and what is being done."""

    done: int
    total: int
    doing: str


@dataclass(frozen=True)
class Made:
    """A figure, and what its caption says of it."""

    figure: Figure
    caption: str


Making = Generator[Progress, None, T]


def finished(making: Making[T]) -> T:
    """What is being made, once it is made."""
    while True:
        try:
            next(making)
        except StopIteration as ended:
            return ended.value


def training_recipe(name: str, lines: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe of a joint training's curves, from the lines of its log. ValueError for anything else."""
    drawn = ("step", *TRAINING_SHARES, *TRAINING_LOSSES)
    # A vanilla run's lines say nothing of attacks.
    of_attacks = dict.fromkeys(("real", "generated", "stopped"), 0.0)
    kept = []
    for number, line in enumerate(lines, 1):
        if not isinstance(line, Mapping):
            raise ValueError(f"line {number} is no JSON object")
        if missing := [key for key in drawn if key not in {**of_attacks, **line}]:
            raise ValueError(f"line {number} lacks {', '.join(missing)}")
        kept.append({key: {**of_attacks, **line}[key] for key in drawn})
    return Recipe("training", {"name": name, "lines": kept})


def sweep_recipe(result: Mapping[str, Any]) -> Recipe:
    """The recipe of a sweep's curve, from what `sweep --output` writes. ValueError for anything else."""
    try:
        return Recipe(
            "sweep",
            {
                "points": [
                    {"stage": p["stage"], "eps": p["eps"], "mean": p["frechet"]["mean"], "std": p["frechet"]["std"]}
                    for p in result["points"]
                ],
                "best": result["best"],
                "features_of": result["features_of"],
                "norm": result["config"]["norm"],
                "source": result["source"],
                "seeds": result["seeds"],
            },
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


class Models:
    """The classifiers of one figure, loaded once: `given` ones, else embedded ones, on one device."""

    def __init__(self, device: torch.device | str, given: Mapping[str, Classifier] | None = None) -> None:
        self.device = device
        self._loaded = dict(given or {})

    def classifier(self, name: str) -> Classifier:
        """The classifier of a name. ValueError if there is none, and for a judge, which takes no part in boosting."""
        if name not in self._loaded:
            self._loaded[name] = load_classifier(name, device=self.device)
        refuse_judge(self._loaded[name].card)
        return self._loaded[name]


@dataclass(frozen=True)
class Found:
    """Images (N, 3, H, W) at 8-bit levels on the CPU, their labels (N,) or None, and what a caption calls them."""

    images: Tensor
    labels: Tensor | None
    name: str


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
        "sweep": _sweep,
        "training": _training,
    }
    return (yield from makers.get(recipe.figure, _pairs)(recipe, Models(device, classifiers)))


# --------------------------------------------------------------------------------------------------- parts of recipes


def images_from(source: Mapping[str, Any], recipe: Recipe, classifier: Classifier) -> Found:
    """The images of a recipe's source, at the classifier's size, labels in the classifier's numbers."""
    size = classifier.card.input_size
    if "images" in source:
        images = fit_to(recipe.pixels(source["images"]), size).pixels
        labels = labels_of(source["classes"], classifier.classes)
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"{len(labels)} classes for {len(images)} images")
        return Found(_rounded(images), labels, source["images"])
    generator = load_generator(source["generator"])
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
    return Found(_rounded(fit_to(drawn.cpu(), size).pixels), labels, f"{source['generator']} (seed {source['seed']})")


def end_image(end: Mapping[str, Any], recipe: Recipe, size: tuple[int, int]) -> tuple[Tensor, str]:
    """One image (3, H, W) of a recipe at `size`, and what a caption calls it."""
    if "image" in end:
        return _rounded(fit_to(recipe.pixels(end["image"])[0], size).pixels), str(end["image"])
    generator = load_generator(end["generator"])
    labels = None if end["class"] is None else labels_of([end["class"]], generator.classes)
    drawn, _ = generator.sample(1, labels=labels, seed=end["seed"], start=end["number"])
    return _rounded(fit_to(drawn[0].cpu(), size).pixels), f"{end['generator']}'s {end['number']} (seed {end['seed']})"


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
    generator = load_generator(source["generator"])
    held_out, _ = generator.sample(debias["count"], seed=debias["seed"])
    fitted = _rounded(fit_to(held_out.cpu(), classifier.card.input_size).pixels)
    return fit_debias(classifier, fitted.to(classifier.mean.device))


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
    return Boosted(exact, _rounded(exact), torch.cat(targets))


def targeted_row(classifier: Classifier, original: Tensor, config: BoostConfig, name: str) -> Making[TargetedRow]:
    """One image (3, H, W) boosted towards every class: P1 Fig. 2's row. P and ‖δ‖₂ are those of the 8-bit pictures."""
    from bigroc_core.figures.drawing import TargetedRow

    classes = len(classifier.classes)
    found = Found(original.expand(classes, -1, -1, -1).contiguous(), torch.arange(classes), name)
    images = (yield from boosted(found, classifier, config, doing=f"{name} network")).images
    certainty = _certainty(classifier, images).diagonal()
    return TargetedRow(name, images, certainty, (images - original).flatten(1).norm(dim=1))


def _certainty(classifier: Classifier, images: Tensor) -> Tensor:
    return logits_of(classifier, images.to(classifier.mean.device)).float().softmax(1).cpu()


def _rounded(images: Tensor) -> Tensor:
    return from_uint8(to_uint8(images))


def _how(config: BoostConfig, classifier: str) -> str:
    norm = "L2" if config.norm == "l2" else "L∞"
    return f"boosted through {classifier} ({norm}, ε = {config.eps:g} on [0, 1] pixels, T = {config.steps})"


def _moved(classifier: Classifier, before: Tensor, after: Tensor, labels: Tensor) -> str:
    """What boosting did to the images, in numbers."""
    chosen = labels[:, None]
    start, end = (_certainty(classifier, images).gather(1, chosen).mean() for images in (before, after))
    length = (after - before).flatten(1).norm(dim=1).mean()
    return f"mean P of the target {start:.2f} → {end:.2f}, mean ‖δ‖₂ {length:.2f}"


# -------------------------------------------------------------------------------------------------------- the figures


def _boosted_set(recipe: Recipe, models: Models) -> Making[tuple[Found, Boosted, Classifier, str]]:
    """A source and the same boosted, the classifier, and the caption."""
    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    found = images_from(settings["source"], recipe, classifier)
    shift = shift_for(settings["debias"], settings["source"], classifier) if found.labels is None else None
    after = yield from boosted(found, classifier, config, shift)
    moved = _moved(classifier, found.images, after.images, after.labels)
    said = f"{len(found.images)} images of {found.name}, {_how(config, settings['classifier'])}: {moved}."
    return found, after, classifier, said


def _pairs(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Figs. 1 and 7 to 10: generated images and beside them the boosted ones."""
    from bigroc_core.figures.drawing import Block, blocks

    found, after, classifier, caption = yield from _boosted_set(recipe, models)
    columns = recipe.settings["columns"]
    names = _row_names(found.labels, columns, classifier.classes)
    return Made(blocks([Block("generated", found.images), Block("boosted", after.images)], columns, names), caption)


def _row_names(labels: Tensor | None, columns: int, classes: tuple[str, ...]) -> list[str]:
    """The class of each row, where each row is of one class."""
    if labels is None:
        return []
    rows = [set(labels[start : start + columns].tolist()) for start in range(0, len(labels), columns)]
    return [classes[next(iter(row))] for row in rows] if all(len(row) == 1 for row in rows) else []


def _aligned(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 2."""
    from bigroc_core.figures.drawing import fig2

    settings = recipe.settings
    robust, standard = (models.classifier(settings[name]) for name in ("robust", "standard"))
    if robust.classes != standard.classes or robust.card.input_size != standard.card.input_size:
        raise ValueError(f"{settings['robust']} and {settings['standard']} differ in classes or size of images")
    original, name = end_image(settings["start"], recipe, robust.card.input_size)
    config, rows = BoostConfig(**settings["config"]), []
    for classifier, title in ((robust, "Robust"), (standard, "Standard")):
        rows.append((yield from targeted_row(classifier, original, config, title)))
    said = "; ".join(
        f"{row.name.lower()}: mean P {row.certainty.mean():.3f}, mean ‖δ‖₂ {row.l2.mean():.2f}" for row in rows
    )
    towards = f"{name} moved towards every class through {settings['robust']} and {settings['standard']}"
    return Made(fig2(original, rows, robust.classes), f"{towards}, ε = {config.eps:g}, T = {config.steps}; {said}.")


def _debiased(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 3."""
    from bigroc_core.figures.drawing import Block, fig3

    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    found = images_from(settings["source"], recipe, classifier)
    found = Found(found.images, None, found.name)  # targets are estimated here, whatever the labels
    shift = shift_for(settings["debias"], settings["source"], classifier)
    if shift is None:
        raise ValueError("this figure compares boosting without and with debiasing: say what it is fitted to")
    without = yield from boosted(found, classifier, config, doing="boosting without debiasing")
    with_shift = yield from boosted(found, classifier, config, shift, "boosting with debiasing")
    counts = [class_histogram(after.labels, len(classifier.classes)) for after in (without, with_shift)]
    entropies = histogram_entropy(counts[0]), histogram_entropy(counts[1])
    top = int(counts[0].argmax())
    name, times = classifier.classes[top], [int(count[top]) for count in counts]
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
        f"{len(found.images)} images of {found.name}, {_how(config, settings['classifier'])}: "
        f"{name} {times[0]} → {times[1]}, entropy of the targets {entropies[0]:.3f} → {entropies[1]:.3f} nats "
        "with debiasing (P1 Eq. 2).",
    )


def _threat_models(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 4."""
    from bigroc_core.figures.drawing import Block, blocks

    settings = recipe.settings
    classifier, config = models.classifier(settings["classifier"]), BoostConfig(**settings["config"])
    if config.norm != "l2":
        raise ValueError("settings.config.norm must be l2: the radius of the L∞ ball comes from the L2 result")
    found = images_from(settings["source"], recipe, classifier)
    l2 = yield from boosted(found, classifier, config, doing="L2")
    eps = linf_eps_of(l2.exact - found.images, settings["share"])
    other = BoostConfig(
        eps=eps,
        steps=config.steps,
        norm="linf",
        loss=config.loss,
        gradient=config.gradient,
        stop_at=config.stop_at,
        l0=config.l0,
    )
    targets = Found(found.images, l2.labels, found.name)
    linf = yield from boosted(targets, classifier, other, doing="L∞")
    columns = settings["columns"]
    figure = blocks(
        [
            Block("generated", found.images),
            Block(f"L∞, ε = {eps:.3f}", linf.images),
            Block(f"L2, ε = {config.eps:g}", l2.images),
        ],
        columns,
        _row_names(found.labels, columns, classifier.classes),
    )
    share = settings["share"]
    return Made(
        figure,
        f"{len(found.images)} images of {found.name} boosted through {settings['classifier']}, "
        f"T = {config.steps}: in L2 with ε = {config.eps:g} "
        f"({_moved(classifier, found.images, l2.images, l2.labels)}), and in L∞ with ε = {eps:.4f}, the "
        f"{share:.0%} quantile of |δ| over all pixels of the L2 result "
        f"({_moved(classifier, found.images, linf.images, l2.labels)}).",
    )


def _families(recipe: Recipe, models: Models) -> Making[Made]:
    """P1 Fig. 5: of several generators one image per class, and the same boosted."""
    from bigroc_core.figures.drawing import Block, blocks

    classifier = models.classifier(recipe.settings["classifier"])
    before, after, names, said = [], [], [], []
    for one in recipe.settings["sets"]:
        config, source = BoostConfig(**one["config"]), one["source"]
        found = images_from(source, recipe, classifier)
        shift = shift_for(one["debias"], source, classifier) if found.labels is None else None
        chosen = _one_of_each(found, classifier, shift)
        result = yield from boosted(chosen, classifier, config, doing=found.name)
        before.append(chosen.images)
        after.append(result.images)
        names.append(source.get("generator", found.name).removeprefix("cifar10-"))
        moved = _moved(classifier, chosen.images, result.images, result.labels)
        said.append(f"{found.name}, ε = {config.eps:g}, T = {config.steps}: {moved}")
    columns = len(classifier.classes)
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
    from bigroc_core.figures.drawing import InterpolatedRow, Walk, interpolations

    settings = recipe.settings
    classifiers = [models.classifier(name) for name in settings["classifiers"]]
    sizes = {classifier.card.input_size for classifier in classifiers}
    if len(sizes) > 1:
        raise ValueError(f"the classifiers take images of different sizes: {sorted(sizes)}")
    (size,) = sizes
    fractions, walks, said = sorted(settings["c"]), [], []
    for source_end, target_end in settings["pairs"]:
        source, _ = end_image(source_end, recipe, size)
        target, _ = end_image(target_end, recipe, size)
        if torch.equal(source, target):
            raise ValueError("source and target are the same image: there is no way between them")
        rows = []
        for name, classifier in zip(settings["classifiers"], classifiers, strict=True):
            frames = _rounded((yield from _frames(classifier, source, target, fractions, settings, name)))
            distances = feature_distance(
                classifier, torch.cat([source[None], frames]), target[None], settings["weights"]
            )
            share = distances[1:] / distances[0].clamp_min(TINY)
            l2 = (frames - source).flatten(1).norm(dim=1)
            rows.append(InterpolatedRow(name, frames, l2, share))
            said.append(f"{name}: ‖δ‖₂ {l2[-1]:.2f}, {share[-1]:.3f} of the feature distance at c = {fractions[-1]:g}")
        walks.append(Walk(source, target, rows))
    ways = "from one image to another" if len(walks) == 1 else f"between {len(walks)} pairs of images"
    caption = f"Interpolation {ways} by P1 Eq. 3, T = {settings['steps']}; {'; '.join(said)}."
    return Made(interpolations(walks, fractions), caption)


def _frames(
    classifier: Classifier,
    source: Tensor,
    target: Tensor,
    fractions: Sequence[float],
    settings: Mapping[str, Any],
    name: str,
) -> Making[Tensor]:
    device = classifier.mean.device
    found: dict[int, Tensor] = {}
    for point in interpolate_stream(
        classifier,
        source[None].to(device),
        target[None].to(device),
        fractions,
        settings["steps"],
        settings["weights"],
        warm_start=settings["warm_start"],
    ):
        found[point.place] = point.images[0].cpu()
        yield Progress(len(found), len(fractions), f"interpolating through {name}")
    return torch.stack([found[place] for place in range(len(fractions))])


def _side_by_side(recipe: Recipe, models: Models) -> Making[Made]:
    """Rows of originals, each over its row of boosted ones, with the targets under them."""
    from bigroc_core.figures.drawing import side_by_side

    found, after, classifier, caption = yield from _boosted_set(recipe, models)
    names = [classifier.classes[label] for label in after.labels.tolist()]
    return Made(side_by_side(found.images, after.images, names, recipe.settings["columns"]), caption)


def _histograms(recipe: Recipe, models: Models) -> Making[Made]:
    """Class histograms without and with debiasing (P1 Eq. 2)."""
    from bigroc_core.figures.drawing import debias_histograms

    settings = recipe.settings
    classifier, source = models.classifier(settings["classifier"]), settings["source"]
    if load_generator(source["generator"]).classes:
        raise ValueError(f"{source['generator']} is conditional: its labels are given, and debiasing plays no part")
    yield Progress(0, 1, "fitting d")
    shift = shift_for(settings["debias"], source, classifier)
    assert shift is not None
    yield Progress(0, 1, "estimating classes")
    found = images_from(source, recipe, classifier)
    logits = logits_of(classifier, found.images.to(classifier.mean.device))
    counts = [class_histogram(values.argmax(1).cpu(), len(classifier.classes)) for values in (logits, logits + shift)]
    entropies = histogram_entropy(counts[0]), histogram_entropy(counts[1])
    figure = debias_histograms(counts[0].tolist(), counts[1].tolist(), classifier.classes, entropies)
    return Made(
        figure,
        f"Classes that {settings['classifier']} sees in {len(found.images):,} images of {found.name}: "
        f"entropy {entropies[0]:.3f} nats without, {entropies[1]:.3f} with debiasing fitted to "
        f"{settings['debias']['count']:,} others.",
    )


def _training(recipe: Recipe, models: Models) -> Making[Made]:
    """The curves of a joint model's training; its points stand in the recipe."""
    from bigroc_core.figures.drawing import training_curves

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


def _sweep(recipe: Recipe, models: Models) -> Making[Made]:
    """The curve of a sweep; its points stand in the recipe."""
    from bigroc_core.figures.drawing import sweep_curve

    settings = recipe.settings
    groups = {
        stage: [(p["eps"], p["mean"], p["std"]) for p in settings["points"] if p["stage"] == stage]
        for stage in ("fine", "coarse")
    }
    norm = "L2" if settings["norm"] == "l2" else "L$\\infty$"
    yield Progress(0, 1, "drawing")
    figure = sweep_curve(
        groups["fine"],
        settings["best"],
        settings["features_of"],
        groups["coarse"],
        f"$\\epsilon$ ({norm}, images in [0, 1])",
    )
    return Made(
        figure,
        f"{settings['source']}: Fréchet distance in {settings['features_of']}'s features over ε; best "
        f"{settings['best']:.3g}.",
    )
