"""A seeded fuzzer of everything that is read from outside: whatever a file contains, it is read or refused by one line.

    python tests/robustness/fuzz.py --mutants 10000 [--format png …] [--seed 0] [--keep FOLDER]

Small valid files are mutated, half of them so that checksums still fit. Only the readers' own refusal, a ValueError of
one printable line, may come out; none may compute longer than 2 s or need more than 512 MiB. Of each format a fifth
must come past the first check, else the mutants test nothing behind it.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mutating import mutated

MOST_SECONDS = 2.0  # of computing, as the machine may be busy with other things
MOST_MIB = 512
LEAST_SHARE_PAST = 0.2
HANGS_AFTER = 60  # seconds by the clock
MOST_CHARACTERS = 1_500


@dataclass(frozen=True)
class Format:
    """A kind of file. name: of the file, which may lie in a folder of its own. make: the bytes of a small valid one.
    read: whatever the program does with one. first_check: a regular expression that refusals by the first check match,
    behind which nothing was looked at. deep: changes that this check does not notice."""

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[Path], object]
    first_check: str
    deep: Callable[[bytes, random.Random], bytes] | None = None


@dataclass
class Outcome:
    """What became of a format's mutants. faults: one line each, with the mutant's number."""

    mutants: int = 0
    accepted: int = 0
    past: int = 0
    slowest: float = 0.0
    grown: float = 0.0
    faults: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        share = self.past / max(1, self.mutants)
        return (
            f"{name}: {self.mutants} mutants, {self.accepted} read, {share:.0%} past the first check, slowest "
            f"{self.slowest:.2f} s, {self.grown:.0f} MiB, {len(self.faults)} faults"
        )


def mutant(kind: Format, name: str, seed: int, number: int) -> bytes:
    """The mutant of this number; number 0 is the valid file itself."""
    rng = random.Random(f"{seed} {name} {number}")
    data = kind.make(rng)
    if number == 0:
        return data
    deep = kind.deep if kind.deep is not None and number % 2 else mutated
    return deep(data, rng)


def fuzz(name: str, kind: Format, mutants: int, seed: int, folder: Path) -> Outcome:
    """Read so many mutants of a format. The one at fault stays in `folder` under its number."""
    outcome = Outcome()
    for number in range(mutants):
        place = folder / "now"
        path = place / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = mutant(kind, name, seed, number)
        path.write_bytes(data)
        before, began = _peak_mib(), time.process_time()
        signal.alarm(HANGS_AFTER)
        fault = None
        try:
            kind.read(path)
            outcome.accepted += 1
            outcome.past += 1
        except ValueError as error:
            text = str(error)
            outcome.past += not re.search(kind.first_check, text)
            if not text.isprintable() or len(text) > MOST_CHARACTERS or type(error) not in _refusals():
                fault = f"{type(error).__name__}: {text[:200]!r} of {len(text)} characters is no fit refusal"
            if number == 0:
                fault = f"the valid file is refused: {text[:200]}"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {str(error)[:200]!r}"
        finally:
            signal.alarm(0)
        seconds, grown = time.process_time() - began, _peak_mib() - before
        if number:  # the first reading of a format also loads what it needs
            outcome.slowest, outcome.grown = max(outcome.slowest, seconds), max(outcome.grown, grown)
            if fault is None and (seconds > MOST_SECONDS or grown > MOST_MIB):
                fault = f"took {seconds:.1f} s and {grown:.0f} MiB"
        outcome.mutants += 1
        if fault is not None:
            outcome.faults.append(f"{name} {number}: {fault}")
            (folder / f"{Path(kind.name).name}.{number}").write_bytes(data)
    if outcome.past < LEAST_SHARE_PAST * outcome.mutants:
        outcome.faults.append(f"{name}: only {outcome.past} of {outcome.mutants} came past the first check")
    return outcome


def _refusals() -> tuple[type[Exception], ...]:
    from bigroc_core.images import ImageError

    return ValueError, ImageError


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _hanging(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"no end within {HANGS_AFTER} s")


def formats() -> Mapping[str, Format]:
    """All formats by name; every reader's table is added here."""
    from image_formats import IMAGE_FORMATS
    from link_formats import LINK_FORMATS
    from weight_formats import WEIGHT_FORMATS

    return {**IMAGE_FORMATS, **WEIGHT_FORMATS, **LINK_FORMATS}


def main() -> int:
    """Fuzz as the command line says; 1 if anything but a refusal came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1_000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", action="append", help="only this one; may be repeated")
    parser.add_argument("--keep", type=Path, help="folder for the mutants at fault")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _hanging)
    warnings.simplefilter("ignore")
    known = formats()
    faults: list[str] = []
    for name in options.format or known:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(options.keep or scratch)
            outcome = fuzz(name, known[name], options.mutants, options.seed, folder)
        print(outcome.line(name), flush=True)
        faults += outcome.faults
    print(*faults[:50], sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    # As the module that the tables of formats import, not as a second one.
    from fuzz import main as run

    sys.exit(run())
