"""`python -m bigroc_core figure KIND`: P1's figures and others for papers, and made ones again from their files."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier, refuse_judge
from bigroc_core.cli.options import Commands, add_boosting, boosting, default_device, preset_of, probability_or_l0
from bigroc_core.debiasing import fit_debias
from bigroc_core.figures.kinds import (
    ALIGNED_CONFIG,
    DEBIAS,
    FIGURE_KINDS,
    FRACTIONS,
    THREAT_CONFIG,
    WALKS,
    FigureKind,
    debias_for,
    drawn,
    families_source,
    generator_of,
)
from bigroc_core.figures.making import make, sweep_recipe, training_recipe
from bigroc_core.figures.recipe import Recipe, check_models, images_for, recipe_in, with_hashes
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images import fit_to, from_uint8, open_image_set, read_image, to_uint8
from bigroc_core.limits import MAX_FIGURE_IMAGES
from bigroc_core.sources import DEBIAS_SEED, GENERATOR_PREFIX, labels_to

SETS = [name for name, kind in FIGURE_KINDS.items() if kind.layout in ("pairs", "debias", "threat")]


def add_figure_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `figure` command and its kinds."""
    figure = commands.add_parser(
        "figure",
        help="make a figure for a paper or a page",
        description="Figures at print resolution. Each file "
        "carries the recipe that it was made from: `figure --again FILE` makes the same figure from it.",
    )
    figure.add_argument("--again", type=Path, metavar="FILE", help="a .png, .pdf or .svg that this command wrote")
    figure.add_argument("--output", type=Path, help="of --again: a .png, .pdf or .svg (default: FILE-again)")
    figure.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")
    kinds = figure.add_subparsers(dest="kind", metavar="KIND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=Path, required=True, help="a .png (300 dpi), .pdf or .svg file")
    shared.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")

    for name in SETS:
        kind = FIGURE_KINDS[name]
        made = kinds.add_parser(
            name, parents=[shared], help=kind.shows, description=f"P1 Fig. {name[3:]}. {kind.shows}"
        )
        _add_source(made, kind)
        if kind.layout == "threat":
            made.add_argument(
                "--quantile",
                type=float,
                default=0.7,
                metavar="Q",
                help="the L∞ ε is this quantile of |δ| of the L2 result (default 0.7)",
            )
        else:
            _add_debias(made)
        add_boosting(made)

    fig2 = kinds.add_parser(
        "fig2",
        parents=[shared],
        help=FIGURE_KINDS["fig2"].shows,
        description="P1 Fig. 2 (its ε = 30, T = 60, α = 0.5 are on [-1, 1] pixels).",
    )
    given = fig2.add_mutually_exclusive_group(required=True)
    given.add_argument("--generator", help="start from one of its images")
    given.add_argument("--image", type=Path, help="start from this image file")
    fig2.add_argument("--seed", type=int, default=0)
    fig2.add_argument("--index", type=int, default=0, help="which image of the seed")
    fig2.add_argument("--robust", default="cifar10-robust", metavar="NAME")
    fig2.add_argument("--standard", default="cifar10-standard", metavar="NAME")
    fig2.add_argument(
        "--eps", type=float, default=ALIGNED_CONFIG["eps"], help="L2 radius, images in [0, 1] (default 15)"
    )
    fig2.add_argument("--steps", type=int, default=ALIGNED_CONFIG["steps"])
    fig2.add_argument("--step-size", type=float, default=ALIGNED_CONFIG["step_size"])
    fig2.add_argument(
        "--stop-at",
        type=probability_or_l0,
        metavar="P",
        help="an image rests at this p of its class: what it takes to convince each network",
    )

    fig5 = kinds.add_parser(
        "fig5",
        parents=[shared],
        help=FIGURE_KINDS["fig5"].shows,
        description="P1 Fig. 5. Of an unconditional generator the surest of 200 images is taken for each class.",
    )
    fig5.add_argument("--generators", nargs="+", metavar="NAME", help="default: all embedded ones")
    fig5.add_argument("--seed", type=int, default=0)
    fig5.add_argument("--classifier", default="cifar10-robust")

    fig6 = kinds.add_parser(
        "fig6",
        parents=[shared],
        help=FIGURE_KINDS["fig6"].shows,
        description="P1 Fig. 6: interpolation by P1 Eq. 3, one frame per c. Under each frame "
        "‖δ‖₂ and its feature distance to the target as a share of the source's.",
    )
    for side, index in (("source", 0), ("target", 1)):
        fig6.add_argument(f"--{side}", required=True, metavar="IMAGE", help="an image file, or generator:NAME")
        fig6.add_argument(f"--{side}-seed", type=int, default=0)
        fig6.add_argument(f"--{side}-index", type=int, default=index, help=f"which image of the seed (default {index})")
        fig6.add_argument(f"--{side}-class", metavar="CLASS", help="of a conditional generator; default: the index's")
    fig11 = kinds.add_parser("fig11", parents=[shared], help=FIGURE_KINDS["fig11"].shows, description="P1 Fig. 11.")
    fig11.add_argument(
        "--pair",
        nargs=2,
        action="append",
        metavar=("SOURCE", "TARGET"),
        help="image files, or "
        "generator:NAME:SEED:NUMBER; several times (default: three pairs of the first "
        "class-conditional generator)",
    )
    for walk in (fig6, fig11):
        walk.add_argument(
            "--classifiers",
            nargs="+",
            default=["cifar10-robust", "cifar10-standard"],
            metavar="NAME",
            help="one row each (default cifar10-robust cifar10-standard)",
        )
        walk.add_argument(
            "--c", nargs="+", type=float, default=list(FRACTIONS), help="radii as shares of ‖x_t - x_s‖₂, from 0 to 1"
        )
        walk.add_argument("--steps", type=int, default=60)
        walk.add_argument("--weights", nargs="+", type=float, help="one per resolution, fine to coarse; default 1 each")
        walk.add_argument(
            "--warm-start", action="store_true", help="begin each frame where the one of the next smaller c ended"
        )

    pairs = kinds.add_parser("side-by-side", parents=[shared], help="images before and after boosting, row under row")
    _add_source(pairs, FigureKind("", "", "pairs", rows=1))
    pairs.add_argument("--count", type=int, help="images, in place of --rows")
    _add_debias(pairs)
    add_boosting(pairs)

    debias = kinds.add_parser("debias", parents=[shared], help="class histograms without and with debiasing")
    debias.add_argument("--generator", required=True, help="an unconditional one")
    debias.add_argument("--seed", type=int, default=0)
    debias.add_argument("--count", type=int, default=2_000)
    debias.add_argument("--validation", type=int, default=1_000, help="images that the debiasing is fitted to")
    debias.add_argument("--classifier", default="cifar10-robust")

    curve = kinds.add_parser("sweep", parents=[shared], help="the curve of a sweep")
    curve.add_argument("results", type=Path, help="the JSON that `sweep --output` wrote")

    training = kinds.add_parser("training", parents=[shared], help="the curves of a joint model's training")
    training.add_argument("log", type=Path, help="the log.jsonl of a run of `train joint`")


def _add_source(parser: argparse.ArgumentParser, kind: FigureKind) -> None:
    """Which images a figure shows."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--generator", help="default: the embedded one that fits the figure best")
    given.add_argument("--images", metavar="SET", help="a folder, zip or .npz; its pixels become part of the recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="the first image of the seed, or of the set")
    parser.add_argument("--rows", type=int, default=kind.rows, help=f"default {kind.rows}")
    parser.add_argument("--columns", type=int, default=kind.columns, help=f"of each block (default {kind.columns})")
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="one per row, in turn, of a conditional "
        f"generator (default {' '.join(kind.classes) or 'all, image by image'})",
    )
    parser.add_argument("--classifier", help="default: the generator's preset, else cifar10-robust")


def _add_debias(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debias",
        type=int,
        default=DEBIAS["count"],
        metavar="N",
        help="where targets are estimated: fit debiasing to N more images of the generator, 0 for none (default 1000)",
    )


def run_figure(options: argparse.Namespace) -> None:
    """Carry out a parsed `figure` command."""
    from bigroc_core.figures import drawing as figures  # matplotlib is slow to import, and only figures need it

    if (options.again is None) == (options.kind is None):
        raise ValueError("say which figure (`figure --help` lists them), or --again FILE")
    if options.again is not None:
        recipe, classifiers = recipe_in(options.again), {}
        check_models(recipe)
        output = options.output or options.again.with_stem(f"{options.again.stem}-again")
    else:
        output = options.output
    suffix = output.suffix.lower().removeprefix(".")
    if suffix not in figures.FORMATS:
        raise ValueError(f"--output must end in .{', .'.join(figures.FORMATS)}, not {output.name!r}")
    device = default_device(options.device)
    if options.again is None:
        asked = _Asked(options, device)
        recipe = with_hashes(asked.recipe())
        classifiers = asked.classifiers
    making = make(recipe, device, classifiers)
    with tqdm(total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}|", leave=False) as bar:
        while True:
            try:
                step = next(making)
            except StopIteration as ended:
                made = ended.value
                break
            bar.set_description_str(step.doing, refresh=False)
            bar.n = step.done / max(step.total, 1)
            bar.refresh()
    print(f"{made.caption}\nwritten: {figures.write_figure(made.figure, output, recipe)}")


class _Asked:
    """A parsed command as a recipe. What no recipe can name (files, models from elsewhere) is read here: images become
    pixels of the recipe, classifiers are kept by name."""

    def __init__(self, options: argparse.Namespace, device: Any) -> None:
        self.options, self.device = options, device
        self.images: dict[str, np.ndarray] = {}
        self.classifiers: dict[str, Classifier] = {}

    def recipe(self) -> Recipe:
        """The recipe; ValueError for bad input."""
        kind = self.options.kind
        make_settings = {
            "fig2": self._aligned,
            "fig5": self._families,
            "fig6": self._walk,
            "fig11": self._walks,
            "debias": self._histograms,
            "sweep": self._sweep,
            "training": self._training,
        }.get(kind, self._set)
        settings = make_settings()
        return Recipe(kind, settings, self.images)

    def _classifier(self, name: str) -> Classifier:
        loaded = load_classifier(name, device=self.device)
        refuse_judge(loaded.card)
        self.classifiers[loaded.card.name] = loaded
        return loaded

    def _set(self) -> dict[str, Any]:
        options = self.options
        kind = FIGURE_KINDS.get(options.kind, FigureKind("", "", "pairs", rows=1))
        count = getattr(options, "count", None)
        if options.rows < 1 or options.columns < 1 or (count is not None and count < 1):
            raise ValueError("--count, --rows and --columns must be at least 1")
        count = count or options.rows * options.columns
        card = None if options.images else self._card(options.generator or generator_of(kind, embedded_generators()))
        preset: dict[str, Any] = dict(THREAT_CONFIG) if kind.layout == "threat" else preset_of(card, options.classifier)
        classifier = self._classifier(str(options.classifier or preset.get("classifier") or "cifar10-robust"))
        settings: dict[str, Any] = {
            "columns": options.columns,
            "classifier": classifier.card.name,
            "config": dataclasses.asdict(boosting(options, preset)),
        }
        if kind.layout == "threat":
            settings["share"] = options.quantile
        else:
            settings["debias"] = None
        if options.images:
            settings["source"] = self._from_set(options, count, classifier)
            return settings
        assert card is not None
        source = drawn(
            card,
            seed=options.seed,
            start=options.start,
            rows=options.rows,
            columns=options.columns,
            classes=tuple(options.classes or kind.classes),
        )
        if options.classes and not card.conditional:
            raise ValueError(f"{card.name} is unconditional: it draws no class that is asked for")
        if getattr(options, "count", None) is not None:
            source |= {"count": count, "classes": source["classes"] and source["classes"][:count]}
        estimated = not card.conditional or kind.layout == "debias"
        if "debias" in settings and estimated and options.debias:
            settings["debias"] = (debias_for(card) or dict(DEBIAS)) | {"count": options.debias}
        if card.name in embedded_generators():
            settings["source"] = source
            return settings
        return settings | self._from_elsewhere(source, settings.get("debias"), classifier)

    def _card(self, name: str) -> Card:
        self.generator = load_generator(name)
        return self.generator.card

    def _from_set(self, options: argparse.Namespace, count: int, classifier: Classifier) -> dict[str, Any]:
        found = open_image_set(options.images, classifier.card.input_size, classifier.classes)
        if options.start + count > len(found):
            raise ValueError(f"{options.images} has {len(found):,} images: {options.start} + {count} are too many")
        if count > MAX_FIGURE_IMAGES:
            raise ValueError(f"a figure takes at most {MAX_FIGURE_IMAGES} images, not {count:,}")
        batch = found.batch(options.start, count)
        name = Path(options.images).name
        self.images[name] = images_for(batch.images)
        labels = None if batch.labels is None else [classifier.classes[label] for label in batch.labels.tolist()]
        return {"images": name, "classes": labels}

    def _from_elsewhere(
        self, source: Mapping[str, Any], debias: Mapping[str, Any] | None, classifier: Classifier
    ) -> dict[str, Any]:
        """A source, and debiasing, of a generator that is not embedded: its pixels, and the shift fitted to others."""
        generator, size = self.generator, classifier.card.input_size
        labels = None
        if source["classes"] is not None:
            if unknown := [name for name in source["classes"] if name not in generator.classes]:
                raise ValueError(f"{generator.card.name} has no class {unknown[0]!r}")
            labels = [generator.classes.index(name) for name in source["classes"]]
        images, own = generator.sample(source["count"], labels=labels, seed=source["seed"], start=source["start"])
        self.images[generator.card.name] = images_for(fit_to(images.cpu(), size).pixels)
        classes = None
        if own is not None:
            table = labels_to(classifier, generator.card.name, generator.classes, {})
            classes = [classifier.classes[label] for label in (own if table is None else table[own]).tolist()]
        made: dict[str, Any] = {"source": {"images": generator.card.name, "classes": classes}}
        if debias is not None:
            others, _ = generator.sample(debias["count"], seed=debias["seed"])
            fitted = from_uint8(to_uint8(fit_to(others.cpu(), size).pixels)).to(self.device)
            made["debias"] = {"shift": fit_debias(classifier, fitted).cpu().tolist()}
        return made

    def _families(self) -> dict[str, Any]:
        options, embedded = self.options, embedded_generators()
        names = options.generators or list(embedded)
        classifier, sets = self._classifier(options.classifier), []
        for name in names:
            card = self._card(name)
            source = families_source(card, options.seed)
            one = {
                "config": dataclasses.asdict(BoostConfig(**_of_config(preset_of(card)))),
                "debias": debias_for(card),
                "source": source,
            }
            sets.append(one if name in embedded else one | self._from_elsewhere(source, one["debias"], classifier))
        return {"sets": sets, "classifier": classifier.card.name}

    def _aligned(self) -> dict[str, Any]:
        options = self.options
        robust, standard = self._classifier(options.robust), self._classifier(options.standard)
        named = str(options.image) if options.image else f"{GENERATOR_PREFIX}{options.generator}"
        start = self._end(named, options.seed, options.index, None, robust.card.input_size, "--generator")
        config = BoostConfig(eps=options.eps, steps=options.steps, step_size=options.step_size, stop_at=options.stop_at)
        return {
            "start": start,
            "robust": robust.card.name,
            "standard": standard.card.name,
            "config": dataclasses.asdict(config),
        }

    def _walk(self) -> dict[str, Any]:
        options = self.options
        settings, size = self._ways()
        ends = [
            self._end(
                getattr(options, side),
                getattr(options, f"{side}_seed"),
                getattr(options, f"{side}_index"),
                getattr(options, f"{side}_class"),
                size,
                f"--{side}",
            )
            for side in ("source", "target")
        ]
        return {**settings, "pairs": [ends]}

    def _walks(self) -> dict[str, Any]:
        settings, size = self._ways()
        pairs = self.options.pair
        if not pairs:
            name = generator_of(FIGURE_KINDS["fig7"], embedded_generators())
            pairs = [[f"{GENERATOR_PREFIX}{name}:0:{number}" for number in pair] for pair in WALKS]
        return {**settings, "pairs": [[self._numbered_end(end, size) for end in pair] for pair in pairs]}

    def _ways(self) -> tuple[dict[str, Any], tuple[int, int]]:
        options = self.options
        classifiers = [self._classifier(name) for name in options.classifiers]
        return {
            "classifiers": [classifier.card.name for classifier in classifiers],
            "c": sorted(options.c),
            "steps": options.steps,
            "weights": options.weights,
            "warm_start": options.warm_start,
        }, classifiers[0].card.input_size

    def _numbered_end(self, named: str, size: tuple[int, int]) -> dict[str, Any]:
        if not named.startswith(GENERATOR_PREFIX):
            return self._end(named, 0, 0, None, size, "--pair")
        try:
            name, seed, number = named.removeprefix(GENERATOR_PREFIX).rsplit(":", 2)
            return self._end(f"{GENERATOR_PREFIX}{name}", int(seed), int(number), None, size, "--pair")
        except ValueError as error:
            if "unpack" in str(error) or "invalid literal" in str(error):
                raise ValueError(f"--pair takes image files or generator:NAME:SEED:NUMBER, not {named!r}") from None
            raise

    def _end(
        self, named: str, seed: int, index: int, of_class: str | None, size: tuple[int, int], option: str
    ) -> dict[str, Any]:
        """One image of a recipe: of an embedded generator by number, else as pixels."""
        if not named.startswith(GENERATOR_PREFIX):
            return self._pixels(Path(named).name, read_image(Path(named), size=size).pixels)
        name = named.removeprefix(GENERATOR_PREFIX)
        generator = load_generator(name)
        if of_class is not None and of_class not in (generator.classes or ()):
            known = ", ".join(generator.classes or ()) or "none"
            raise ValueError(f"{option}-class must be one of {known}, not {of_class!r}")
        if name in embedded_generators():
            return {"generator": name, "seed": seed, "number": index, "class": of_class}
        labels = None if of_class is None else [generator.classes.index(of_class)]
        image, _ = generator.sample(1, labels=labels, seed=seed, start=index)
        return self._pixels(f"{generator.card.name}-{seed}-{index}", fit_to(image[0].cpu(), size).pixels)

    def _pixels(self, name: str, image: Tensor) -> dict[str, Any]:
        pixels = images_for(image[None])
        # Files of one name in two folders are two images.
        while name in self.images and not np.array_equal(self.images[name], pixels):
            name += "'"
        self.images[name] = pixels
        return {"image": name}

    def _histograms(self) -> dict[str, Any]:
        options = self.options
        card = self._card(options.generator)
        if card.name not in embedded_generators():
            raise ValueError(
                f"{card.name} is not embedded, and a recipe would have to hold {options.count:,} of its "
                "images: `figure fig3` takes such generators"
            )
        return {
            "source": {"generator": card.name, "seed": options.seed, "count": options.count},
            "classifier": self._classifier(options.classifier).card.name,
            "debias": {"count": options.validation, "seed": DEBIAS_SEED},
        }

    def _sweep(self) -> dict[str, Any]:
        path = self.options.results
        try:
            return sweep_recipe(json.loads(path.read_text("utf-8"))).settings
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is not what `sweep --output` writes: {error}") from error

    def _training(self) -> dict[str, Any]:
        path = self.options.log
        try:
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            return training_recipe(path.parent.name, lines).settings
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no log of `train joint`: {error}") from error


def _of_config(preset: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's entries that are settings of boosting."""
    names = [one.name for one in dataclasses.fields(BoostConfig)]
    return {name: preset[name] for name in names if preset.get(name) is not None}
