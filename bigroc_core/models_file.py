"""`models.toml`: the user's own classifiers and generators, by name.

    [[classifier]]
    name = "birds"
    source = "weights/birds.pth"          # a file, hub:OWNER/REPO/FILE, torchvision:, timm:, robustbench:
    arch = "resnet50"                     # the rest where the source does not say it
    classes = ["robin", "wren"]           # names, how many, a file with one name per line, or "imagenet"
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
    input_size = 224
    robust = true
    l0 = 1.5
    preset = "p1-adm-g-256"               # or a table: preset = { eps = 3.0, steps = 7 }

    [[generator]]
    name = "mine"
    source = "pipelines/mine"
    preset = "p1-cgan"

Paths are relative to the file. It is looked for where `$BIGROC_MODELS` says, in the current folder, then beside app.py.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CHECKPOINTS, MAX_NAME_BYTES, MAX_SIDE
from bigroc_core.checks import MAX_L0
from bigroc_core.files import TOO_MUCH, check_plain, is_there, read_settings_text
from bigroc_core.messages import printable
from bigroc_core.presets import settings_of

VARIABLE = "BIGROC_MODELS"
FILE = "models.toml"
# Before a generator's name where images may come from elsewhere, too.
GENERATOR_PREFIX = "generator:"
IMAGENET = "imagenet"
MAX_CLASSES = 1_000_000
_Check = Callable[[Path, Any], dict[str, Any]]
_PREFIXES = ("hub:", "torchvision:", "timm:", "robustbench:")


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One table of a models.toml, or one model given to a program for a run.

    classes: how many, where that is said. class_names: None where they are not said. imagenet: they are ImageNet's,
    filled in where the entry is used. preset: boosting settings by name of BoostConfig's field.
    """

    name: str
    kind: str
    source: str
    arch: str | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    imagenet: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    input_size: tuple[int, int] | None = None
    robust: bool | None = None
    l0: float | tuple[float, ...] | None = None
    preset: dict[str, Any] = field(default_factory=dict)


_ADDED: dict[tuple[str, str], ModelEntry] = {}


def add_model(entry: ModelEntry) -> None:
    """Make a model known by its name for as long as this program runs, in place of one of that name in a file."""
    _ADDED[entry.kind, entry.name] = entry


def entry_named(source: str, kind: str) -> ModelEntry:
    """A model that is named by its source alone; a file is called by its name without its ending."""
    name = Path(source.partition("?")[0]).stem if not source.startswith(_PREFIXES) else source
    taken = (CHECKPOINTS / f"{name}.json").is_file() or not name
    return ModelEntry(name=source if taken else name, kind=kind, source=source)


def use_models_file(path: str | os.PathLike[str]) -> None:
    """Read a models.toml now and look names up in it from here on, in programs started from here too; ValueError as
    `read_models`."""
    read_models(Path(path))
    os.environ[VARIABLE] = str(Path(path).resolve())


def model_entries(kind: str) -> dict[str, ModelEntry]:
    """The user's models of a kind, "classifier" or "generator", by name; ValueError for a mistake in their file."""
    path = models_path()
    entries = {} if path is None else {e.name: e for e in read_models(path) if e.kind == kind}
    return {**entries, **added_models(kind)}


def added_models(kind: str) -> dict[str, ModelEntry]:
    """The models of a kind that were given to this program for a run, by name."""
    return {name: entry for (k, name), entry in _ADDED.items() if k == kind}


@contextmanager
def added_until_then() -> Iterator[None]:
    """Forget again the models that are given to this program in the meantime."""
    before = dict(_ADDED)
    try:
        yield
    finally:
        _ADDED.clear()
        _ADDED.update(before)


def entry_options(entry: ModelEntry) -> list[str]:
    """What a command is told to take this classifier."""
    names = entry.class_names or ()
    # With commas in them they have to be read from a file, which has one in a line.
    several = "FILE_OF_CLASS_NAMES" if any("," in name for name in names) else ",".join(names)
    said = {
        "classifier": entry.source,
        "arch": entry.arch,
        "num-classes": None if entry.class_names or entry.classes is None else str(entry.classes),
        "class-names": several,
        "mean": ",".join(map(repr, entry.mean or ())),
        "std": ",".join(map(repr, entry.std or ())),
        "input-size": "x".join(map(str, entry.input_size or ())),
    }
    return [word for option, value in said.items() if value for word in (f"--{option}", value)]


def models_path() -> Path | None:
    """The models.toml that is read, or None; ValueError where $BIGROC_MODELS names a file that is not there."""
    if said := os.environ.get(VARIABLE):
        if not is_there(Path(said)) or not Path(said).is_file():
            raise ValueError(f"${VARIABLE} names {printable(said)}, which is no file")
        return Path(said)
    places = (Path.cwd() / FILE, CHECKPOINTS.parent / FILE)
    return next((place for place in places if place.is_file()), None)


def read_models(path: Path) -> tuple[ModelEntry, ...]:
    """The models of a models.toml; ValueError, one line, with the line of wrong syntax or the key of a wrong entry."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return _read(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int, _size: int) -> tuple[ModelEntry, ...]:
    try:
        text = read_settings_text(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {' '.join(str(error).split())[:200]}") from error
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {TOO_MUCH}") from error
    try:
        check_plain(tables)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if unknown := [key for key in tables if key not in ("classifier", "generator")]:
        raise ValueError(f"{path}: {unknown[0][:80]!r} is not known; there are [[classifier]] and [[generator]]")
    entries = [
        _entry(path, kind, position, table)
        for kind in ("classifier", "generator")
        for position, table in enumerate(_listed(path, kind, tables.get(kind, [])), 1)
    ]
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if (entry.kind, entry.name) in seen:
            raise ValueError(f"{path}: name: two models are called {entry.name!r}")
        if (CHECKPOINTS / f"{entry.name}.json").is_file():
            raise ValueError(f"{path}: name: {entry.name!r} is the name of an embedded model; choose another")
        seen.add((entry.kind, entry.name))
    return tuple(entries)


def _listed(path: Path, kind: str, tables: Any) -> list[dict[str, Any]]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: {kind}: write [[{kind}]], in two brackets, above each of them")
    return tables


def _entry(path: Path, kind: str, position: int, table: dict[str, Any]) -> ModelEntry:
    keys = _CLASSIFIER_KEYS if kind == "classifier" else _GENERATOR_KEYS
    name = table.get("name")
    which = f"{path}: {kind} {position}" + (f" ({name[:60]!r})" if isinstance(name, str) else "")
    for key in ("name", "source"):
        if key not in table:
            raise ValueError(f"{which}: {key} is missing")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            raise ValueError(f"{which}: {key[:80]!r} is not known; known: {', '.join(keys)}")
        try:
            values |= keys[key](path.parent, value)
        except ValueError as error:
            shown = repr(value)
            raise ValueError(
                f"{which}: {key} must be {error}, not {shown[:80]}{'…' if len(shown) > 80 else ''}"
            ) from None
    return ModelEntry(kind=kind, **values)


def _name(_folder: Path, value: Any) -> dict[str, Any]:
    fair = (
        isinstance(value, str) and 0 < len(value.encode("utf-8", "replace")) <= MAX_NAME_BYTES and value.isprintable()
    )
    if not fair or value.startswith(_PREFIXES) or "?" in value or value.strip() != value:
        raise ValueError("a printable name without a library's prefix or a ?")
    return {"name": value}


def _source(folder: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or not value or len(value) > 4096:
        raise ValueError("a file, a Hub, torchvision:, timm: or robustbench: name")
    place, mark, settings = value.partition("?")
    beside = folder / os.path.expanduser(place)  # where pathlib would raise for a user that there is not
    return {"source": f"{beside}{mark}{settings}" if not value.startswith(_PREFIXES) and is_there(beside) else value}


def _text(_folder: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or not value or len(value) > 200:
        raise ValueError('an architecture: "resnet50", "timm:NAME"')
    return {"arch": value}


def _classes(folder: Path, value: Any) -> dict[str, Any]:
    if value == IMAGENET:
        return {"classes": 1000, "imagenet": True}
    if type(value) is int and 1 <= value <= MAX_CLASSES:
        return {"classes": value}
    if isinstance(value, str) and value:
        value = class_names_in(folder / value)
    names = tuple(value) if isinstance(value, list | tuple) else ()
    if not names or len(names) > MAX_CLASSES or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError('how many, a list of names, a file with one name per line, or "imagenet"')
    return {"classes": len(names), "class_names": names}


def class_names_in(path: Path) -> tuple[str, ...]:
    """Class names from a file, one per line; ValueError, saying what was expected, if it cannot be read."""
    try:
        lines = read_settings_text(path).splitlines()
    except ValueError as error:
        raise ValueError(f"a file with one name per line ({printable(str(path))}: {error})") from error
    names = tuple(line.strip() for line in lines if line.strip())
    check_plain(list(names))
    if not names:
        raise ValueError(f"a file with one name per line ({printable(str(path))} has none)")
    return names


def _channels(key: str, positive: bool) -> _Check:
    def check(_folder: Path, value: Any) -> dict[str, Any]:
        numbers = value if isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)) else ()
        if not numbers or max(map(abs, numbers)) > 1e6 or (positive and min(numbers) <= 0):
            raise ValueError(f"three {'positive ' if positive else ''}numbers, one per channel, on [0, 1]")
        return {key: tuple(map(float, numbers))}

    return check


def _size(_folder: Path, value: Any) -> dict[str, Any]:
    sides = [value, value] if type(value) is int else value
    fair = isinstance(sides, list) and len(sides) == 2 and all(type(s) is int and 1 <= s <= MAX_SIDE for s in sides)
    if not fair:
        raise ValueError("pixels, one number or [height, width]")
    return {"input_size": (sides[0], sides[1])}


def _robust(_folder: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return {"robust": value}


def _l0(_folder: Path, value: Any) -> dict[str, Any]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(_is_number(one) and 0 <= one <= MAX_L0 for one in values):
        raise ValueError(f"a number from 0 to {MAX_L0:g}, or one per class")
    return {"l0": tuple(map(float, value)) if isinstance(value, list) else float(value)}


def _preset(_folder: Path, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            return {"preset": settings_of(value)}
        except ValueError as error:
            raise ValueError(f"a row that `presets` lists, or a table of settings ({str(error)[:120]})") from None
    try:
        if not isinstance(value, dict):
            raise ValueError("it is neither")
        BoostConfig(**value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a row that `presets` lists, or a table of settings ({str(error)[:120]})") from None
    return {"preset": value}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_GENERATOR_KEYS: dict[str, _Check] = {"name": _name, "source": _source, "classes": _classes, "preset": _preset}
_CLASSIFIER_KEYS: dict[str, _Check] = {
    **_GENERATOR_KEYS,
    "arch": _text,
    "mean": _channels("mean", positive=False),
    "std": _channels("std", positive=True),
    "input_size": _size,
    "robust": _robust,
    "l0": _l0,
}
