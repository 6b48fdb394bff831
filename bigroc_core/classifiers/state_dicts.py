"""Finding a network's weights in what a trainer saved, and putting them into the network.

Trainers save the state dict itself, or a dictionary that has it under some name beside other things, and its keys with
prefixes of whatever was wrapped around the network. What is wanted are the network's own names: the dictionary and
the prefix are taken that make the most of them fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bigroc_core.classifiers.normalisers import normaliser_in

# A network's names with the shapes that it needs, None where any will do.
Shapes = Mapping[str, torch.Size | None]

_AVERAGED = re.compile(r"(^|[._])(ema|averaged?|avg|swa|polyak|shadow|moving)([._0-9]|$)|n_averaged", re.IGNORECASE)
# No part in inference, and often left out of averages.
_COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")
_BUFFERS = ("num_batches_tracked", "running_mean", "running_var", "stored_mean", "stored_var")
_DEPTH, _MOST_TABLES, _MOST_PREFIXES = 4, 200, 40
_MUCH_CLAIMED = 2**18
_READABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class StateDict:
    """A network's weights by name, wrappers' prefixes removed, and preprocessing stored beside them, if any.

    mean, std: per channel, in [0, 1] units. notes: what was chosen, or left out, that the user may want to know.
    """

    weights: dict[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """Tensors by name, where they stand in the file: ("model_ema",)."""

    path: tuple[str, ...]
    entries: dict[str, Tensor]


@dataclass(frozen=True)
class _Reading:
    """One way to read a table as the network: its names -> the table's, under a prefix; and how many of them fit."""

    table: _Table
    prefix: str
    keys: dict[str, str]
    fitting: int
    averaged: bool = False
    used: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """What messages call it."""
        place = ".".join(self.table.path)
        return printable(" ".join(filter(None, (place, f"{self.prefix[:80]}*" if self.prefix else "")))) or "the top"


def state_dict_of(contents: Any, what: str, expected: Shapes | None = None) -> StateDict:
    """Find a network's weights in a checkpoint's contents, under whatever was wrapped around it.

    expected: the network's names and shapes. The dictionary and prefix are chosen that make the most of them fit; of
    several that fit alike, averaged weights (EMA, SWA), else those that lie least deep. Entries outside the network
    are left out, with a note; a normaliser among them gives mean and std. Without `expected`, only prefixes that all
    keys have are removed. what: names the file in messages. Raises ValueError if there are no weights in it.
    """
    tables = list(_tables(contents))
    if not tables:
        raise ValueError(f"{what} holds no state dict: it has no tensors by name, but is a {_described(contents)}")
    readings = [] if expected is None else _readings(tables, expected)
    chosen, notes = _chosen(readings, expected or {}) if readings else (None, [])
    if chosen is None:
        table = tables[0]
        weights = _unwrapped(table.entries)
        mean, std, told = normaliser_in([table.entries])
    else:
        table = chosen.table
        weights = {name: chosen.table.entries[key] for name, key in chosen.keys.items()}
        if chosen.averaged:
            weights |= _missing_buffers(weights, readings, expected or {})
        leftover = {key: value for key, value in table.entries.items() if key not in chosen.used}
        mean, std, told = normaliser_in([leftover, *(other.entries for other in tables if other is not table)])
        inside, outside = _sorted_out(leftover, chosen, readings, expected or {})
        weights |= inside
        if outside := [key for key in outside if key not in told.keys]:
            notes.append(f"{what} holds further entries, left out: {_some(outside)}")
    for key, value in weights.items():
        _check_plain(key, value, what)
    return StateDict(weights, mean, std, (*notes, *told.notes))


def check_claims(contents: Any, what: str) -> None:
    """ValueError for a tensor, in any of a checkpoint's tables, that says it is large and has next to no numbers.

    Before any network is looked up: a view that repeats itself, or a million rows of no columns.
    """
    for table in _tables(contents):
        for key, value in table.entries.items():
            claimed = math.prod(max(1, side) for side in value.shape)
            if value.layout is torch.strided and claimed > _MUCH_CLAIMED:
                _check_held(key, value, claimed, what)


def fit_of(contents: Any, expected: Shapes) -> int:
    """How many of a network's names and shapes a checkpoint's contents have at best, under one prefix."""
    readings = _readings(list(_tables(contents)), expected)
    return max((reading.fitting for reading in readings), default=0)


def fits_wholly(contents: Any, expected: Shapes) -> bool:
    """Whether a checkpoint's contents have all of a network's names, in their shapes, under one prefix."""
    return fit_of(contents, expected) == sum(not name.endswith(_COUNTERS) for name in expected)


def _tables(contents: Any) -> Iterator[_Table]:
    """Every dictionary with tensors in it, the least deep first; not what is nested deeper than trainers do."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), contents)]
    known: set[int] = set()
    for path, value in waiting:
        if id(value) in known or len(known) > _MOST_TABLES:
            continue
        if isinstance(value, list | tuple):
            children = {str(number): child for number, child in enumerate(value[:20])}
        elif isinstance(value, Mapping):
            children = {key: child for key, child in value.items() if isinstance(key, str)}
        else:
            continue
        known.add(id(value))
        if isinstance(value, Mapping):
            entries = {key: child for key, child in children.items() if isinstance(child, Tensor)}
            if entries:
                yield _Table(path, entries)
        if len(path) < _DEPTH:
            waiting += [((*path, key[:80]), c) for key, c in children.items() if isinstance(c, Mapping | list | tuple)]


def _readings(tables: list[_Table], expected: Shapes) -> list[_Reading]:
    """The ways to read the tables as the network, at least one name fitting."""
    names = [name for name in expected if not name.endswith(_COUNTERS)]
    if not names:
        return []
    anchors = {names[position * (len(names) - 1) // 4] for position in range(5)}
    found = []
    for table in tables:
        for prefix in _prefixes(table, anchors):
            # Latent diffusion's averages are stored under the names without their dots.
            for squashed in (False, True):
                keys = {n: f"{prefix}{n.replace('.', '') if squashed else n}" for n in expected}
                keys = {name: key for name, key in keys.items() if key in table.entries}
                fitting = sum(
                    (shape := expected[name]) is None or table.entries[key].shape == shape
                    for name, key in keys.items()
                    if not name.endswith(_COUNTERS)
                )
                if fitting:
                    marks = [*table.path, prefix, *(["n_averaged"] if "n_averaged" in table.entries else [])]
                    averaged = any(_AVERAGED.search(mark[-200:]) for mark in marks)
                    found.append(_Reading(table, prefix, keys, fitting, averaged, frozenset(keys.values())))
    return found


def _prefixes(table: _Table, anchors: set[str]) -> list[str]:
    """What stands before the network's names in the table's keys, shortest first."""
    ends = tuple(anchors) + tuple(anchor.replace(".", "") for anchor in anchors)
    found = (key.removesuffix(end) for key in table.entries if key.endswith(ends) for end in ends if key.endswith(end))
    prefixes = dict.fromkeys(prefix for prefix in found if not prefix or prefix.endswith("."))
    return sorted(prefixes, key=len)[:_MOST_PREFIXES]


def _chosen(readings: list[_Reading], expected: Shapes) -> tuple[_Reading, list[str]]:
    """The reading to take, with a note where others would fit as well."""
    most = max(reading.fitting for reading in readings)
    best = [reading for reading in readings if reading.fitting == most]
    plain = [reading for reading in best if not reading.averaged]
    averaged = [reading for reading in best if reading.averaged]
    if not averaged and plain:
        parameters = {name for name in plain[0].keys if not name.endswith(_BUFFERS)}
        averaged = [r for r in readings if r.averaged and parameters <= r.keys.keys()]
    if averaged:
        aside = [reading.name for reading in plain]
        notes = (
            [f"averaged weights ({averaged[0].name}) are taken, not those beside them ({aside[0]})"] if aside else []
        )
        return averaged[0], notes
    others = [reading for reading in plain[1:] if not _same(reading, plain[0])]
    return plain[0], [
        f"the weights of {plain[0].name} are taken; those of {other.name} would fit too" for other in others[:1]
    ]


def _same(one: _Reading, other: _Reading) -> bool:
    """Whether two readings are the same tensors, as the `robustness` library stores its network twice."""
    return all(
        key in other.table.entries and _is_copy(one.table.entries[one.keys[name]], other.table.entries[key])
        for name, key in other.keys.items()
        if name in one.keys
    )


def _is_copy(one: Tensor, other: Tensor) -> bool:
    return one is other or (
        one.shape == other.shape and one.dtype == other.dtype and one.data_ptr() == other.data_ptr()
    )


def _missing_buffers(weights: Mapping[str, Tensor], readings: list[_Reading], expected: Shapes) -> dict[str, Tensor]:
    """Buffers that averages leave out, from the plain weights beside them."""
    plain = next((reading for reading in readings if not reading.averaged), None)
    if plain is None:
        return {}
    missing = (name for name in expected if name not in weights and name.endswith(_BUFFERS) and name in plain.keys)
    return {name: plain.table.entries[plain.keys[name]] for name in missing}


def _sorted_out(
    leftover: Mapping[str, Tensor], chosen: _Reading, readings: list[_Reading], expected: Shapes
) -> tuple[dict[str, Tensor], list[str]]:
    """Further entries in the network's own modules, which make it another one, and the names of those outside."""
    modules = {_kind(name) for name in expected if "." in name}
    others = [r for r in readings if r.table is chosen.table and r.fitting >= chosen.fitting]
    elsewhere = {key for reading in others for key in reading.used}
    inside, outside = {}, []
    for key, value in leftover.items():
        name = key.removeprefix(chosen.prefix)
        if key.endswith(_COUNTERS) or key in elsewhere:
            continue
        if key.startswith(chosen.prefix) and "." in name and _kind(name) in modules:
            inside[name] = value
        else:
            outside.append(key)
    return inside, outside


def _kind(name: str) -> str:
    """The outermost module of a name, its number left open: layer5 makes a network of layer1 to layer4 another one."""
    return re.sub(r"[0-9]{1,4}", "0", name.split(".", 1)[0][:200])


def _unwrapped(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """A table without prefixes that all its keys have, and without the `robustness` library's attacker."""
    weights = _without_prefix(entries, "module.")
    for prefix in ("model.", "attacker.model."):
        if any(key.startswith(("normalizer.", "attacker.")) for key in weights):
            inside = {key: value for key, value in weights.items() if key.startswith(prefix)}
            weights = _without_prefix(inside, prefix) if inside else weights
    return _without_prefix(weights, "model.")


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove a prefix from the keys for as long as all of them have it."""
    while state and all(key.startswith(prefix) for key in state):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _check_plain(key: str, value: Tensor, what: str) -> None:
    """ValueError for a tensor that is no plain one: sparse, quantised, of odd numbers, larger than its storage."""
    name = printable(key[:100])
    if value.layout is not torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
        raise ValueError(f"{what}: {name} is not a plain dense tensor, which is all that can be read")
    if value.is_floating_point() and value.dtype not in _READABLE:
        kind = str(value.dtype).removeprefix("torch.")
        raise ValueError(f"{what}: {name} is stored as {kind}; save it as float16, bfloat16, float32 or float64")
    _check_held(key, value, value.numel(), what)


def _check_held(key: str, value: Tensor, claimed: int, what: str) -> None:
    held = 0 if value.is_meta else value.untyped_storage().nbytes()
    if claimed * value.element_size() > held:
        repeated = "a view that repeats itself; save it with .contiguous()"
        raise ValueError(
            f"{what}: {printable(key[:100])} says that it is {_shape(value)}, and its {held:,} bytes are less than "
            f"that: {repeated if value.numel() else 'no network has such weights'}"
        )


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Copy `weights` into `network` in the network's own precision; strict but for BatchNorm's batch counters.

    The counters (`num_batches_tracked`) have no part in inference. what: file and architecture, for messages.
    Raises ValueError, one line, if keys are missing or left over, shapes differ, or a weight is not finite.
    """
    expected = network.state_dict()
    check_fit({key: value.shape for key, value in expected.items()}, weights, what)
    broken = [key for key in expected if key in weights and not torch.isfinite(weights[key]).all()]
    if broken:
        raise ValueError(f"{what} do not fit together: of the weights, {len(broken)} not finite ({_some(broken)})")
    with torch.no_grad():
        for key, value in expected.items():
            if key in weights:
                value.copy_(weights[key])


def check_fit(expected: Mapping[str, torch.Size], weights: Mapping[str, Tensor], what: str) -> None:
    """ValueError, one line, if a network of these names and shapes cannot have these weights; allocates nothing."""
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in expected]
    different = [
        f"{key} is {_shape(weights[key])}, not {'x'.join(map(str, shape)) or 'a number'}"
        for key, shape in expected.items()
        if key in weights and weights[key].shape != shape
    ]
    complaints = [
        f"{len(keys)} {label} ({_some(keys)})"
        for label, keys in (("missing", missing), ("unexpected", extra), ("of another shape", different))
        if keys
    ]
    if complaints:
        raise ValueError(f"{what} do not fit together: of the weights, " + "; ".join(complaints))
    for key, value in weights.items():
        _check_plain(key, value, what)


def _described(contents: Any) -> str:
    """A file's contents in a few words: its type, and what it has by name."""
    if not isinstance(contents, Mapping) or not contents:
        return type(contents).__name__
    return f"{type(contents).__name__} of {_some([str(key) for key in list(contents)[:10]])}"


def printable(text: str) -> str:
    """A text that a file may have written, with `?` for characters that cannot be printed."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _some(keys: list[str]) -> str:
    shown = ", ".join(printable(key[:120]) for key in keys[:3])
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
