"""Recipes from what is asked for: one function per kind of figure.

A recipe names what is embedded here. Images from files, and of generators that are not embedded, become its pixels;
classifiers that are not embedded are kept by name, for the figure to be made now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import Card
from bigroc_core.catalogue import classifier_cards, classifier_named, generator_cards, generator_named
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier, refuse_judge
from bigroc_core.debiasing import fit_debias
from bigroc_core.engine.views import ViewName
from bigroc_core.experiments import measured_tables as tables
from bigroc_core.experiments.debias import Study
from bigroc_core.figures.kinds import DEBIAS, FIGURE_KINDS, debias_for, families_source
from bigroc_core.figures.recipe import Recipe, images_for, labels_of, with_hashes
from bigroc_core.figures.schema import TRAINING
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.generators.sampling import Generator
from bigroc_core.images import check_together, fit_to, from_uint8, open_image_set, read_image, tally
from bigroc_core.limits import MAX_FIGURE_IMAGES, MAX_FIGURE_SIDE
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.sources import UPLOAD, OneImage
from bigroc_core.streams import labels_to

# Of an image in a recipe, which has room for a few marks behind it.
MAX_FILE_NAME = 160


class Draft:
    """A recipe in the making: the images and classifiers that no recipe can name, and cards of models by name.

    device: what models from elsewhere compute with. view: what classifiers see of images of another size than their
    own, None for their own view. notes: what was done to the images.
    """

    def __init__(self, device: torch.device | str = "cpu", view: ViewName = None) -> None:
        self.device, self.view = device, view
        self.notes: list[str] = []
        self.images: dict[str, np.ndarray] = {}
        self.classifiers: dict[str, Classifier] = {}
        self._generators: dict[str, Generator] = {}

    def recipe(self, figure: str, settings: dict[str, Any]) -> Recipe:
        """The finished recipe. Raises ValueError for settings out of bounds."""
        settings |= {} if self.view is None else {"view": self.view}
        return with_hashes(Recipe(figure, settings, self.images))

    def classifier(self, name: str) -> Card:
        """A classifier's card; ValueError where there is none, and for a judge."""
        card = embedded_classifiers().get(name)
        if card is None:
            offered = name in classifier_cards()
            loaded = classifier_named(name, str(self.device)) if offered else load_classifier(name, device=self.device)
            card = loaded.card
            self.classifiers[card.name] = loaded
        refuse_judge(card)
        return card

    def generator(self, name: str) -> Card:
        """A generator's card; ValueError where there is none."""
        card = embedded_generators().get(name)
        return self._sampler(name).card if card is None else card

    def _sampler(self, name: str) -> Generator:
        if name not in self._generators:
            loaded = generator_named(name, "cpu") if name in generator_cards() else load_generator(name)
            self.notes += loaded.notes
            # Of a file, sources say the card's name.
            self._generators |= {name: loaded, loaded.card.name: loaded}
        return self._generators[name]

    def _network(self, card: Card) -> Classifier:
        return self.classifiers.get(card.name) or classifier_named(card.name, str(self.device))

    def _hold(self, name: str, pixels: np.ndarray) -> str:
        # A file's name need not be text. Files of one name in two folders are two images.
        name = name.encode("utf-8", "replace").decode()[:MAX_FILE_NAME]
        while name in self.images and not np.array_equal(self.images[name], pixels):
            name += "'"
        self.images[name] = pixels
        return name

    def _fitted(self, images: Tensor, size: tuple[int, int] | None = None) -> np.ndarray:
        """Images (N, 3, H, W) as a recipe holds them, brought to `size`, or to what fits into a figure."""
        height, width = images.shape[-2:]
        share = min(1.0, MAX_FIGURE_SIDE / max(height, width))
        fitted = fit_to(images, size or (max(1, round(height * share)), max(1, round(width * share))))
        self.notes += fitted.notes
        return images_for(fitted.pixels)

    def end(self, one: OneImage) -> dict[str, Any]:
        """One image as a recipe has it. ValueError where there is none."""
        if one.kind == UPLOAD:
            path = Path(one.file or "")
            read = read_image(path, name=path.name)
            self.notes += read.notes
            return {"image": self._hold(path.name, self._fitted(read.pixels[None]))}
        classes = self.generator(one.generator).classes
        labels = labels_of([one.class_name] if one.class_name else None, classes)
        if one.generator in embedded_generators():
            chosen = one.class_name or None
            return {"generator": one.generator, "seed": one.seed, "number": one.number, "class": chosen}
        image, _ = self._sampler(one.generator).sample(1, labels=labels, seed=one.seed, start=one.number)
        name = f"{self.generator(one.generator).name}-{one.seed}-{one.number}"
        return {"image": self._hold(name, self._fitted(image.cpu()))}

    def uploaded(self, paths: Sequence[str], classifier: Card) -> dict[str, Any]:
        """A source: image files, whose classes are estimated."""
        check_together(paths, UPLOAD_LIMITS)
        read = [(name := Path(path).name, read_image(path, name=name, limits=UPLOAD_LIMITS)) for path in paths]
        self.notes += [f"{name}: {note}" for name, one in read for note in one.notes]
        pixels = self._of_one_size([one.pixels for _, one in read], classifier)
        return {"images": self._hold("uploaded images", pixels), "classes": None}

    def _of_one_size(self, images: Sequence[Tensor], classifier: Card) -> np.ndarray:
        """Images (3, H, W) as a recipe holds them: at their own size where they have but one, else at the
        classifier's."""
        if len({image.shape for image in images}) == 1:
            return self._fitted(torch.stack(list(images)))
        height, width = classifier.input_size
        self.notes.append(f"the images are of different sizes, and are shown at {width}×{height}")
        return np.concatenate([images_for(fit_to(image[None], (height, width)).pixels) for image in images])

    def image_set(self, path: str, start: int, count: int, classifier: Card) -> dict[str, Any]:
        """A source: images of a folder, zip or .npz, with their classes. ValueError where it has too few."""
        found = open_image_set(path, "own", classifier.classes)
        if start + count > len(found):
            raise ValueError(f"{path} has {len(found):,} images: {start} + {count} are too many")
        _check_count(count)
        self.notes += found.notes
        shown = [found.batch(row, 1) for row in range(start, start + count)]
        self.notes += tally(note for one in shown for note in one.notes)
        pixels = self._of_one_size([one.images[0] for one in shown], classifier)
        labels = [classifier.classes[int(one.labels)] for one in shown if one.labels is not None]
        return {"images": self._hold(Path(path).name, pixels), "classes": labels or None}

    def settled(
        self, source: Mapping[str, Any], debias: Mapping[str, Any] | None, classifier: Card
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """A source and its debiasing as a recipe can have them: of a generator that is not embedded its pixels, and the
        shift fitted to others."""
        _check_apart(source, debias)
        if "images" in source or source["generator"] in embedded_generators():
            return source, debias
        _check_count(source["count"])
        generator, network = self._sampler(source["generator"]), self._network(classifier)
        labels = labels_of(source["classes"], generator.classes)
        images, own = generator.sample(source["count"], labels=labels, seed=source["seed"], start=source["start"])
        classes = None
        if own is not None:
            table = labels_to(network, generator.card.name, generator.classes, {})
            classes = [network.classes[label] for label in (own if table is None else table[own]).tolist()]
        pixels = self._fitted(images.cpu())
        held = {"images": self._hold(generator.card.name, pixels), "classes": classes}
        if debias is None:
            return held, None
        others, _ = generator.sample(debias["count"], seed=debias["seed"])
        fitted = from_uint8(self._fitted(others.cpu(), pixels.shape[1:3])).to(self.device)
        return held, {"shift": fit_debias(network, fitted, view=self.view).cpu().tolist()}


def _check_apart(source: Mapping[str, Any], debias: Mapping[str, Any] | None) -> None:
    """ValueError where debiasing would be fitted on the very images that are shown."""
    if debias is not None and source.get("seed") == debias.get("seed", -1):
        raise ValueError(
            f"the images' seed and that of the images which debiasing is fitted on are both {debias['seed']}: they "
            "have to be separate; choose another"
        )


def _check_count(count: int) -> None:
    if count > MAX_FIGURE_IMAGES:
        raise ValueError(f"a figure takes at most {MAX_FIGURE_IMAGES} images, not {count:,}")


# ---------------------------------------------------------------------------------------------- one kind after another


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """How a set of images is boosted for a figure. columns: of images. debias: of how many more images the shift is
    fitted where targets are estimated, 0 for none. quantile: of P1 Fig. 4."""

    columns: int
    classifier: Card
    config: BoostConfig
    debias: int = DEBIAS["count"]
    quantile: float = 0.7


def boosted_set(draft: Draft, figure: str, source: Mapping[str, Any], how: Boosting) -> Recipe:
    """P1 Figs. 1, 3, 4 and 7 to 10, and images side by side."""
    layout = FIGURE_KINDS[figure].layout if figure in FIGURE_KINDS else "pairs"
    common = {"columns": how.columns, "classifier": how.classifier.name, "config": dataclasses.asdict(how.config)}
    fitted = None
    if layout != "threat" and "generator" in source and how.debias:
        estimated = layout == "debias" or not draft.generator(source["generator"]).conditional
        fitted = DEBIAS | {"count": how.debias} if estimated else None
    settled, debias = draft.settled(source, fitted, how.classifier)
    more = {"share": how.quantile} if layout == "threat" else {"debias": debias}
    return draft.recipe(figure, {"source": settled, **common, **more})


def aligned(draft: Draft, start: OneImage, robust: str, standard: str, config: BoostConfig) -> Recipe:
    """P1 Fig. 2: one image towards every class through two classifiers."""
    cards = [draft.classifier(name) for name in (robust, standard)]
    names = {"robust": cards[0].name, "standard": cards[1].name}
    end = draft.end(start)
    return draft.recipe("fig2", {"start": end, **names, "config": dataclasses.asdict(config)})


def families(draft: Draft, generators: Sequence[str], seed: int, classifier: str) -> Recipe:
    """P1 Fig. 5: one image per class of each generator, boosted as its card recommends."""
    chosen, sets = draft.classifier(classifier), []
    for name in generators:
        card = draft.generator(name)
        source, debias = draft.settled(families_source(card, seed), debias_for(card), chosen)
        sets.append({"source": source, "debias": debias, "config": dataclasses.asdict(recommended(card))})
    return draft.recipe("fig5", {"sets": sets, "classifier": chosen.name})


def walks(
    draft: Draft,
    figure: str,
    pairs: Sequence[tuple[OneImage, OneImage]],
    classifiers: Sequence[str],
    way: Mapping[str, Any],
) -> Recipe:
    """P1 Figs. 6 and 11: from source images to targets. way: "c", "steps", "weights" and "warm_start" (P1 Eq. 3)."""
    cards = [draft.classifier(name) for name in classifiers]
    ends = [[draft.end(one) for one in pair] for pair in pairs]
    names = [card.name for card in cards]
    return draft.recipe(figure, {"pairs": ends, "classifiers": names, **way, "c": sorted(way["c"])})


def histograms(draft: Draft, source: Mapping[str, Any], fitted: Mapping[str, int], classifier: str) -> Recipe:
    """Class histograms without and with debiasing, of an embedded generator's images: "generator", "seed", "count".
    fitted: "count" and "seed" of those that d is fitted to."""
    if source["generator"] not in embedded_generators():
        raise ValueError(
            f"{draft.generator(source['generator']).name} is not embedded, and a recipe would have to hold "
            f"{source['count']:,} of its images: `figure fig3` takes such generators"
        )
    _check_apart(source, fitted)
    name = draft.classifier(classifier).name
    return draft.recipe("debias", {"source": source, "classifier": name, "debias": dict(fitted)})


def counted(study: Study) -> Recipe:
    """The histograms of a study that has been made, as numbers."""
    counts = {"without": study.histogram(study.plain).tolist(), "with": study.histogram(study.debiased).tolist()}
    settings = study.settings
    of = f"{settings['generator']} (seed {settings['seed']})" if "generator" in settings else "uploaded files"
    told = {"classes": list(study.classes), "of": of, "seen_by": settings["classifier"]}
    return Recipe("debias", counts | told | {"fitted_to": settings["fitted_to"]})


def measured(draft: Draft, figure: str, results: Path | None = None) -> Recipe:
    """P2's tables ("table1" to "table3") and its curve of quality against time ("curve"), from what `tables` wrote.

    results: the JSON beside its page; None for the one at hand. ValueError where there is none, or another file.
    """
    at = results or tables.results_at()
    found = tables.results_in(at)
    try:
        told = {"features_of": tables.judge_of(found)}
        if figure == "curve":
            names = ("consistency_steps", "pgd_steps", "seconds", "distance")
            return draft.recipe(
                "curve", {"points": [{name: one[name] for name in names} for one in found["curve"]]} | told
            )
        part = figure.removeprefix("table")
        rows = [(name, texts, False) for name, texts in tables.rows_of(part, found)]
        rows += [
            (f"P2: {name}, FID", [f"{v:.2f}" for v in fids], True) for name, fids in tables.PUBLISHED[part].items()
        ]
        lines = [{"name": name, "cells": list(map(_cell, texts)), "printed": printed} for name, texts, printed in rows]
        return draft.recipe(figure, {"columns": list(tables.COLUMNS[part]), "rows": lines} | told)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{at} is not what `tables` writes: {type(error).__name__}: {error}") from None


def _cell(text: str) -> dict[str, Any]:
    return {"text": text.strip("*"), "bold": text.startswith("**")}


def sweep_recipe(result: Mapping[str, Any]) -> Recipe:
    """The recipe of a sweep's curve, from what `sweep --output` writes. ValueError for anything else."""
    try:
        measure = result.get("measure", "frechet")
        told = {} if measure == "frechet" else {"measure": measure}  # the only one that there was at first
        # Other T at the ε that was found are no points of the curve over ε.
        points = [p for p in result["points"] if p["stage"] != "steps"]
        return Recipe(
            "sweep",
            {
                "points": [
                    {
                        "stage": p["stage"],
                        "eps": p["eps"],
                        "mean": p[measure]["mean"],
                        "std": p["error"] if told else p[measure]["std"],
                    }
                    for p in points
                ],
                "norm": result["config"]["norm"],
                **{name: result[name] for name in ("best", "features_of", "source", "seeds")},
                **told,
            },
        )
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def training_recipe(name: str, lines: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe of a joint training's curves, from the lines of its log. ValueError for anything else."""
    # A vanilla run's lines say nothing of attacks.
    of_attacks = dict.fromkeys(("real", "generated", "stopped"), 0.0)
    kept = []
    for number, line in enumerate(lines, 1):
        if not isinstance(line, Mapping):
            raise ValueError(f"line {number} is no JSON object")
        told = {**of_attacks, **line}
        if missing := [key for key in TRAINING if key not in told]:
            raise ValueError(f"line {number} lacks {', '.join(missing)}")
        kept.append({key: told[key] for key in TRAINING})
    return Recipe("training", {"name": name, "lines": kept})


def recommended(generator: Card) -> BoostConfig:
    """The boosting that a generator's card recommends."""
    names = [one.name for one in dataclasses.fields(BoostConfig)]
    preset = generator.presets.get("default", {})
    return BoostConfig(**{name: preset[name] for name in names if preset.get(name) is not None})
