"""Mean and std of a normalising layer that a checkpoint keeps among its weights, under the names people give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_MEAN = re.compile(r"((?:\w{0,40}_)?)(mean|means|mu)(_tensor)?")
_STDS = {"mean": ("std", "sigma", "stdev", "sd"), "means": ("stds", "sigmas"), "mu": ("sigma", "std", "sd")}
# Beyond it, values are on a scale of 255.
_LARGEST = 10.0


@dataclass(frozen=True)
class Told:
    """keys: those that the normaliser was read from. notes: what was made of its values."""

    keys: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def normaliser_in(
    tables: Sequence[Mapping[str, Tensor]],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, Told]:
    """Mean and std per channel in [0, 1] units, of the first table that has such a pair: `mean` beside `std`, `mu`
    beside `sigma`, with anything before them and of any shape of three values, or of one for all channels; or None,
    None. What is said on a scale of 255 is brought to [0, 1], with a note.
    """
    for entries in tables:
        pairs = [pair for key in entries if (pair := _pair(key, entries)) is not None]
        if not pairs:
            continue
        mean, std = (_channels(entries[key]) for key in pairs[0])
        keys = frozenset(key for pair in pairs for key in pair)
        if max(map(abs, (*mean, *std))) <= _LARGEST:
            return mean, std, Told(keys)
        note = f"{pairs[0][0][-80:]!r} and {pairs[0][1][-80:]!r} are taken to be on a scale of 255"
        return tuple(v / 255 for v in mean), tuple(v / 255 for v in std), Told(keys, (note,))
    return None, None, Told()


def _pair(key: str, entries: Mapping[str, Tensor]) -> tuple[str, str] | None:
    place, dot, last = key.rpartition(".")
    found = _MEAN.fullmatch(last) if len(last) < 80 else None
    if found is None or not _is_normaliser(entries[key]):
        return None
    before, word, after = found.group(1), found.group(2), found.group(3) or ""
    candidates = (f"{place}{dot}{before}{std}{after}" for std in _STDS[word])
    std = next((one for one in candidates if one in entries and _is_normaliser(entries[one])), None)
    return None if std is None else (key, std)


def _is_normaliser(value: Tensor) -> bool:
    return value.numel() in (1, 3) and value.is_floating_point() and not (value.is_meta or value.is_sparse)


def _channels(value: Tensor) -> tuple[float, ...]:
    numbers = tuple(value.double().flatten().tolist())
    return numbers if len(numbers) == 3 else numbers * 3
