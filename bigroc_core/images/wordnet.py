"""ImageNet's thousand classes: their WordNet numbers and names, in its order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("imagenet.tsv")
# Names that two of its classes have in one list of names or another: two cranes and two maillots in older lists, the
# dog Cardigan and the jacket. Outside ImageNet's own order they name neither.
SHARED_NAMES = frozenset({"crane", "maillot", "cardigan"})
# Of a thousand classes, how many must stand where ImageNet has them. Lists of names differ in a few.
ENOUGH = 900


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet number, name) of the thousand classes, in ImageNet's order, which is that of the numbers."""
    rows = (line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines())
    return tuple((number, name) for number, name in rows)


@cache
def _numbers() -> dict[str, int]:
    return {number: index for index, (number, _) in enumerate(imagenet_classes())}


@cache
def _by_name() -> dict[str, int]:
    """Class by folded name, without the names that two share."""
    return {
        folded(name): index for index, (_, name) in enumerate(imagenet_classes()) if folded(name) not in SHARED_NAMES
    }


def folded(name: str) -> str:
    """A class's name without what makes no difference: case, blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def imagenet_class(name: str) -> int | None:
    """The class of ImageNet that a WordNet number or a name means, or None. A name that two share means none."""
    if name in _numbers():
        return _numbers()[name]
    return _by_name().get(folded(name))


def in_imagenet_order(names: Sequence[str]) -> bool:
    """Whether a model's classes are ImageNet's thousand, in its order, in whichever list of names: torchvision's,
    WordNet's numbers, or lists such as "tench, Tinca tinca" with all the words of a class."""
    table = imagenet_classes()
    if len(names) != len(table):
        return False
    same = (
        name == number or folded(name.split(",")[0]) == folded(wanted)
        for name, (number, wanted) in zip(names, table, strict=True)
    )
    return sum(same) >= ENOUGH


def readable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names for people: WordNet numbers of ImageNet's classes by their names, all others as they are.

    Where two would be called the same, both keep their numbers: "Cardigan (n02113186)".
    """
    plain = [imagenet_classes()[_numbers()[name]][1] if name in _numbers() else name for name in names]
    often = Counter(folded(name) for name in plain)
    return tuple(
        f"{shown} ({name})" if shown != name and often[folded(shown)] > 1 else shown
        for name, shown in zip(names, plain, strict=True)
    )
