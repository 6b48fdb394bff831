"""Labels as they stand in a set, as numbers of classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from bigroc_core.images.classes import KnownClasses, class_number, offer
from bigroc_core.images.image import ImageError, SetReading
from bigroc_core.messages import printable


def number_labels(
    values: Sequence[str], where: str, reading: SetReading
) -> tuple[Tensor, tuple[str, ...] | None, list[str]]:
    """(labels (N,) int64, class names or None, notes): of the given classes, or decimal as they stand, or by the sorted
    order of the names.

    reading.mapping: labels as written to names or numbers of the given classes. Numbers name nothing by themselves, so
    with a mapping each of them has to be in it. Raises ImageError naming labels that are no class.
    """
    classes, mapping = reading.classes, reading.mapping
    distinct = sorted(set(values))
    decimal = all(re.fullmatch(r"[0-9]{1,9}", value) for value in distinct)
    if classes is None:
        if decimal:
            number = {value: int(value) for value in distinct}
        else:
            number = {name: index for index, name in enumerate(distinct)}
            classes = tuple(distinct)
        return torch.tensor([number[value] for value in values], dtype=torch.int64), classes, []
    known = KnownClasses(classes)
    found = {value: known.numbers(value) for value in distinct}
    if decimal and (mapping or not all(found.values())):
        found = {value: [int(value)] if not mapping and int(value) < len(classes) else [] for value in distinct}
    # Names that cannot be typed are given as messages show them.
    given = {value: mapping.get(value, mapping.get(printable(value, 60))) for value in distinct}
    found |= {value: [class_number(wanted, classes)] for value, wanted in given.items() if wanted is not None}
    unknown = [value for value in distinct if not found[value]]
    if unknown:
        raise ImageError(
            f"{where}: label {some_of(unknown)} does not exist; expected one of the "
            f"{len(classes)} classes ({some_of(classes)}) or a number from 0 to {len(classes) - 1}. "
            f"{offer(distinct if decimal else unknown, classes)}."
        )
    for value, numbers in found.items():
        if len(numbers) > 1:
            raise ImageError(f"{where}: label {known.ambiguity(value, numbers)}.")
    labels = torch.tensor([found[value][0] for value in values], dtype=torch.int64)
    if decimal:
        return labels, classes, []
    meant = {value: classes[found[value][0]] for value in distinct if given[value] is None}
    renamed = [f"{value} is {name}" for value, name in meant.items() if value != name]
    return labels, classes, [f"classes were told by their names: {some_of(renamed)}"] if renamed else []


def some_of(names: Sequence[str]) -> str:
    return ", ".join(printable(name, 60) for name in names[:3]) + (", …" if len(names) > 3 else "")
