"""Labels that name other classes: which of a classifier's a generator's or an image set's classes are.

Class names are compared without case, blanks, `_` and `-`, and ImageNet's WordNet numbers stand for its names. Where
that fits several classes, the name as it stands decides, or its number.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from bigroc_core.images.folder_layout import class_folders
from bigroc_core.images.text_files import decoded
from bigroc_core.images.wordnet import folded, imagenet_class, in_imagenet_order
from bigroc_core.limits import MAX_LABELS_BYTES, MIB
from bigroc_core.messages import printable

OPTION = "--map-classes"
# Stands in an offered mapping where no name comes near.
PLACEHOLDER = "CLASS"
MOST_OFFERED = 6


def parse_mapping(text: str | None) -> dict[str, str]:
    """What --map-classes says: pairs FROM=TO with commas between, each side a class's name or number; or @FILE.

    A pair whose name has a comma in it stands in double quotes, as in a CSV. A file has one FROM=TO a line, without
    quotes; empty lines, and lines that begin with #, are left out. None gives no pairs.
    Raises ValueError for another form, a file that cannot be read (with the line), or a class that is mapped twice.
    """
    if text is None:
        return {}
    if text.startswith("@"):
        return _mapping_in(Path(text[1:]))
    try:
        pairs = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{OPTION} cannot be read ({error}); expected FROM=TO,FROM=TO") from error
    mapping: dict[str, str] = {}
    for pair in pairs or [""]:
        _add_pair(mapping, pair, OPTION, "FROM=TO,FROM=TO, such as automobile=car,airplane=plane, or @FILE")
    return mapping


def _mapping_in(path: Path) -> dict[str, str]:
    try:
        if not path.is_file():
            raise ValueError(f"{OPTION}: {path} is not a file; expected @FILE with one FROM=TO a line")
        if path.stat().st_size > MAX_LABELS_BYTES:
            raise ValueError(
                f"{OPTION}: {path.name} has more than {MAX_LABELS_BYTES // MIB} MiB; expected one FROM=TO a line"
            )
        lines = decoded(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{OPTION}: {path} could not be read ({error}); expected a text with one FROM=TO a line"
        ) from error
    mapping: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            _add_pair(mapping, line, f"{OPTION}: line {number} of {path.name}", "one FROM=TO a line")
    if not mapping:
        raise ValueError(f"{OPTION}: {path.name} maps no class; expected one FROM=TO a line")
    return mapping


def _add_pair(mapping: dict[str, str], pair: str, where: str, expected: str) -> None:
    ours, given, theirs = (part.strip() for part in pair.partition("="))
    if not (ours and given and theirs):
        raise ValueError(f"{where} has '{printable(pair.strip())}'; expected {expected}")
    if ours in mapping:
        raise ValueError(f"{where} maps '{printable(ours)}' twice")
    mapping[ours] = theirs


class KnownClasses:
    """The classes of a classifier, to be found by whatever names a set or a generator has for them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._folders = {folder: number for number, folder in enumerate(class_folders(self.names))}
        self._folded: dict[str, list[int]] = defaultdict(list)
        self._imagenet: dict[int, list[int]] = defaultdict(list)
        ordered = in_imagenet_order(self.names)
        for number, name in enumerate(self.names):
            self._exact[name].append(number)
            self._folded[folded(name)].append(number)
            meant = number if ordered else imagenet_class(name)
            if meant is not None:
                self._imagenet[meant].append(number)

    def numbers(self, name: str) -> list[int]:
        """The classes that a name can mean: none, one, or several between which nothing decides."""
        if len(self._exact.get(name, ())) == 1:
            return self._exact[name]
        if name in self._folders:
            return [self._folders[name]]
        if same := self._folded.get(folded(name)):
            return same
        meant = imagenet_class(name)
        return [] if meant is None else self._imagenet.get(meant, [])

    def ambiguity(self, name: str, numbers: Sequence[int]) -> str:
        """What to say of a name that means several classes."""
        meant = ", ".join(f"{number} ({self.names[number]})" for number in numbers[:MOST_OFFERED])
        return (
            f"{printable(name)} can be any of the classes {meant}; say which by {OPTION} "
            f"{shlex.quote(f'{printable(name)}={numbers[0]}')}, or name the folder "
            f"'{class_folders(self.names)[numbers[0]]}'"
        )


def class_number(wanted: str, known: Sequence[str]) -> int:
    """The number of the class that --map-classes maps onto, by name or number.

    Raises ValueError, with the nearest name, for a class that does not exist or a name that several have.
    """
    named = KnownClasses(known).numbers(wanted)
    if len(named) == 1:
        return named[0]
    if named:
        raise ValueError(f"{OPTION}: {len(named)} classes are called {wanted!r}; give the number of one of {named}")
    if re.fullmatch(r"[0-9]{1,9}", wanted) and int(wanted) < len(known):
        return int(wanted)
    near = nearest(wanted, known)
    hint = f"did you mean {near}?" if near else f"expected one of {_some(known)} or a number to {len(known) - 1}"
    raise ValueError(f"{OPTION}: there is no class {wanted!r} to map onto; {hint}")


def are_named(classes: Sequence[str]) -> bool:
    """Whether classes have names, and not just "class 0" and so on."""
    return any(name != f"class {number}" for number, name in enumerate(classes))


def class_table(
    owner: str, classes: Sequence[str], known: Sequence[str], whose: str, mapping: Mapping[str, str]
) -> tuple[int, ...]:
    """For each of the owner's classes its number among those `known`: as mapped, else of the same name.

    whose: the name of what knows them. Raises ValueError naming the classes that are not among them and not mapped, and
    offering a mapping.
    """
    table: list[int] = []
    lost: list[str] = []
    theirs = KnownClasses(known)
    # A generator of ImageNet's classes, whatever it calls them: each is meant where it stands.
    aligned = in_imagenet_order(classes) and in_imagenet_order(known)
    for number, name in enumerate(classes):
        wanted = mapping.get(name, mapping.get(str(number)))
        same = [number] if aligned else theirs.numbers(name)
        if wanted is not None:
            table.append(class_number(wanted, known))
        elif number in same or len(same) == 1:
            # Of names that two classes share, each is meant where it stands.
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
        [f"{printable(name, 60)}={nearest(name[:200], known) or PLACEHOLDER}" for name in lost[:MOST_OFFERED]]
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
    return ", ".join(printable(name, 60) for name in names[:MOST_OFFERED]) + (
        ", …" if len(names) > MOST_OFFERED else ""
    )
