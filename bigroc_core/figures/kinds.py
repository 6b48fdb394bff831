"""The figures there are: what each shows, and what it is made of where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bigroc_core.cards import Card
from bigroc_core.experiments.every_class import EveryClassRequest
from bigroc_core.experiments.threat_models import ThreatModelsRequest
from bigroc_core.figures.schema import SCHEMAS
from bigroc_core.settings import default_of
from bigroc_core.sources import DEBIAS_COUNT, DEBIAS_SEED


@dataclass(frozen=True)
class FigureKind:
    """One figure, of P1 where its name is a number's.

    title: a few words. shows: one sentence. layout: which settings it has, a key of LAYOUTS.
    families: of which generator it is, the first of these that is embedded; conditional: else the first that is, or is
    not, conditional. rows, columns: images of each set. classes: of a conditional generator, one per row.
    """

    title: str
    shows: str
    layout: str
    families: tuple[str, ...] = ()
    conditional: bool = True
    rows: int = 10
    columns: int = 10
    classes: tuple[str, ...] = ()


# The settings that play a part in figures of a layout: "pairs" (a source, boosted), "threat" (P1 Fig. 4), "debias" (P1
# Fig. 3), "families" (P1 Fig. 5), "aligned" (P1 Fig. 2), "walk" (P1 Figs. 6 and 11), "histograms" (counts alone),
# "measured" (from what `tables` wrote).
_BALL = ("classifier", "eps", "steps", "step_size", "stop_at")
_SET = ("generator", "seed", "start", "rows", "columns", "classes", *_BALL)
LAYOUTS: dict[str, tuple[str, ...]] = {
    "pairs": (*_SET, "debias", "files"),
    "debias": (*_SET, "debias"),
    "threat": (*_SET, "quantile", "files"),
    "aligned": ("generator", "seed", "start", *_BALL, "files"),
    "walk": ("generator", "seed", "pairs", "classifier", "steps", "files"),
    "families": ("seed", "classifier"),
    "histograms": ("generator", "seed", "count", "classifier", "debias"),
    "measured": (),
}
_ALL = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FIGURE_KINDS: dict[str, FigureKind] = {
    "fig1": FigureKind(
        "Three classes",
        "Three classes: generated, and boosted.",
        "pairs",
        ("biggan", "cgan"),
        rows=3,
        columns=8,
        classes=("bird", "automobile", "truck"),
    ),
    "fig2": FigureKind(
        "Aligned gradients",
        "One image moved towards every class, through a robust and through a standard network.",
        "aligned",
    ),
    "fig3": FigureKind(
        "Debiasing",
        "Boosted without and with debiasing, and which classes the targets fall on.",
        "debias",
        ("sngan",),
        conditional=False,
    ),
    "fig4": FigureKind(
        "Threat models",
        "Boosted in an L∞ ball and in an L2 ball of comparable size.",
        "threat",
        ("cgan",),
        rows=3,
        columns=6,
        classes=("airplane", "automobile", "bird"),
    ),
    "fig5": FigureKind("Every generator", "Every generator: one image per class, generated and boosted.", "families"),
    "fig6": FigureKind("Interpolation", "From one image to another by matching features.", "walk"),
    "fig7": FigureKind(
        "Class-conditional, all classes",
        "A class-conditional generator, a row per class: generated, and boosted.",
        "pairs",
        ("biggan", "cgan-pd", "cgan"),
        classes=_ALL,
    ),
    "fig8": FigureKind("VAE", "An unconditional VAE: generated, and boosted.", "pairs", ("vae",), conditional=False),
    "fig9": FigureKind(
        "WGAN-GP",
        "An unconditional WGAN-GP: generated, and boosted.",
        "pairs",
        ("wgan-gp", "sngan"),
        conditional=False,
    ),
    "fig10": FigureKind(
        "SSGAN", "An unconditional SSGAN: generated, and boosted.", "pairs", ("ssgan",), conditional=False
    ),
    "fig11": FigureKind("More interpolations", "From one image to another, several times.", "walk"),
    "side-by-side": FigureKind("Side by side", "Images before and after boosting, row under row.", "pairs", rows=1),
    "debias": FigureKind(
        "Class histograms",
        "Classes of generated images as a classifier estimates them, without and with debiasing (P1 Eq. 2).",
        "histograms",
        conditional=False,
    ),
    "table1": FigureKind("P2 Table 1", "Consistency models: as they come, and boosted in three ways.", "measured"),
    "table2": FigureKind("P2 Table 2", "Other generators, with models that never saw them.", "measured"),
    "table3": FigureKind("P2 Table 3", "What is minimised: CE, BCE, and both.", "measured"),
    "curve": FigureKind(
        "P2: quality against time",
        "More consistency steps, or more PGD steps on one-step images (P2 4.2).",
        "measured",
    ),
}
assert set(FIGURE_KINDS) <= set(SCHEMAS)
# What the command calls all classes, image by image, of a figure that has some of its own.
ALL_CLASSES = "all"
# Debiasing is fitted to this many images, drawn with this seed, as in P1.
DEBIAS = {"count": DEBIAS_COUNT, "seed": DEBIAS_SEED}
# Of figures where no other classifier is asked for, and the one that stands beside it.
ROBUST, STANDARD = "cifar10-robust", "cifar10-standard"
# P1's settings of Fig. 2 and Fig. 4, in units of images in [0, 1].
ALIGNED_CONFIG: dict[str, Any] = {name: default_of(EveryClassRequest, name) for name in ("eps", "steps", "step_size")}
THREAT_CONFIG: dict[str, Any] = {name: default_of(ThreatModelsRequest, name) for name in ("eps", "steps")}
FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Numbers of the images of Fig. 11, of seed 0: from a class to another that is built alike, and to one that is not.
WALKS = ((8, 9), (3, 5), (0, 2))


def generator_of(kind: FigureKind, cards: Mapping[str, Card]) -> str:
    """The generator that a figure is of where none is asked for; ValueError where there is none of its kind."""
    of_family = (name for family in kind.families for name, card in cards.items() if family_of(card) == family)
    alike = (name for name, card in cards.items() if card.conditional == kind.conditional)
    if (name := next(of_family, None) or next(alike, None)) is not None:
        return name
    wanted = "class-conditional" if kind.conditional else "unconditional"
    raise ValueError(f"there is no {wanted} generator here")


def classes_of(kind: FigureKind, generator: Card) -> tuple[str, ...]:
    """The classes that a figure is of where none are asked for: its own, as far as the generator draws them."""
    return tuple(name for name in kind.classes if generator.conditional and name in generator.classes)


def family_of(generator: Card) -> str:
    """The family that a generator was trained as, "" where its card does not say."""
    recipe = generator.training.get("recipe")
    return str(recipe.get("family", "")) if isinstance(recipe, dict) else ""


def drawn(
    generator: Card, *, seed: int = 0, start: int = 0, rows: int, columns: int, classes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A recipe's source: rows × columns images of a generator, of a conditional one `classes` in turn, one per row."""
    chosen = None
    if generator.conditional and classes:
        chosen = [classes[row % len(classes)] for row in range(rows) for _ in range(columns)]
    return {"generator": generator.name, "seed": seed, "start": start, "count": rows * columns, "classes": chosen}


def debias_for(generator: Card) -> dict[str, int] | None:
    """Debiasing as P1 has it, where targets are estimated."""
    return None if generator.conditional else dict(DEBIAS)


def families_source(generator: Card, seed: int = 0, pool: int = 200) -> dict[str, Any]:
    """The images that Fig. 5 chooses one of each class from."""
    count = len(generator.classes) if generator.conditional else pool
    return {"generator": generator.name, "seed": seed, "start": 0, "count": count, "classes": None}
