"""What the recipe of each figure may hold: types and bounds, and what is said of values outside them.

Nothing is coerced: a text is no number, 3.0 is no whole number, and an entry of an unknown name is refused.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, PlainValidator, Tag, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from bigroc_core.boosting import BoostConfig
from bigroc_core.limits import (
    MAX_COLUMNS,
    MAX_EPS_L2,
    MAX_EPS_LINF,
    MAX_FIGURE_IMAGES,
    MAX_FRACTIONS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.sources import MAX_INDEX, MAX_SEED

FORMAT = 1
MAX_NAME = 200
MAX_ENTRIES = 16
# Said of the entries of every object below, those within others included.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 2


def short(value: Any) -> str:
    """A value as a message quotes it: printable, and never long."""
    shown = _SHORT.repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _config(value: Any) -> dict[str, Any]:
    """The settings of a run, within the limits of a request."""
    names = [one.name for one in dataclasses.fields(BoostConfig)]
    if not isinstance(value, dict) or any(key not in names for key in value):
        raise ValueError(f"must be boosting settings ({', '.join(names)}), not {short(value)}")
    try:
        config = BoostConfig(**value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"cannot be: {str(error)[:200]}") from None
    if config.steps > MAX_STEPS_PER_REQUEST:
        raise ValueError(f"asks for {config.steps:,} steps, and at most {MAX_STEPS_PER_REQUEST} fit a figure")
    most = MAX_EPS_L2 if config.norm == "l2" else MAX_EPS_LINF
    if config.eps > most:
        raise ValueError(f"asks for eps {config.eps:g}, which can be at most {most:g} in this norm")
    return dataclasses.asdict(config)


def _sha256(value: str) -> str:
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("must be a SHA-256 in hexadecimal digits")
    return value


def _form(entry: str) -> Callable[[Any], str]:
    """Which of two forms an object has: the first is the one with this entry."""
    return lambda value: "<first>" if isinstance(value, dict) and entry in value else "<second>"


# ------------------------------------------------------------------------------------------------------------- values

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Number = Annotated[int, Field(ge=0, le=MAX_INDEX)]
Images = Annotated[int, Field(ge=1, le=MAX_FIGURE_IMAGES)]
Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES_PER_REQUEST)]
Columns = Annotated[int, Field(ge=1, le=MAX_COLUMNS)]
Classes = Annotated[list[Name], Field(min_length=1, max_length=MAX_FIGURE_IMAGES)]
Eps = Annotated[float, Field(ge=0, le=MAX_EPS_L2)]
Share = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0, le=1e9)]
Config = Annotated[dict[str, Any], PlainValidator(_config)]


class Drawn(TypedDict):
    """Images of a generator: image i is (seed, start + i). classes: one per image, or None for the generator's own."""

    generator: Name
    seed: Seed
    start: Number
    count: Images
    classes: Classes | None


class Given(TypedDict):
    """Images that came from elsewhere, under their name in the recipe's images."""

    images: Name
    classes: Classes | None


class GivenImage(TypedDict):
    """One image that came from elsewhere."""

    image: Name


# One image of a generator; class None: its number's own.
DrawnImage = TypedDict("DrawnImage", {"generator": Name, "seed": Seed, "number": Number, "class": Name | None})


class Shift(TypedDict):
    """The shift of P1 Eq. 2, as fitted to images from elsewhere."""

    shift: Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=10_000)]


class Fitted(TypedDict):
    """The shift of P1 Eq. 2, fitted to more images of the generator."""

    count: Samples
    seed: Seed


Source = Annotated[Annotated[Given, Tag("<first>")] | Annotated[Drawn, Tag("<second>")], Discriminator(_form("images"))]
OneEnd = Annotated[
    Annotated[GivenImage, Tag("<first>")] | Annotated[DrawnImage, Tag("<second>")], Discriminator(_form("image"))
]
Pair = Annotated[list[OneEnd], Field(min_length=2, max_length=2)]
Debias = Annotated[Annotated[Shift, Tag("<first>")] | Annotated[Fitted, Tag("<second>")], Discriminator(_form("shift"))]


# ------------------------------------------------------------------------------------------------------------ figures


class Pairs(TypedDict):
    """Images, and the same boosted: P1 Figs. 1, 3 and 7 to 10."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    source: Source
    columns: Columns
    classifier: Name
    config: Config
    debias: Debias | None


class Threats(TypedDict):
    """P1 Fig. 4. share: the quantile of |δ| of the L2 result that becomes the L∞ radius."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    source: Source
    columns: Columns
    classifier: Name
    config: Config
    share: Annotated[float, Field(ge=0.01, le=1)]


class Aligned(TypedDict):
    """P1 Fig. 2."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    start: OneEnd
    robust: Name
    standard: Name
    config: Config


class Family(TypedDict):
    """One generator's row of P1 Fig. 5."""

    source: Source
    config: Config
    debias: Debias | None


class Families(TypedDict):
    """P1 Fig. 5."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    sets: Annotated[list[Family], Field(min_length=1, max_length=8)]
    classifier: Name


class Walks(TypedDict):
    """P1 Figs. 6 and 11. weights: one per resolution, or None for 1 each."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    pairs: Annotated[
        list[Annotated[list[OneEnd], Field(min_length=2, max_length=2)]], Field(min_length=1, max_length=8)
    ]
    classifiers: Annotated[list[Name], Field(min_length=1, max_length=4)]
    c: Annotated[list[Share], Field(min_length=1, max_length=MAX_FRACTIONS)]
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS_PER_REQUEST)]
    weights: Annotated[list[Annotated[float, Field(ge=0, le=1e6)]], Field(min_length=1, max_length=32)] | None
    warm_start: bool


class Samplings(TypedDict):
    """A histogram's images; it draws none of them, and takes more."""

    generator: Name
    seed: Seed
    count: Samples


class Histograms(TypedDict):
    """Class histograms without and with debiasing."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    source: Samplings
    classifier: Name
    debias: Fitted


class Line(TypedDict):
    """What is drawn of a line of a joint model's training log."""

    step: Annotated[int, Field(ge=0, le=10**9)]
    real: Share
    generated: Share
    stopped: Share
    auc: Share
    clean: Share
    pgd10: Share
    ce_real: Loss
    ce_generated: Loss
    bce_real: Loss
    bce_generated: Loss


class Training(TypedDict):
    """The curves of a joint model's training."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    name: Name
    lines: Annotated[list[Line], Field(min_length=1, max_length=1_000)]


class Point(TypedDict):
    """One ε of a sweep, its mean distance and standard deviation."""

    stage: Name
    eps: Eps
    mean: Annotated[float, Field(ge=-1e9, le=1e9)]
    std: Loss | None


class Sweep(TypedDict):
    """A sweep's curve."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    points: Annotated[list[Point], Field(min_length=1, max_length=200)]
    best: Eps
    features_of: Name
    norm: Name
    source: Name
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=100)]


SCHEMAS: dict[str, Any] = {
    **dict.fromkeys(("fig1", "fig3", "fig7", "fig8", "fig9", "fig10", "side-by-side"), Pairs),
    "fig2": Aligned,
    "fig4": Threats,
    "fig5": Families,
    **dict.fromkeys(("fig6", "fig11"), Walks),
    "debias": Histograms,
    "training": Training,
    "sweep": Sweep,
}


class Held(TypedDict):
    """Images from elsewhere: how many are stacked in one PNG, which is in base64."""

    count: Images
    png: str


class File(TypedDict):
    """A recipe as JSON."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    recipe: Literal[1]
    figure: Name
    settings: dict[str, Any]
    checkpoints: Annotated[dict[Name, Annotated[str, AfterValidator(_sha256)]], Field(max_length=MAX_ENTRIES)]
    images: Annotated[dict[Name, Held], Field(max_length=MAX_ENTRIES)]
    version: Name


# ------------------------------------------------------------------------------------------------------------- reading


def checked(schema: Any, value: Any, name: str) -> Any:
    """The value, whose entries are in the schema's order; ValueError, one sentence that names the entry at fault."""
    try:
        return _reader(schema).validate_python(value)
    except ValidationError as error:
        raise ValueError(_sentence(error, name)) from None


@cache
def _reader(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


_KINDS = {
    "int": "a whole number",
    "float": "a finite number",
    "finite": "a finite number",
    "string": f"a text of 1 to {MAX_NAME} characters",
    "invalid": "an object whose keys are texts",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge:,}",
    "less_than_equal": "at most {le:,}",
    "too_short": "of at least {min_length} entries",
    "too_long": "of at most {max_length} entries",
    "literal_error": "{expected}",
}


def _sentence(error: ValidationError, name: str) -> str:
    """What is wrong, in our own words: an entry that does not belong there, else the first thing at fault."""
    problems = error.errors(include_url=False)
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    kind = first["type"]
    context = {key: _plain(value) for key, value in first.get("ctx", {}).items()}
    path = [part for part in first["loc"] if part not in ("<first>", "<second>", "[key]")]
    within = kind in ("missing", "extra_forbidden")
    place = name + "".join(_part(part) for part in (path[:-1] if within else path))
    if kind == "missing":
        return f"{place} lacks {path[-1]}"
    if kind == "extra_forbidden":
        return f"{place} has an unknown entry {short(path[-1])}"
    if kind == "value_error":
        return f"{place} {context['error']}"
    wanted = _BOUNDS[kind].format(**context) if kind in _BOUNDS else _KINDS.get(kind.split("_")[0], "another value")
    return f"{place} must be {wanted}, not {short(first['input'])}"


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _part(part: int | str) -> str:
    return f".{part}" if isinstance(part, str) and part.isidentifier() and len(part) < 60 else f"[{short(part)}]"
