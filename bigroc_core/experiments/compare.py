"""The Boost tab's comparison: the same images towards the same targets, under up to four settings.

One thing varies and all else stays. p is always that of the Boost tab's classifier, also where the classifiers vary:
only so can their rows be compared. Every number is of the 8-bit images.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bigroc_core.boosting import BoostConfig, boost_stream
from bigroc_core.catalogue import classifier_cards, classifier_named, compute_device, generator_cards, on_gpu
from bigroc_core.checks import whole
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import ESTIMATED, GIVEN, Target, run_settings, target_labels
from bigroc_core.experiments.interpolate import numbers_in, weights_digest
from bigroc_core.experiments.threat_models import Comparison, Row, certainty_of, folder_of, packed, unpacked, walked
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.limits import MAX_COMPARED, MAX_EPS_L2, MAX_EPS_LINF, MAX_STEPS_PER_REQUEST
from bigroc_core.sources import UPLOAD, Source
from bigroc_core.ui import controls

EPS, STEPS, CLASSIFIER = "eps", "steps", "classifier"
VARIED = (EPS, STEPS, CLASSIFIER)
# The finished example the panel opens with, which would take a second of the server's start.
KEPT = Path(__file__).resolve().parents[2] / "assets" / "compare.npz"


@dataclass(frozen=True, kw_only=True)
class CompareAsked:
    """A comparison as asked for. varied: one of VARIED, and its values in the order of the rows; what the classifier
    and the config say of it counts for nothing, but that this classifier estimates targets and says p."""

    source: Source
    target: Target
    classifier: str
    config: BoostConfig
    varied: str
    values: tuple[Any, ...]


def values_in(varied: str, text: str | None, classifiers: list[str] | None, norm: str) -> tuple[Any, ...]:
    """The settings to compare: of ε and T as typed, of classifiers as chosen.

    ValueError for none, more than MAX_COMPARED, one twice, or one out of bounds.
    """
    if varied not in VARIED:
        raise ValueError(f"what varies is one of {', '.join(VARIED)}, not {varied!r}")
    found: tuple[Any, ...] = tuple(classifiers or ()) if varied == CLASSIFIER else numbers_in(text, "the values")
    if not found:
        kind = "classifiers" if varied == CLASSIFIER else "numbers with commas between them"
        raise ValueError(f"name 1 to {MAX_COMPARED} {kind} to compare, not none")
    if len(found) > MAX_COMPARED:
        raise ValueError(f"at most {MAX_COMPARED} settings can be compared at once, not {len(found)}")
    names = [name_of(varied, value) for value in found]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(f"{twice[0]} is there twice: name each setting once")
    if varied == EPS:
        most = MAX_EPS_L2 if norm == "l2" else MAX_EPS_LINF
        if outside := [eps for eps in found if not 0 <= eps <= most]:
            raise ValueError(f"each ε must be from 0 to {most:g} in this norm, not {outside[0]:g}")
    elif varied == STEPS:
        found = tuple(whole(steps, "each number of steps", 0, MAX_STEPS_PER_REQUEST) for steps in found)
    elif unknown := [name for name in found if name not in classifier_cards()]:
        raise ValueError(f"there is no classifier {unknown[0]!r} here; choose among {', '.join(classifier_cards())}")
    return found


def name_of(varied: str, value: Any) -> str:
    """What a row is called."""
    return str(value) if varied == CLASSIFIER else f"{'ε' if varied == EPS else 'T'} = {value:g}"


def compare(asked: CompareAsked, device: str | None = None) -> Iterator[Comparison]:
    """The comparison, growing row by row, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    numbers = ", ".join(map(str, asked.values))
    values = values_in(asked.varied, numbers, [str(value) for value in asked.values], asked.config.norm)
    whole(asked.config.steps, "steps", 0, MAX_STEPS_PER_REQUEST)
    device = device or compute_device()
    judge = classifier_named(asked.classifier, device)
    named = values if asked.varied == CLASSIFIER else (asked.classifier,) * len(values)
    movers = [classifier_named(name, device) for name in named]
    for mover in movers:
        if mover.classes != judge.classes or mover.card.input_size != judge.card.input_size:
            raise ValueError(
                f"{mover.card.name} has other classes or another image size than {asked.classifier}, the "
                "Boost tab's classifier: they cannot share images and targets"
            )
    configs = [
        asked.config if asked.varied == CLASSIFIER else replace(asked.config, **{asked.varied: value})
        for value in values
    ]
    found = asked.source.read(judge.classes, judge.card.input_size, device)
    labels, debias = target_labels(asked.target, found, asked.source, judge, device)
    originals = to_uint8(found.images)
    images = from_uint8(originals).to(device)
    given = None if labels is None else labels.to(device)
    first = next(iter(boost_stream(judge, images, given, BoostConfig(eps=0.0, steps=0), debias)))
    # All of them before the first step, since each refuses here what it cannot do.
    streams = [boost_stream(mover, images, first.labels, config) for mover, config in zip(movers, configs, strict=True)]
    targets = first.labels.cpu().numpy()
    before = certainty_of(judge, originals, targets)
    run = Comparison(
        originals,
        np.stack([before] * len(values)),
        targets,
        judge.classes,
        [Row(name_of(asked.varied, value), "", originals.copy(), before) for value in values],
        settings_of(asked, values),
        found.notes,
        total=sum(config.steps for config in configs),
    )
    for place, (stream, config, mover) in enumerate(zip(streams, configs, movers, strict=True)):
        for _ in walked(run, place, stream, config.steps, judge, judged=mover is judge):
            run.seconds = time.perf_counter() - began
            yield run
    run.finished = True
    yield run


compare_on_gpu = on_gpu(compare)


def settle(run: Comparison) -> None:
    """Keep what a cancelled comparison reached: the row that it was at says how far it came, with p of its 8-bit images
    as any other has it."""
    for place, row in enumerate(run.rows):
        if row.step and not row.finished:
            judge = classifier_named(run.settings["classifier"], "cpu")
            row.certainty = certainty_of(judge, row.images, run.targets)
            row.name += f", step {row.step} of {row_settings(run, place)['steps']}"
            row.finished = True


def settings_of(asked: CompareAsked, values: tuple[Any, ...]) -> dict[str, Any]:
    """Everything that decides the result, as plain JSON: a run's settings, with the values of what varies."""
    settings = run_settings(asked.source, asked.target, asked.classifier, asked.config)
    if asked.varied != CLASSIFIER:
        del settings[asked.varied]
    return settings | {"compared": {asked.varied: list(values)}}


def row_settings(run: Comparison, place: int) -> dict[str, Any]:
    """The settings of one row, as a run of its own has them."""
    ((varied, values),) = run.settings["compared"].items()
    return {name: value for name, value in run.settings.items() if name != "compared"} | {varied: values[place]}


def commands(run: Comparison) -> str:
    """One command per row, each into a folder named after it.

    Where no command of its own makes the images and their targets, it takes them from the download.
    """
    ((varied, values),) = run.settings["compared"].items()
    lines = []
    for place, value in enumerate(values):
        settings, to = row_settings(run, place), folder_of(name_of(varied, value))
        own = snippets.as_command(settings, to)
        # Another classifier would estimate other targets.
        estimates_otherwise = settings["target"] != GIVEN.lower() and settings[CLASSIFIER] != run.settings[CLASSIFIER]
        if own.startswith("#") or estimates_otherwise or settings["source"] == UPLOAD.lower():
            own = snippets.command_for_folder(settings, "original", to)
        lines.append(own)
    if any(" boost original " in line for line in lines):
        lines.insert(0, "# In the unpacked download, whose original/ holds the images and their targets:")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- the example kept in assets/


def opening_request(steps: int | None = None) -> CompareAsked:
    """The example the panel opens with: the recommended settings, or fewer steps of them, under four ε."""
    name, card = next(iter(generator_cards().items()))
    preset = {k: v for k, v in controls.presets_of(name)["recommended"].items() if k in snippets.CONFIG_FIELDS}
    return CompareAsked(
        source=Source(generator=name, count=6),
        target=Target(kind=GIVEN if card.conditional else ESTIMATED),
        classifier=next(iter(classifier_cards())),
        config=BoostConfig(**preset | ({} if steps is None else {"steps": steps})),
        varied=EPS,
        values=(0.5, 1.0, 2.0, 4.0),
    )


def opening(kept: Path = KEPT) -> Comparison:
    """The finished example: the kept one, or where models have changed since, one of few steps, on the CPU."""
    asked = opening_request()
    try:
        with np.load(kept, allow_pickle=False) as found:
            run = unpacked(found, "compare")
            if str(found["digest"]) == _digest(asked) and run.settings == settings_of(asked, asked.values):
                return run
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # A page with a shorter example is better than none.
        pass
    *_, run = compare(opening_request(2), "cpu")
    return run


def keep_opening(path: Path = KEPT) -> None:
    """Compute the opening example anew and keep it: `python -m bigroc_core.experiments.compare`."""
    asked = opening_request()
    *_, run = compare(asked, "cpu")
    np.savez_compressed(path, digest=np.array(_digest(asked)), **packed(run, "compare"))


def _digest(asked: CompareAsked) -> str:
    return weights_digest((asked.classifier, asked.source.generator))


if __name__ == "__main__":
    keep_opening()
