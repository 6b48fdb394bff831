"""A small seeded fuzzer: files that nearly are what a reader expects, and what became of them."""

from __future__ import annotations

import json
import random
import re
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_SECONDS, MOST_MIB, LEAST_SHARE_PAST = 2.0, 512, 0.2
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WORDS = (b'"', b",", b"\n", b"\0", b"[" * 2_000, b"9" * 5_000, b"1e999", b"nan", b"-1", b"\xff", b"\\ud800", b"..")
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 1e300, 10**18, 10**400, float("nan"), float("inf")),
    *("", "..", "\0", "\ud800", "😀" * 200, "a" * 20_000, [], {}, [[]], [0, 0, 0], [1.0, 1.0], ["a"], {"a": None}),
    "__nested__",
)


@dataclass(frozen=True)
class Format:
    """A kind of file. name: of the file. make: the bytes of a small valid one. read: whatever the program does with
    one. first_check: a regular expression that refusals by the first check match, behind which nothing was looked at.
    deep: changes that this check does not notice."""

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[Path], object]
    first_check: str
    deep: Callable[[bytes, random.Random], bytes] | None = None


@dataclass
class Outcome:
    """What became of a format's mutants. faults: one line each, with the mutant's number."""

    mutants: int = 0
    past: int = 0
    faults: list[str] = field(default_factory=list)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four changes: bits, extreme numbers, words, parts cut, doubled or exchanged."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at, length, kind = rng.randrange(len(changed) + 1), rng.choice((1, 2, 4, 8, 64)), rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            width = rng.choice((1, 2, 4, 8))
            changed[at : at + width] = (rng.choice(EXTREMES) & (2 ** (8 * width) - 1)).to_bytes(width, "little")
        elif kind == 2:
            changed[at:at] = rng.choice(WORDS)
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def json_with_a_mutated_value(data: bytes, rng: random.Random) -> bytes:
    """Whole JSON of which one value, key or entry is another, left out, doubled, or nested deeply."""
    content = json.loads(data)
    value = rng.choice(VALUES)
    parent, key = rng.choice(_places(content))
    kind = rng.randrange(3)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[str(value)[:300]] = parent.pop(key)
    else:
        parent[key] = value
    depth = rng.choice((10, 1_000, 100_000))
    return json.dumps(content).replace('"__nested__"', "[" * depth + "]" * depth).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def fuzz(name: str, kind: Format, mutants: int, seed: int, folder: Path) -> Outcome:
    """Read so many mutants of a format; number 0 is the valid file itself. One at fault stays under its number."""
    outcome = Outcome(mutants)
    for number in range(mutants):
        rng = random.Random(f"{seed} {name} {number}")
        data = kind.make(rng)
        if number:
            data = (kind.deep if kind.deep is not None and number % 2 else mutated)(data, rng)
        path = folder / kind.name
        path.write_bytes(data)
        before, began, fault = _peak_mib(), time.process_time(), None
        try:
            kind.read(path)
            outcome.past += 1
        except ValueError as error:
            text = str(error)
            outcome.past += not re.search(kind.first_check, text)
            if type(error) is not ValueError or not text.isprintable() or len(text) > 1_500:
                fault = f"{type(error).__name__} {text[:300]!r} of {len(text)} characters is no fit refusal"
            if number == 0:
                fault = f"the valid file is refused: {text[:300]}"
        except BaseException as error:
            fault = f"{type(error).__name__}: {str(error)[:300]!r}"
        seconds, grown = time.process_time() - began, _peak_mib() - before
        if number and fault is None and (seconds > MOST_SECONDS or grown > MOST_MIB):
            fault = f"took {seconds:.1f} s and {grown:.0f} MiB"
        if fault is not None:
            outcome.faults.append(f"{name} {number}: {fault}")
            (folder / f"{number}.{kind.name}").write_bytes(data)
    if outcome.past < LEAST_SHARE_PAST * mutants:
        outcome.faults.append(f"{name}: only {outcome.past} of {mutants} came past the first check")
    return outcome


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
