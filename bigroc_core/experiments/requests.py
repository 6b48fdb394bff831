"""Settings that experiments share: what images are moved towards, and how they are boosted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.checks import MAX_STEP_SIZE
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.images.classes import class_table
from bigroc_core.limits import MAX_EPS_L2, MAX_SAMPLES_PER_REQUEST, MAX_STEPS_PER_REQUEST
from bigroc_core.losses import OF_REALISM, LossName
from bigroc_core.norms import NORMS, PER_VALUE, NormName
from bigroc_core.settings import Request, like, setting
from bigroc_core.sources import (
    CLASSIFIER_INFO,
    DEBIAS_COUNT,
    DEBIAS_SEED,
    GENERATOR,
    MAX_SEED,
    ImagesRequest,
    Source,
    classifier_choices,
    example_class,
)

GIVEN, ESTIMATED, DEBIASED = "Given class", "Estimated", "Estimated, debiased"
# What a boosting request says of a BoostConfig, by its fields' names.
CONFIG_FIELDS = ("eps", "steps", "step_size", "norm", "loss", "gradient", "stop_at")
# What each loss does, in a line.
LOSS_LINES = {
    "ce": "Cross-entropy: towards the class (P1)",
    "bce": "BCE: to read as ever more real, as this class",
    "ce-bce": "Eq. 12: the class, and ever more real",
    "combined": "Eq. 13: the class, and as real as real images are, no further",
}


@dataclass(frozen=True, kw_only=True)
class TargetRequest(ImagesRequest):
    """Images, and the classes that they are moved towards."""

    target: str = setting(
        GIVEN,
        "Given class, Estimated, or Estimated, debiased: what the images are moved towards.",
        label="Move each image towards",
        info="Given: the class asked for. Estimated: the one the classifier sees. Debiased: the same after its "
        "preferences are taken out (P1 Eq. 2).",
        choices=(GIVEN, ESTIMATED, DEBIASED),
    )
    target_classes: tuple[str, ...] = setting(
        (),
        "Of target Given class: classes by name, in turn; empty: the images' own.",
        label="Target classes",
        info="One or several, given to the images in turn. Empty: the class the generator was asked for.",
    )
    validation_count: int = setting(
        DEBIAS_COUNT,
        "Of target Estimated, debiased: images that the debiasing is fitted to.",
        label="Validation set size (images)",
        info="Images of the same generator, drawn with another seed, on which the shift d is fitted (P1 takes 1,000).",
        least=50,
        most=MAX_SAMPLES_PER_REQUEST,
        step=50,
    )
    validation_seed: int = setting(
        DEBIAS_SEED,
        "The seed of these images; it must differ from seed.",
        label="Validation seed",
        info="Must differ from the images' seed.",
        most=MAX_SEED,
    )

    def conflicts(self) -> dict[str, str]:
        """Targets that these images do not have, and a validation set that is none."""
        problems = super().conflicts()
        if self.target == GIVEN and not self.target_classes and not self.images.labelled:
            problems["target_classes"] = (
                "these images carry no class of their own: choose one or several target classes, or have them estimated"
            )
        if self.target == DEBIASED and self.source != GENERATOR:
            problems["target"] = "debiasing needs more images of the same generator: choose a generator as source"
        elif self.target == DEBIASED and self.seed == self.validation_seed:
            problems["validation_seed"] = "must differ from the images' seed: the two sets have to be separate"
        return problems


@dataclass(frozen=True, kw_only=True)
class BallRequest(Request):
    """Whose gradients move images, how far, and in how many steps."""

    classifier: str = setting(
        "",
        "Whose gradients move the images; a robust one.",
        label="Classifier",
        info=CLASSIFIER_INFO,
        choices=classifier_choices,
    )
    eps: float = setting(
        BoostConfig.eps,
        "Radius of the ball, on pixels in [0, 1].",
        label="Strength ε",
        info="How far an image may move: the largest ‖δ‖, on pixels in [0, 1].",
        least=0,
        most=MAX_EPS_L2,
        step=0.05,
    )
    steps: int = setting(
        BoostConfig.steps,
        "PGD steps T.",
        label="Steps T",
        info="Gradient steps. More of them use the ball better and take longer.",
        least=0,
        most=MAX_STEPS_PER_REQUEST,
    )
    precision: PrecisionName = setting(
        "exact",
        "exact, or fast: in bfloat16 where the hardware computes it; the same outcome, other last digits.",
        label="Precision of the steps",
        info="Fast: bfloat16, where the hardware computes it; the same outcome, other last digits. Numbers and files "
        "are exact in both.",
        choices=(("exact", "exact"), ("fast", "fast")),
        added=True,
    )


def said_of_precision(precision: str) -> dict[str, Any]:
    """What a run's settings say of it; where they say nothing it is exact."""
    return {} if precision == "exact" else {"precision": precision}


@dataclass(frozen=True, kw_only=True)
class StepSizeRequest(Request):
    """How long a step is."""

    step_size: float | None = setting(
        None,
        "α, on pixels in [0, 1]; empty: eps / steps.",
        label="Step size α",
        info="On pixels in [0, 1]; empty means ε/T.",
        most=MAX_STEP_SIZE,
    )


@dataclass(frozen=True, kw_only=True)
class StopRequest(Request):
    """When an image rests."""

    stop_at: float | Literal["l0"] | None = setting(
        None,
        "An image rests at this probability of its class, or, with a joint model, at l0; empty: never.",
        label="Stop early at p(y|x) ≥",
        info="A probability up to 1; an image rests once it is reached. Empty: never. l0, with a joint model: once it "
        "reads as real as real images do (P2).",
        most=1,
    )

    def __post_init__(self) -> None:
        if isinstance(self.stop_at, str) and self.stop_at.strip().lower() in ("l0", "ℓ0", "ℓ₀"):
            object.__setattr__(self, "stop_at", "l0")
        super().__post_init__()

    def conflicts(self) -> dict[str, str]:
        """A probability that every image has."""
        told = {"stop_at": "stop_at must be above 0 and at most 1, not 0: all images would rest at once"}
        return super().conflicts() | (told if self.stop_at == 0 else {})


@dataclass(frozen=True, kw_only=True)
class ProbabilityStopRequest(StopRequest):
    """When an image rests, of any classifier."""

    stop_at: float | None = like(
        StopRequest,
        "stop_at",
        help="An image rests at this probability of its class; empty: never.",
        info="A probability up to 1; an image rests once it is reached. Empty: never.",
    )


@dataclass(frozen=True, kw_only=True)
class DescentRequest(Request):
    """The ball's norm, what is descended, and how a gradient becomes a step."""

    norm: NormName = setting(
        "l2",
        f"{' or '.join(NORMS)}.",
        label="Norm",
        info="Which ball ε is the radius of.",
        choices=[(norm.words, name) for name, norm in NORMS.items()],
    )
    loss: LossName = setting(
        "ce",
        "ce (cross-entropy); of a joint model also bce, ce-bce (P2 Eq. 12) or combined (P2 Eq. 13).",
        label="Loss",
        info="A joint model, which also tells real images from generated ones, has P2's as well.",
        choices=[(line, name) for name, line in LOSS_LINES.items()],
    )
    gradient: Literal["normalized", "raw"] = setting(
        "normalized",
        "normalized or raw.",
        label="Gradient",
        info="Raw gradients are small: they want a much larger step size.",
        choices=(("normalized (g/‖g‖ or sign)", "normalized"), ("raw (as P1's formula prints it)", "raw")),
    )


@dataclass(frozen=True, kw_only=True)
class BoostingRequest(StopRequest, DescentRequest, StepSizeRequest, BallRequest):
    """Everything that makes a BoostConfig, and the classifier."""

    @property
    def config(self) -> BoostConfig:
        """How to boost."""
        return BoostConfig(**{name: getattr(self, name) for name in CONFIG_FIELDS})

    @property
    def movers(self) -> tuple[str, ...]:
        """The classifiers whose gradients move the images."""
        return (self.classifier,)

    def conflicts(self) -> dict[str, str]:
        """What only a joint model can do, asked of another."""
        problems = super().conflicts()
        for name in self.movers:
            if wrong := loss_problem(self.loss, name):
                problems["loss"] = wrong
            if self.stop_at == "l0" and not is_joint(name):
                problems["stop_at"] = f"l0 is a joint model's, and {name} is none: a probability, or empty"
        return problems


def classifier_for(generator: str, classifier: str | None = None) -> str:
    """The classifier that boosts a generator's images: this one if it is made for their size, else the one that the
    generator's presets were found for, else the first of that size."""
    cards, card = classifier_cards(), generator_cards()[generator]
    alike = [name for name, one in cards.items() if one.input_size == card.input_size]
    if classifier in alike:
        return str(classifier)
    found_for = card.presets.get("default", {}).get("classifier")
    return found_for if found_for in cards else next(iter(alike), classifier or next(iter(cards)))


def why_estimated(source: str, generator: str, classifier: str) -> str | None:
    """Why images of such a source have no class of their own that a classifier knows; None where they have one."""
    images = Source(kind=source, generator=generator)
    if not images.labelled:
        return "these images carry no class of their own"
    card, known = images.card, classifier_cards()[classifier]
    if card is None:
        lost = any(example_class(path, known.classes) is None for path in images.paths)
        return f"the examples are of classes that {known.title or known.name} does not know" if lost else None
    try:
        class_table(card.name, card.classes, known.classes, known.name, {})
    except ValueError:
        return f"{card.title or card.name} draws classes that {known.title or known.name} does not know"
    return None


def is_joint(classifier: str) -> bool:
    """Whether a classifier also tells real images from generated ones."""
    card = classifier_cards().get(classifier)
    return card is not None and card.l0 is not None


def loss_choices(classifier: str) -> list[tuple[str, str]]:
    """The losses that a classifier can be boosted with: a plain one by those that say nothing of realism."""
    return [(line, name) for name, line in LOSS_LINES.items() if name not in OF_REALISM or is_joint(classifier)]


def loss_problem(loss: str, classifier: str) -> str | None:
    """What is wrong with a loss for a classifier, or None."""
    if loss in [name for _, name in loss_choices(classifier)]:
        return None
    return f"{LOSS_LINES.get(loss, loss)}: needs a joint model, which {classifier} is not. Choose another of the two."


# What a generator or classifier without a preset of its own is boosted with: ε is for images of this size.
FALLBACK_PRESET: dict[str, Any] = {name: getattr(BoostConfig(eps=2.0), name) for name in CONFIG_FIELDS}
FALLBACK_SIZE = (32, 32)


def presets_of(generator: str) -> dict[str, dict[str, Any]]:
    """Boosting settings by name: the generator card's own, then a subtle and a strong one around its default, where the
    card has none."""
    card = generator_cards().get(generator)
    named = dict(card.presets) if card else {}
    default = FALLBACK_PRESET | dict(named.pop("default", {}))
    presets = {"recommended": default}
    presets |= {name: FALLBACK_PRESET | values for name, values in named.items() if "eps" in values}
    around = {name: default | {"eps": default["eps"] * by} for name, by in (("subtle", 0.5), ("strong", 2))}
    return presets | {name: presets.pop(name, values) for name, values in around.items()}


def opening_generator() -> str:
    """What draws the examples that the page opens with: a generator without classes, which P1 debiases, if any."""
    cards = generator_cards()
    return next((name for name, card in cards.items() if not card.conditional), next(iter(cards)))


def opening_target() -> str:
    """What those images are moved towards: their classes, or debiased estimates where the generator has none."""
    return GIVEN if generator_cards()[opening_generator()].conditional else DEBIASED


def recommended(generator: str) -> dict[str, Any]:
    """What makes the BoostConfig that a generator is usually boosted with, by its fields' names."""
    return {name: presets_of(generator)["recommended"][name] for name in CONFIG_FIELDS}


@dataclass(frozen=True)
class Offered:
    """A preset as it is offered for certain images and a certain classifier.

    words: what the page calls it. values: of the fields of a BoostConfig. classifier: that it was found for, None where
    it was found for none. swept: whether it was found for just these.
    """

    name: str
    words: str
    values: dict[str, Any]
    classifier: str | None
    swept: bool


def presets_for(generator: str | None, classifier: str, size: tuple[int, int]) -> dict[str, Offered]:
    """The presets for images of a size, (height, width), and a classifier: a generator's own where they come from it,
    else the classifier's, else the usual one.

    Where they were found at another size an L2 radius is scaled by √(H·W), and where they were found at another size or
    for another classifier they are marked so.
    """
    cards = classifier_cards()
    own = generator_cards()[generator] if generator else None
    # What was found for this classifier comes before what was found for another.
    on_card = cards[classifier].presets.get("default") if classifier in cards else None
    made_at, presets = FALLBACK_SIZE, {"recommended": dict(FALLBACK_PRESET)}
    if own is not None and (own.presets or not on_card):
        presets, made_at = presets_of(own.name if generator is None else generator), own.input_size
        if not own.presets:
            made_at = FALLBACK_SIZE
    elif on_card:
        presets, made_at = {"recommended": FALLBACK_PRESET | on_card}, cards[classifier].input_size
    offered = {}
    for name, preset in {"recommended": presets["recommended"], **_around(presets["recommended"]), **presets}.items():
        found_for = preset.get("classifier") or (classifier if on_card and own is None else None)
        values = scaled({field: preset[field] for field in CONFIG_FIELDS}, made_at, size)
        swept = made_at == size and found_for == classifier and name in presets and "source" in preset
        named = cards[name].title or name if name in cards else name.capitalize()
        offered[name] = Offered(name, f"{named} (ε {values['eps']:.3g})", values, found_for, swept)
    return offered


def _around(default: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: default | {"eps": default["eps"] * by} for name, by in (("subtle", 0.5), ("strong", 2))}


def scaled(values: dict[str, Any], made_at: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Settings found for images of one size, for those of another: an L2 radius, and its step, grow as √(H·W)."""
    if values.get("norm") in PER_VALUE or made_at == size:
        return values
    by = ((size[0] * size[1]) / (made_at[0] * made_at[1])) ** 0.5
    longer = {name: float(f"{values[name] * by:.3g}") for name in ("eps", "step_size") if values.get(name) is not None}
    return values | longer
