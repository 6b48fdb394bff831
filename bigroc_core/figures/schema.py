"""What the recipe of each figure may hold: types and bounds, and what is said of values outside them.

Nothing is coerced: a text is no number, 3.0 is no whole number, and an entry of an unknown name is refused.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, PlainValidator, Tag, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from bigroc_core.boosting import BoostConfig
from bigroc_core.engine.views import MAX_SIDE
from bigroc_core.limits import (
    MAX_COLUMNS,
    MAX_EPS_L2,
    MAX_FIGURE_IMAGES,
    MAX_FRACTIONS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.messages import short
from bigroc_core.norms import NORMS
from bigroc_core.sources import MAX_INDEX, MAX_SEED

FORMAT = 1
MAX_NAME = 200
MAX_ENTRIES = 16
MAX_CLASSES = 10_000
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


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
    most = NORMS[config.norm].most
    if config.eps > most:
        raise ValueError(f"asks for eps {config.eps:g}, which can be at most {most:g} in this norm")
    return dataclasses.asdict(config)


def _sha256(value: str) -> str:
    if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("must be a SHA-256 in hexadecimal digits")
    return value


# ------------------------------------------------------------------------------------------------------ forms of values


def whole(least: int, most: int) -> Any:
    """A whole number within bounds."""
    return Annotated[int, Field(ge=least, le=most)]


def number(least: float, most: float) -> Any:
    """A finite number within bounds."""
    return Annotated[float, Field(ge=least, le=most)]


def several(kind: Any, most: int, least: int = 1) -> Any:
    """A list of `least` to `most` values."""
    return Annotated[list[kind], Field(min_length=least, max_length=most)]


def entries(**kinds: Any) -> Any:
    """An object with exactly these entries."""
    made = TypedDict("entries", kinds)  # type: ignore[misc]
    made.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    return made


def either(entry: str, first: Any, second: Any) -> Any:
    """An object of one of two forms: the first is the one with this entry."""
    return Annotated[
        Annotated[first, Tag("<first>")] | Annotated[second, Tag("<second>")],
        Discriminator(lambda value: "<first>" if isinstance(value, dict) and entry in value else "<second>"),
    ]


# What classifiers see of images of another size than their own; where it is not said, it is the classifier's own view.
View = NotRequired[Literal["input", "native"] | whole(1, MAX_SIDE)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Config = Annotated[dict[str, Any], PlainValidator(_config)]
Seed, Number = whole(0, MAX_SEED), whole(0, MAX_INDEX)
Images, Samples, Columns = whole(1, MAX_FIGURE_IMAGES), whole(1, MAX_SAMPLES_PER_REQUEST), whole(1, MAX_COLUMNS)
Classes = several(Name, MAX_FIGURE_IMAGES)
# Images of a generator: image i is (seed, start + i); classes one per image, or null for the generator's own.
_DRAWN = entries(generator=Name, seed=Seed, start=Number, count=Images, classes=Classes | None)
# Images that came from elsewhere, under their name in the recipe's images.
_GIVEN = entries(images=Name, classes=Classes | None)
_SOURCE = either("images", _GIVEN, _DRAWN)
# One image: of a generator (class null: its number's own), or given.
_END = either("image", entries(image=Name), entries(generator=Name, seed=Seed, number=Number, **{"class": Name | None}))
# The shift of P1 Eq. 2: fitted to more images of the generator, or as fitted to images from elsewhere.
_FITTED = entries(count=Samples, seed=Seed)
_DEBIAS = either("shift", entries(shift=several(number(-1e6, 1e6), MAX_CLASSES)), _FITTED) | None


# ------------------------------------------------------------------------------------------------------------ figures

_PAIRS = entries(source=_SOURCE, columns=Columns, classifier=Name, config=Config, debias=_DEBIAS, view=View)
_WALK = entries(
    pairs=several(several(_END, 2, 2), 8),
    classifiers=several(Name, 4),
    c=several(number(0, 1), MAX_FRACTIONS),
    steps=whole(1, MAX_STEPS_PER_REQUEST),
    weights=several(number(0, 1e6), 32) | None,
    warm_start=bool,
    view=View,
)
_SET = entries(source=_SOURCE, config=Config, debias=_DEBIAS)
_POINT = entries(stage=Name, eps=number(0, MAX_EPS_L2), mean=number(-1e9, 1e9), std=number(0, 1e9) | None)
# What a line of a joint model's training log says that is drawn: in [0, 1], and not.
_SHARES = ("real", "generated", "stopped", "auc", "clean", "pgd10")
_LOSSES = ("ce_real", "ce_generated", "bce_real", "bce_generated")
TRAINING = ("step", *_SHARES, *_LOSSES)
_LINE = entries(step=whole(0, 10**9), **dict.fromkeys(_SHARES, number(0, 1)), **dict.fromkeys(_LOSSES, number(0, 1e9)))
_COUNTS = several(whole(0, 10**9), MAX_CLASSES)
# A histogram as it was counted: of which images, by which classifier, d fitted to how many others.
_COUNTED = entries(
    classes=several(Name, MAX_CLASSES),
    of=Name,
    seen_by=Name,
    fitted_to=whole(1, 10**9),
    **{"without": _COUNTS, "with": _COUNTS},
)
_CELL = entries(text=Annotated[str, Field(max_length=MAX_NAME)], bold=bool)
# Rows as `tables` measured them, and as P2 prints them.
_TABLE = entries(
    columns=several(Name, 8),
    rows=several(entries(name=Name, cells=several(_CELL, 8), printed=bool), 100),
    features_of=Name,
)
_STEPS = whole(0, 10_000)
_TIMED = entries(
    consistency_steps=_STEPS, pgd_steps=_STEPS, seconds=number(0, 1e6), distance=several(number(-1e9, 1e9), 100)
)
SCHEMAS: dict[str, Any] = {
    **dict.fromkeys(("fig1", "fig3", "fig7", "fig8", "fig9", "fig10", "side-by-side"), _PAIRS),
    "fig2": entries(start=_END, robust=Name, standard=Name, config=Config, view=View),
    "fig4": entries(source=_SOURCE, columns=Columns, classifier=Name, config=Config, share=number(0.01, 1), view=View),
    "fig5": entries(sets=several(_SET, 8), classifier=Name, view=View),
    **dict.fromkeys(("fig6", "fig11"), _WALK),
    # A histogram draws none of its images, and takes more of them.
    "debias": either(
        "without",
        _COUNTED,
        entries(source=entries(generator=Name, seed=Seed, count=Samples), classifier=Name, debias=_FITTED, view=View),
    ),
    **dict.fromkeys(("table1", "table2", "table3"), _TABLE),
    "curve": entries(points=several(_TIMED, 200), features_of=Name),
    "training": entries(name=Name, lines=several(_LINE, 1_000)),
    "sweep": entries(
        points=several(_POINT, 200),
        best=number(0, MAX_EPS_L2),
        features_of=Name,
        norm=Name,
        source=Name,
        seeds=several(Seed, 100),
        measure=NotRequired[Literal["frechet", "kid"]],
    ),
}
# A recipe as JSON. images: how many are stacked in one PNG, which is in base64.
FILE = entries(
    recipe=Literal[1],
    figure=Name,
    settings=dict[str, Any],
    checkpoints=Annotated[dict[Name, Annotated[str, AfterValidator(_sha256)]], Field(max_length=MAX_ENTRIES)],
    images=Annotated[dict[Name, entries(count=Images, png=str)], Field(max_length=MAX_ENTRIES)],  # type: ignore[misc]
    version=Name,
)


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
