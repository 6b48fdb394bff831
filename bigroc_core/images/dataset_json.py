"""dataset.json, with which StyleGAN2-ADA's and EDM's data sets say the class of each image."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bigroc_core.files import parsed_json
from bigroc_core.images.image import ImageError
from bigroc_core.images.labels import some_of
from bigroc_core.messages import printable

EXPECTED = 'expected {"labels": [["00000/img00000000.png", 6], …]} or {"labels": null}'


def read_dataset_json(data: bytes, images: Collection[str], where: str) -> tuple[list[str], list[str] | None]:
    """(names in sorted order, as those tools have them; class numbers as text, or None where there are none).

    A label is a whole number, or a list of which one is 1 and all others are 0.
    Raises ImageError for JSON that is damaged or says something else, and for images without a label.
    """
    try:
        content = parsed_json(data)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ImageError(f"{where}: its dataset.json is no JSON ({error}); {EXPECTED}. Make it again.") from error
    if not isinstance(content, dict) or "labels" not in content:
        raise ImageError(f"{where}: its dataset.json has no entry “labels”; {EXPECTED}.")
    pairs = content["labels"]
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if pairs is None or pairs == []:
        return sorted(images), None
    if not isinstance(pairs, list):
        raise ImageError(f"{where}: dataset.json's labels are a {type(pairs).__name__}; {EXPECTED}.")
    numbers: dict[str, str] = {}
    for position, pair in enumerate(pairs):
        what = f"{where}: entry {position} of dataset.json's labels"
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ImageError(f"{what} is {_quoted(pair)}; {EXPECTED}.")
        name = pair[0].replace("\\", "/").removeprefix("./")
        if name not in images:
            raise ImageError(f"{what} names '{printable(name)}', which is not an image of this set.")
        if name in numbers:
            raise ImageError(f"{what} names '{printable(name)}' a second time; expected every image once.")
        numbers[name] = _class_number(pair[1], what)
    missing = sorted(set(images) - set(numbers))
    if missing:
        raise ImageError(f"{where}: dataset.json has no label for {len(missing)} images ({some_of(missing)}).")
    names = sorted(images)
    return names, [numbers[name] for name in names]


def _class_number(label: Any, what: str) -> str:
    if isinstance(label, list):
        plain = all(type(value) in (int, float) and value in (0, 1) for value in label)
        if not plain or label.count(1) != 1:
            raise ImageError(
                f"{what} has the label {_quoted(label)}; expected a class number, or a list of which one is 1 and all "
                "others are 0."
            )
        label = label.index(1)
    if type(label) is not int or not 0 <= label < 10**9:
        raise ImageError(f"{what} has the label {_quoted(label)}; expected a whole number from 0.")
    return str(label)


def _quoted(value: Any) -> str:
    """A value of the file for a message. Neither its length nor its depth matters."""
    kind = type(value).__name__
    if isinstance(value, list | dict):
        return f"a {kind} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a very large whole number"
    return f"'{printable(value)}'" if isinstance(value, str) else printable(repr(value))
