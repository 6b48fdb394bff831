"""A figure as the page asks for it: its settings, its recipe, and its files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import compute_device, control_for, generator_cards, on_gpu
from bigroc_core.experiments.measured_tables import results_at
from bigroc_core.experiments.requests import BallRequest, ProbabilityStopRequest, StepSizeRequest
from bigroc_core.experiments.threat_models import ThreatModelsRequest
from bigroc_core.figures import drafts
from bigroc_core.figures.cost import check_cost, computed_pixels
from bigroc_core.figures.kinds import (
    ALIGNED_CONFIG,
    FIGURE_KINDS,
    FRACTIONS,
    LAYOUTS,
    THREAT_CONFIG,
    WALKS,
    FigureKind,
    drawn,
)
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.figures.parts import Progress
from bigroc_core.figures.recipe import Recipe, check_models, recipe_in
from bigroc_core.files import write_bytes
from bigroc_core.limits import MAX_COLUMNS, MAX_FIGURE_IMAGES, MAX_IMAGES_PER_REQUEST, MAX_SAMPLES_PER_REQUEST
from bigroc_core.settings import Request, like, setting
from bigroc_core.sources import DEBIAS_COUNT, DEBIAS_SEED, GENERATOR, MAX_INDEX, UPLOAD, ImagesRequest, OneImage

MAX_PAIRS = 8


def figure_choices() -> list[tuple[str, str]]:
    """The figures that can be made here: P1's, by number and title, and others by their title."""
    there = None if results_at() is None else "measured"
    return [
        (f"P1 Fig. {name[3:]}: {kind.title}" if name.startswith("fig") else kind.title, name)
        for name, kind in FIGURE_KINDS.items()
        if kind.layout in (there, *(set(LAYOUTS) - {"measured"}))
    ]


@dataclass(frozen=True, kw_only=True)
class FigureRequest(Request):
    """A figure as the page asks for it; settings that do not belong to it play no part."""

    figure: str = setting(
        "fig2",
        "fig1 to fig11, as P1 numbers them; side-by-side, debias; and table1 to table3 and curve, of P2.",
        label="Figure",
        info="Figures of the two papers, made with the models here.",
        choices=figure_choices,
    )
    generator: str = like(ImagesRequest, "generator", help="A generator's name.")
    seed: int = like(ImagesRequest, "seed", help="Of the generator.")
    start: int = setting(
        0,
        "The first image of the seed.",
        label="First image",
        info="Which of the seed's images, from 0.",
        most=MAX_INDEX,
    )
    rows: int = setting(10, "Rows of images.", label="Rows", least=1, most=MAX_COLUMNS)
    columns: int = setting(10, "Columns of images.", label="Columns", info="Of each block.", least=1, most=MAX_COLUMNS)
    classes: tuple[str, ...] = setting(
        (),
        "One class per row, in turn, of a conditional generator; empty: all, image by image.",
        label="Classes",
        info="One per row, in turn. Empty: all, image by image.",
    )
    classifier: str = like(BallRequest, "classifier", help="Whose gradients move the images.")
    eps: float = like(BallRequest, "eps")
    steps: int = like(BallRequest, "steps")
    step_size: float | None = like(StepSizeRequest, "step_size")
    stop_at: float | None = like(ProbabilityStopRequest, "stop_at")
    quantile: float = like(
        ThreatModelsRequest, "quantile", help="Of fig4: the L∞ ε is this quantile of |δ| of the L2 result."
    )
    debias: int = setting(
        DEBIAS_COUNT,
        "Where targets are estimated: fit debiasing to so many more images; 0: none.",
        label="Debiasing set size (images)",
        info="Images that d is fitted to (P1 Eq. 2); 0: no debiasing.",
        most=MAX_SAMPLES_PER_REQUEST,
        step=50,
    )
    pairs: str = setting(
        "",
        "Of fig6 and fig11: which images of the seed, in pairs.",
        label="Pairs of images",
        info="Source-target, by number of the seed's images.",
    )
    files: tuple[str, ...] = setting(
        (), "Images to use in place of the generator's.", label="Your images in place of the generator's"
    )
    count: int = setting(
        2_000,
        "Of debias: images that are classified.",
        label="Images",
        info="How many are classified.",
        least=10,
        most=MAX_SAMPLES_PER_REQUEST,
        step=10,
        added=True,
    )

    @property
    def kind(self) -> FigureKind:
        """What the figure shows."""
        return FIGURE_KINDS[self.figure]

    @property
    def config(self) -> BoostConfig:
        """How the images are boosted."""
        return BoostConfig(eps=self.eps, steps=self.steps, step_size=self.step_size, stop_at=self.stop_at)

    @cached_property
    def recipe(self) -> Recipe:
        """The figure as data, with the hashes of its models. ValueError for uploads that cannot be read."""
        makers = {"aligned": _aligned, "walk": _walks, "families": _families}
        makers |= {"histograms": _histograms, "measured": _measured}
        return makers.get(self.kind.layout, set_recipe)(self, drafts.Draft())

    def conflicts(self) -> dict[str, str]:
        """What this figure cannot be of, or from."""
        layout, card, problems = self.kind.layout, generator_cards()[self.generator], {}
        if self.files:
            problems = _unfit_files(layout, len(self.files))
        elif layout == "walk":
            try:
                pairs_in(self.pairs)
            except ValueError as error:
                problems["pairs"] = str(error)
        elif layout in ("pairs", "threat", "debias"):
            if self.rows * self.columns > MAX_FIGURE_IMAGES:
                problems["columns"] = (
                    f"rows × columns can be at most {MAX_FIGURE_IMAGES} images in a figure, not "
                    f"{self.rows * self.columns}"
                )
            if self.classes and not card.conditional:
                problems["classes"] = f"{self.generator} is unconditional: it draws no class that is asked for"
            elif unknown := [name for name in self.classes if name not in card.classes]:
                problems["classes"] = f"there is no class {unknown[0]!r}; there are {', '.join(card.classes)}"
        if layout in ("debias", "histograms") and not self.files and not self.debias:
            problems["debias"] = "this figure compares boosting without and with debiasing: 1 or more"
        if layout == "histograms" and card.conditional:
            problems["generator"] = (
                f"{self.generator} is conditional: its labels are given, and debiasing plays no part"
            )
        fitted = layout in ("pairs", "debias", "histograms") and self.debias and not card.conditional
        if fitted and self.seed == DEBIAS_SEED:
            problems["seed"] = "debiasing is fitted to this seed's images: choose another"
        if layout == "walk" and not self.steps:
            problems["steps"] = "an interpolation takes 1 step or more"
        return problems or self._unfit_recipe()

    def _unfit_recipe(self) -> dict[str, str]:
        try:
            recipe = self.recipe
        except ValueError as error:
            at = {"histograms": "generator", "measured": "figure"}.get(self.kind.layout, "columns")
            return {"files" if self.files else at: str(error)}
        try:
            check_cost(recipe)
        except ValueError as error:
            return {"pairs" if self.kind.layout == "walk" else "columns": str(error)}
        return {}


@dataclass(frozen=True, kw_only=True)
class AgainRequest(Request):
    """A figure to be made again from the recipe in its file."""

    file: str | None = setting(
        dataclasses.MISSING,
        "A PNG, PDF or SVG that this project wrote.",
        label="A figure made here (PNG, PDF or SVG)",
    )

    @cached_property
    def recipe(self) -> Recipe:
        """The file's recipe. ValueError where it has none that this page can make again."""
        if not self.file:
            raise ValueError("add the file of a figure first: a PNG, PDF or SVG written here")
        recipe = recipe_in(self.file)
        check_models(recipe)
        check_cost(recipe)
        return recipe

    def conflicts(self) -> dict[str, str]:
        """A file without a recipe that can be made again."""
        try:
            _ = self.recipe
        except ValueError as error:
            return {"file": str(error)}
        return {}


def _unfit_files(layout: str, count: int) -> dict[str, str]:
    """What is wrong with uploading so many images for a figure."""
    if layout == "measured":
        return {"files": "this figure is of what was measured: take the uploaded images away"}
    if layout == "families":
        return {"files": "this figure is of the generators: take the uploaded images away"}
    if layout in ("debias", "histograms"):
        return {"files": "debiasing needs more images of the same generator: take the uploaded ones away"}
    if count > MAX_IMAGES_PER_REQUEST:
        return {"files": f"at most {MAX_IMAGES_PER_REQUEST} images can be uploaded, not {count}"}
    if layout == "walk" and (count % 2 or count > 2 * MAX_PAIRS):
        return {"files": f"sources and targets in turn: an even number of images, up to {2 * MAX_PAIRS}"}
    return {}


# -------------------------------------------------------------------------------------------------- recipes of requests


def _ends(request: FigureRequest) -> list[OneImage]:
    """The images that a figure begins and ends with: the uploaded ones, or the numbers of the generator's."""
    if request.files:
        return [OneImage(kind=UPLOAD, file=path) for path in request.files]
    numbers = [request.start]
    if request.kind.layout == "walk":
        numbers = [number for pair in pairs_in(request.pairs) for number in pair]
    return [
        OneImage(kind=GENERATOR, generator=request.generator, seed=request.seed, number=number) for number in numbers
    ]


def _aligned(request: FigureRequest, draft: drafts.Draft) -> Recipe:
    standard = control_for(request.classifier) or request.classifier
    return drafts.aligned(draft, _ends(request)[0], request.classifier, standard, request.config)


def _walks(request: FigureRequest, draft: drafts.Draft) -> Recipe:
    ends, control = _ends(request), control_for(request.classifier)
    names = [request.classifier] if control is None else [request.classifier, control]
    way = {"c": FRACTIONS, "steps": request.steps, "weights": None, "warm_start": False}
    return drafts.walks(draft, request.figure, list(zip(ends[::2], ends[1::2], strict=True)), names, way)


def _families(request: FigureRequest, draft: drafts.Draft) -> Recipe:
    size = draft.classifier(request.classifier).input_size
    fitting = [name for name, card in generator_cards().items() if card.input_size == size]
    return drafts.families(draft, fitting, request.seed, request.classifier)


def _histograms(request: FigureRequest, draft: drafts.Draft) -> Recipe:
    source = {"generator": request.generator, "seed": request.seed, "count": request.count}
    return drafts.histograms(draft, source, {"count": request.debias, "seed": DEBIAS_SEED}, request.classifier)


def _measured(request: FigureRequest, draft: drafts.Draft) -> Recipe:
    return drafts.measured(draft, request.figure)


def set_recipe(request: FigureRequest, draft: drafts.Draft, images: str | os.PathLike[str] | None = None) -> Recipe:
    """The recipe of a figure of many images. images: a folder, zip or .npz in place of the generator."""
    classifier = draft.classifier(request.classifier)
    if images is not None:
        source = draft.image_set(str(images), request.start, request.rows * request.columns, classifier)
    elif request.files:
        source = draft.uploaded(request.files, classifier)
    else:
        source = drawn(
            generator_cards()[request.generator],
            seed=request.seed,
            start=request.start,
            rows=request.rows,
            columns=request.columns,
            classes=request.classes,
        )
    how = drafts.Boosting(
        columns=request.columns,
        classifier=classifier,
        config=request.config,
        debias=request.debias,
        quantile=request.quantile,
    )
    return drafts.boosted_set(draft, request.figure, source, how)


def pairs_in(text: str) -> list[tuple[int, int]]:
    """Pairs of image numbers typed as "8-9, 3-5"; ValueError for anything else."""
    pairs = []
    words = text.replace(",", " ").replace(";", " ").split()
    for word in words or [""]:
        numbers = word.split("-")
        if len(numbers) != 2 or not all(one.isascii() and one.isdigit() and len(one) < 10 for one in numbers):
            raise ValueError(
                f"pairs must be numbers of two images like 8-9, with commas between pairs, not {word[:40]!r}"
            )
        pairs.append((int(numbers[0]), int(numbers[1])))
        if pairs[-1][0] == pairs[-1][1]:
            raise ValueError(f"{word} is one image twice: there is no way between them")
    if len(pairs) > MAX_PAIRS:
        raise ValueError(f"at most {MAX_PAIRS} pairs fit a figure, not {len(pairs)}")
    return pairs


def default_pairs(figure: str) -> str:
    """The pairs a figure begins with."""
    return ", ".join(f"{a}-{b}" for a, b in (WALKS if figure == "fig11" else WALKS[:1]))


def default_config(figure: str, generator: str) -> BoostConfig:
    """ε, T, α and the early stop a figure begins with: P1's where it says them, else what the generator's card
    recommends."""
    layout = FIGURE_KINDS[figure].layout
    if layout == "aligned":
        return BoostConfig(**ALIGNED_CONFIG)
    if layout == "threat":
        return BoostConfig(**THREAT_CONFIG)
    if layout == "walk":
        return BoostConfig(eps=2.0, steps=60)
    return drafts.recommended(generator_cards()[generator])


# -------------------------------------------------------------------------------------------------------------- making


@dataclass(frozen=True)
class Rendered:
    """A figure's files by format, and its caption."""

    recipe: Recipe = field(repr=False)
    files: dict[str, bytes] = field(repr=False)
    caption: str

    def _repr_png_(self) -> bytes:
        return self.files["png"]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure, whole or not at all, in the format that the ending names: .png, .pdf or .svg."""
        path = Path(path)
        if (file := self.files.get(path.suffix.lower().removeprefix("."))) is None:
            raise ValueError(f"a figure is written as .{', .'.join(self.files)}, not {path.name!r}")
        write_bytes(path, file)
        return path


def compute(recipe: Recipe, device: str | None = None) -> Iterator[Progress | Rendered]:
    """The figure's progress, then the figure. ValueError for one that computes more than a request may."""
    from bigroc_core.figures.drawing import render
    from bigroc_core.figures.making import make

    check_cost(recipe)
    made = yield from make(recipe, device or compute_device())
    yield Progress(1, 1, "drawing")
    yield Rendered(recipe, {format: render(made.figure, format, recipe) for format in FORMATS}, made.caption)


def computing(recipe: Recipe, device: str | None = None) -> int:
    """What a figure computes: the pixels of images whose gradients are taken."""
    return computed_pixels(recipe)


compute_on_gpu = on_gpu(computing)(compute)
