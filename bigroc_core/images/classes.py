"""Labels that name other classes: which of a classifier's a generator's or an image set's classes are."""

from __future__ import annotations

import csv
import difflib
import io
import re
import shlex
from collections.abc import Mapping, Sequence

OPTION = "--map-classes"
# Stands in an offered mapping where no name comes near.
PLACEHOLDER = "CLASS"
MOST_OFFERED = 6


def parse_mapping(text: str | None) -> dict[str, str]:
    """What --map-classes says: pairs FROM=TO with commas between, each side a class's name or number.

    A pair whose name has a comma in it stands in double quotes, as in a CSV. None gives no pairs.
    Raises ValueError for another form, or a class that is mapped twice.
    """
    if text is None:
        return {}
    mapping: dict[str, str] = {}
    try:
        pairs = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{OPTION} cannot be read ({error}); expected FROM=TO,FROM=TO") from error
    for pair in pairs or [""]:
        ours, given, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and given and theirs):
            raise ValueError(f"{OPTION} has {pair!r}; expected FROM=TO,FROM=TO, such as automobile=car,airplane=plane")
        if ours in mapping:
            raise ValueError(f"{OPTION} maps {ours!r} twice")
        mapping[ours] = theirs
    return mapping


def class_number(wanted: str, known: Sequence[str]) -> int:
    """The number of the class that --map-classes maps onto, by name or number.

    Raises ValueError, with the nearest name, for a class that does not exist or a name that several have.
    """
    named = [number for number, name in enumerate(known) if name == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(f"{OPTION}: {len(named)} classes are called {wanted!r}; give the number of one of {named}")
    if re.fullmatch(r"[0-9]{1,9}", wanted) and int(wanted) < len(known):
        return int(wanted)
    near = nearest(wanted, known)
    hint = f"did you mean {near}?" if near else f"expected one of {_some(known)} or a number to {len(known) - 1}"
    raise ValueError(f"{OPTION}: there is no class {wanted!r} to map onto; {hint}")


def class_table(
    owner: str, classes: Sequence[str], known: Sequence[str], whose: str, mapping: Mapping[str, str]
) -> tuple[int, ...]:
    """For each of the owner's classes its number among those `known`: as mapped, else of the same name.

    whose: the name of what knows them. Raises ValueError naming the classes that are not among them and not mapped, and
    offering a mapping.
    """
    table: list[int] = []
    lost: list[str] = []
    for number, name in enumerate(classes):
        wanted = mapping.get(name, mapping.get(str(number)))
        same = [index for index, other in enumerate(known) if other == name]
        if wanted is not None:
            table.append(class_number(wanted, known))
        elif number in same or len(same) == 1:
            # ImageNet has names that two classes share; in its own order each is meant where it stands.
            table.append(number if number in same else same[0])
        else:
            lost.append(name)
    if lost:
        raise ValueError(
            f"{len(lost)} of {owner}'s {len(classes)} classes ({_some(lost)}) are not among {whose}'s "
            f"({_some(known)}): their labels would name other things. {offer(lost, known)}"
        )
    return tuple(table)


def offer(lost: Sequence[str], known: Sequence[str]) -> str:
    """A sentence with the option that would map these classes, by the nearest names where there are any."""
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(
        [f"{name}={nearest(name, known) or PLACEHOLDER}" for name in lost[:MOST_OFFERED]]
    )
    more = " and so on" if len(lost) > MOST_OFFERED else ""
    return f"Say which they are, on the command line with {OPTION} {shlex.quote(written.getvalue())}{more}"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known class that a name most likely means: the same but for case, spaces and marks; else the only one that
    has its words, or whose words it has; else one spelt nearly so. None where nothing is near.
    """
    plain = {other: _words(other) for other in known}
    words = _words(name)
    if not words:
        return None
    for other, theirs in plain.items():
        if "".join(theirs) == "".join(words):
            return other
    asked = set(words)
    within = [other for other, theirs in plain.items() if theirs and (asked <= set(theirs) or asked >= set(theirs))]
    if len(within) == 1:
        return within[0]
    by_spelling = {" ".join(theirs): other for other, theirs in plain.items()}
    # Below three quarters "car" already reads as "cat".
    close = difflib.get_close_matches(" ".join(words), list(by_spelling), 1, cutoff=0.75)
    return by_spelling[close[0]] if close else None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_OFFERED]) + (", …" if len(names) > MOST_OFFERED else "")
