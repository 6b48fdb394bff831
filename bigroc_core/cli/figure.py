"""`python -m bigroc_core figure KIND`: P1's figures and others for papers, and made ones again from their files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bigroc_core.boosting import BoostConfig
from bigroc_core.cli.classifier_options import (
    SOURCES,
    add_classifier,
    add_classifier_details,
    add_classifier_named,
    classifier_named,
    classifiers_named,
)
from bigroc_core.cli.fields import add_options
from bigroc_core.cli.interpolate import add_end, add_walk, end_of
from bigroc_core.cli.options import (
    Commands,
    add_boosting,
    add_device,
    boosting,
    default_device,
    preset_of,
    tell_notes,
    view_in,
)
from bigroc_core.experiments.every_class import EveryClassRequest
from bigroc_core.figures import drafts
from bigroc_core.figures.kinds import (
    ALL_CLASSES,
    DEBIAS,
    FIGURE_KINDS,
    FRACTIONS,
    ROBUST,
    STANDARD,
    THREAT_CONFIG,
    WALKS,
    FigureKind,
    classes_of,
    drawn,
    generator_of,
)
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.figures.recipe import Recipe, check_models, recipe_in
from bigroc_core.figures.requests import FigureRequest
from bigroc_core.files import parsed_json
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.messages import short
from bigroc_core.sources import UPLOAD, OneImage
from bigroc_core.streams import GENERATOR_PREFIX

SIDE_BY_SIDE = "side-by-side"
# The figures of a set of images, boosted.
SETS = {name: kind for name, kind in FIGURE_KINDS.items() if kind.layout in ("pairs", "debias", "threat")}
MEASURED = [name for name, kind in FIGURE_KINDS.items() if kind.layout == "measured"]
Parser = argparse.ArgumentParser


def add_figure_parser(commands: Commands[Parser]) -> None:
    """Add the `figure` command and its kinds."""
    figure = commands.add_parser(
        "figure",
        help="make a figure for a paper or a page",
        description="Figures at print resolution. Each file "
        "carries the recipe that it was made from: `figure --again FILE` makes the same figure from it.",
    )
    figure.add_argument("--again", type=Path, metavar="FILE", help="a .png, .pdf or .svg that this command wrote")
    figure.add_argument("--output", type=Path, help="of --again: a .png, .pdf or .svg (default: FILE-again)")
    add_device(figure)
    kinds = figure.add_subparsers(dest="kind", metavar="KIND")

    def add(name: str, shows: str = "", description: str = "") -> Parser:
        shows = shows or FIGURE_KINDS[name].shows
        numbered = f"P1 Fig. {name[3:]}. {shows}" if name.startswith("fig") else shows
        parser = kinds.add_parser(name, help=shows, description=description or numbered)
        parser.add_argument("--output", type=Path, required=True, help="a .png (300 dpi), .pdf or .svg file")
        add_device(parser, default=argparse.SUPPRESS)  # or it would undo what stands before the kind
        return parser

    for name, kind in SETS.items():
        _add_set(add(name), kind, name)
    _add_aligned(add("fig2", description="P1 Fig. 2 (its ε = 30, T = 60, α = 0.5 are on [-1, 1] pixels)."))
    families = add(
        "fig5", description="P1 Fig. 5. Of an unconditional generator the surest of 200 images is taken for each class."
    )
    families.add_argument("--generators", nargs="+", metavar="NAME", help="default: all embedded ones")
    add_options(families, FigureRequest, ("seed",))
    add_classifier(families, ROBUST)
    _add_walk(
        add(
            "fig6",
            description="P1 Fig. 6: interpolation by P1 Eq. 3, one frame per c. Under each frame "
            "‖δ‖₂ and its feature distance to the target as a share of the source's.",
        ),
        several=False,
    )
    _add_walk(add("fig11", description="P1 Fig. 11."), several=True)
    debias = add("debias", "class histograms without and with debiasing", "Class histograms of estimated targets.")
    debias.add_argument("--generator", required=True, help="an unconditional one")
    add_options(debias, FigureRequest, ("seed",))
    debias.add_argument("--count", type=int, default=2_000)
    debias.add_argument(
        "--validation", type=int, default=DEBIAS["count"], help="images that the debiasing is fitted to"
    )
    debias.add_argument("--validation-seed", type=int, default=DEBIAS["seed"], help="their seed")
    add_classifier(debias, ROBUST, "whose classes are counted")
    sweep = add("sweep", "the curve of a sweep", "The Fréchet distance over ε.")
    sweep.add_argument("results", type=Path, help="the JSON that `sweep --output` wrote")
    for name in MEASURED:
        help = (
            "the JSON that `tables` wrote beside its page (default: RESULTS.json here, else the one that comes along)"
        )
        add(name).add_argument("results", type=Path, nargs="?", help=help)
    training = add("training", "the curves of a joint model's training", "The curves of a joint model's training.")
    training.add_argument("log", type=Path, help="the log.jsonl of a run of `train joint`")


def _add_set(parser: Parser, kind: FigureKind, name: str) -> None:
    """Which images a figure shows, and how they are boosted."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--generator", help="default: the embedded one that fits the figure best")
    given.add_argument("--images", metavar="SET", help="a folder, zip or .npz; its pixels become part of the recipe")
    own = ("seed", "start", "rows", "columns", "quantile" if kind.layout == "threat" else "debias")
    add_options(parser, FigureRequest, own, rows=kind.rows, columns=kind.columns)
    if name == SIDE_BY_SIDE:
        parser.add_argument("--count", type=int, help="images, in place of --rows")
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help=f"one per row, in turn, of a conditional generator; {ALL_CLASSES}: all, image by image "
        f"(default {' '.join(kind.classes) or ALL_CLASSES})",
    )
    add_classifier(parser, None, f"boosts (default: the generator's preset, else {ROBUST})")
    add_boosting(parser)


def _add_aligned(parser: Parser) -> None:
    """P1 Fig. 2's options."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--generator", help="start from one of its images")
    given.add_argument("--image", type=Path, help="start from this image file")
    add_options(parser, FigureRequest, ("seed",))
    parser.add_argument("--index", type=int, default=0, help="which image of the seed")
    add_classifier_named(parser, "--robust", default=ROBUST)
    add_classifier_named(parser, "--standard", default=STANDARD)
    add_classifier_details(parser)
    add_options(parser, EveryClassRequest, ("eps", "steps", "step_size", "stop_at"), stop_at=None)


def _add_walk(parser: Parser, several: bool) -> None:
    """The options of P1 Figs. 6 and 11."""
    if several:
        parser.add_argument(
            "--pair",
            nargs=2,
            action="append",
            metavar=("SOURCE", "TARGET"),
            help="image files, or "
            "generator:NAME:SEED:NUMBER; several times (default: three pairs of the first "
            "class-conditional generator)",
        )
    else:
        add_end(parser, "source", 0)
        add_end(parser, "target", 1)
    add_classifier_named(
        parser,
        "--classifiers",
        nargs="+",
        default=[ROBUST, STANDARD],
        help=f"one row each (default {ROBUST} {STANDARD}): {SOURCES}",
    )
    add_classifier_details(parser)
    add_walk(parser, FRACTIONS)


def run_figure(options: argparse.Namespace) -> None:
    """Carry out a parsed `figure` command."""
    if (options.again is None) == (options.kind is None):
        raise ValueError("say which figure (`figure --help` lists them), or --again FILE")
    output = options.output or options.again.with_stem(f"{options.again.stem}-again")
    if output.suffix.lower().removeprefix(".") not in FORMATS:
        raise ValueError(f"--output must end in .{', .'.join(FORMATS)}, not {output.name!r}")
    draft = drafts.Draft(default_device(options.device), view_in(options))
    if options.again is None:
        recipe = recipe_for(options, draft)
    else:
        recipe = recipe_in(options.again)
        check_models(recipe)
    tell_notes(dict.fromkeys([*(note for one in draft.classifiers.values() for note in one.notes), *draft.notes]))
    _make(recipe, draft, output)


def _make(recipe: Recipe, draft: drafts.Draft, output: Path) -> None:
    from bigroc_core.figures.drawing import write_figure  # matplotlib is slow to import, and only figures need it
    from bigroc_core.figures.making import make

    making = make(recipe, draft.device, draft.classifiers)
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
    print(f"{made.caption}\nwritten: {write_figure(made.figure, output, recipe)}")


def recipe_for(options: argparse.Namespace, draft: drafts.Draft) -> Recipe:
    """The recipe that a parsed command asks for; ValueError for bad input."""
    if options.kind == "fig2":
        file = str(options.image) if options.image else None
        start = _image(file or f"{GENERATOR_PREFIX}{options.generator}", options.seed, options.index)
        config = BoostConfig(eps=options.eps, steps=options.steps, step_size=options.step_size, stop_at=options.stop_at)
        robust, standard = classifiers_named(options, [options.robust, options.standard])
        return drafts.aligned(draft, start, robust, standard, config)
    if options.kind == "fig5":
        names = options.generators or list(embedded_generators())
        return drafts.families(draft, names, options.seed, classifier_named(options, options.classifier))
    if options.kind in ("fig6", "fig11"):
        way = {name: getattr(options, name) for name in ("c", "steps", "weights", "warm_start")}
        return drafts.walks(draft, options.kind, _pairs(options), classifiers_named(options, options.classifiers), way)
    if options.kind == "debias":
        source = {name: getattr(options, name) for name in ("generator", "seed", "count")}
        fitted = {"count": options.validation, "seed": options.validation_seed}
        return drafts.histograms(draft, source, fitted, classifier_named(options, options.classifier))
    if options.kind in MEASURED:
        return drafts.measured(draft, options.kind, options.results)
    if options.kind == "sweep":
        return _sweep(options.results)
    if options.kind == "training":
        return _training(options.log)
    return _set(options, draft)


def _sweep(path: Path) -> Recipe:
    try:
        return drafts.sweep_recipe(parsed_json(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not what `sweep --output` writes: {error}") from error


def _training(path: Path) -> Recipe:
    try:
        lines = [parsed_json(line) for line in path.read_text("utf-8").splitlines()]
        return drafts.training_recipe(path.parent.name, lines)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no log of `train joint`: {error}") from error


def _set(options: argparse.Namespace, draft: drafts.Draft) -> Recipe:
    kind, count = SETS[options.kind], getattr(options, "count", None)
    if options.rows < 1 or options.columns < 1 or (count is not None and count < 1):
        raise ValueError("--count, --rows and --columns must be at least 1")
    card = None
    if not options.images:
        card = draft.generator(options.generator or generator_of(kind, embedded_generators()))
    preset: dict[str, Any] = dict(THREAT_CONFIG) if kind.layout == "threat" else preset_of(card, options.classifier)
    name = str(options.classifier or preset.get("classifier") or ROBUST)
    classifier = draft.classifier(classifier_named(options, name))
    if card is None:
        wanted = count or options.rows * options.columns
        source = draft.image_set(options.images, options.start, wanted, classifier)
    else:
        classes = options.classes or classes_of(kind, card)
        if options.classes == [ALL_CLASSES] and ALL_CLASSES not in card.classes:
            classes = ()
        if classes and not card.conditional:
            raise ValueError(f"{card.name} is unconditional: it draws no class that is asked for")
        source = drawn(
            card,
            seed=options.seed,
            start=options.start,
            rows=options.rows,
            columns=options.columns,
            classes=tuple(classes),
        )
        if count is not None:
            source |= {"count": count, "classes": source["classes"] and source["classes"][:count]}
    how = drafts.Boosting(
        columns=options.columns,
        classifier=classifier,
        config=boosting(options, preset),
        debias=getattr(options, "debias", 0),
        quantile=getattr(options, "quantile", 0.7),
    )
    return drafts.boosted_set(draft, options.kind, source, how)


def _image(named: str, seed: int = 0, number: int = 0) -> OneImage:
    """An image file, or generator:NAME."""
    if not named.startswith(GENERATOR_PREFIX):
        return OneImage(kind=UPLOAD, file=named)
    return OneImage(generator=named.removeprefix(GENERATOR_PREFIX), seed=seed, number=number)


def _pairs(options: argparse.Namespace) -> list[tuple[OneImage, OneImage]]:
    if options.kind == "fig6":
        return [(end_of(options, "source"), end_of(options, "target"))]
    if options.pair:
        return [(_numbered(source), _numbered(target)) for source, target in options.pair]
    named = f"{GENERATOR_PREFIX}{generator_of(FIGURE_KINDS['fig7'], embedded_generators())}"
    return [(_image(named, 0, source), _image(named, 0, target)) for source, target in WALKS]


def _numbered(named: str) -> OneImage:
    """An image file, or generator:NAME:SEED:NUMBER."""
    if not named.startswith(GENERATOR_PREFIX):
        return _image(named)
    *name, seed, number = named.rsplit(":", 2)
    if len(name) != 1 or name[0] == GENERATOR_PREFIX[:-1] or not all(map(_is_number, (seed, number))):
        raise ValueError(f"--pair takes image files or generator:NAME:SEED:NUMBER, not {short(named)}")
    return _image(name[0], int(seed), int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
