"""One interpolation of the page (P1 Eq. 3): from one image towards another, through a robust and a standard classifier.

Everything kept is 8-bit, and every number of a finished frame is computed from it, as in the Boost tab.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import time
import zipfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.cards import CHECKPOINTS
from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    generator_cards,
    generator_named,
    on_gpu,
)
from bigroc_core.experiments.boost import EXAMPLES, GENERATOR, UPLOAD, class_numbers, whole
from bigroc_core.experiments.strips import (
    Interpolation,
    Stage,
    animation,
    frame_files,
    rounded,
    stages,
)
from bigroc_core.images import fit_to, read_image
from bigroc_core.limits import MAX_FRACTIONS, MAX_STEPS_PER_REQUEST
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.ui import examples
from bigroc_core.ui.downloads import zipped

# The control of the second strip: what the same walk gives without robustness.
STANDARD = "cifar10-standard"
# The finished example the page opens with: minutes of work on two cores, so it is kept.
KEPT = Path(__file__).resolve().parents[2] / "assets" / "interpolation.npz"


@dataclass(frozen=True, kw_only=True)
class End:
    """Where the source or the target comes from. number: of the generator's image, from 0; class_name: for a
    conditional one, "" meaning the number's own. file: an uploaded path. example: a file name in assets/examples."""

    kind: str = GENERATOR
    generator: str = ""
    seed: int = 0
    number: int = 0
    class_name: str = ""
    file: str | None = None
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An interpolation as asked for. fractions: c, ascending. weights: one per resolution, or None for 1 each."""

    source: End
    target: End
    classifier: str
    fractions: tuple[float, ...]
    steps: int = 60
    weights: tuple[float, ...] | None = None
    warm_start: bool = False


def numbers_in(text: str | None, name: str) -> tuple[float, ...]:
    """Numbers typed with commas, semicolons or spaces between them; ValueError names the first that is none."""
    found = []
    for word in re.split(r"[\s,;]+", (text or "").strip()):
        if not word:
            continue
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"{name} must be numbers with commas between them, not {word[:40]!r}") from None
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite numbers, not {word[:40]}")
        found.append(value)
    return tuple(found)


def fractions_in(text: str | None) -> tuple[float, ...]:
    """The values of c, ascending, each once. ValueError for none, too many, or one outside [0, 1]."""
    found = numbers_in(text, "c")
    if not found:
        raise ValueError(f"c must be 1 to {MAX_FRACTIONS} numbers from 0 to 1 with commas between them, not empty")
    if outside := [c for c in found if not 0 <= c <= 1]:
        raise ValueError(f"each c must be from 0 (the source) to 1, not {outside[0]:g}")
    ascending = tuple(sorted(set(found)))
    if len(ascending) > MAX_FRACTIONS:
        raise ValueError(f"at most {MAX_FRACTIONS} values of c can be asked for at once, not {len(ascending)}")
    return ascending


def weights_in(text: str | None) -> tuple[float, ...] | None:
    """The weights wᵢ, or None where the box is empty. ValueError for a negative one, or if all are 0."""
    found = numbers_in(text, "weights")
    if any(weight < 0 for weight in found):
        raise ValueError(f"weights must be 0 or more, not {min(found):g}")
    if found and not any(found):
        raise ValueError("weights must not all be 0: there would be nothing to match")
    return found or None


def image_of(end: End, side: str, size: tuple[int, int], device: str) -> tuple[Tensor, tuple[str, ...]]:
    """The image (3, H, W) in [0, 1], 8-bit levels, brought to `size`, and notes. side: "source" or "target", for
    messages. ValueError says what is missing."""
    if end.kind == UPLOAD:
        if not end.file:
            raise ValueError(f"no {side} image has been uploaded yet: drop one into its upload box")
        read = read_image(end.file, size=size, limits=UPLOAD_LIMITS)
        return rounded(read.pixels), tuple(f"{side}: {note}" for note in read.notes)
    if end.kind == EXAMPLES:
        paths = {path.name: path for path in examples.example_paths()}
        if end.example not in paths:
            raise ValueError(f"there is no example {end.example!r}; there are {', '.join(paths) or 'none'}")
        return rounded(read_image(paths[end.example], size=size).pixels), ()
    if end.kind != GENERATOR:
        raise ValueError(f"the {side} comes from {GENERATOR}, {UPLOAD} or {EXAMPLES}, not {end.kind!r}")
    seed = whole(end.seed, f"the {side}'s seed", 0, 2**53)
    number = whole(end.number, f"the {side}'s image number", 0, 2**31)
    generator = generator_named(end.generator, device)
    labels = None
    if generator.card.conditional and end.class_name:
        labels = torch.tensor(class_numbers((end.class_name,), generator.card.classes))
    drawn, _ = generator.sample(1, labels=labels, seed=seed, start=number)
    fitted = fit_to(drawn[0].cpu(), size)
    return rounded(fitted.pixels), tuple(f"{side}: {note}" for note in fitted.notes)


def strips_of(classifier: str) -> tuple[str, ...]:
    """The chosen classifier and the standard control, where there is one that takes images of the same size."""
    cards = classifier_cards()
    if classifier not in cards:
        raise ValueError(f"there is no classifier {classifier!r} here; choose one of {sorted(cards)}")
    fits = STANDARD in cards and cards[STANDARD].input_size == cards[classifier].input_size
    return tuple(dict.fromkeys((classifier, STANDARD))) if fits else (classifier,)


def compute(asked: Asked, device: str | None = None) -> Iterator[Interpolation | Stage]:
    """The interpolation before its first step, then its stages. ValueError for bad input."""
    device = device or compute_device()
    names = strips_of(asked.classifier)
    classifiers = [classifier_named(name, device) for name in names]
    size = classifiers[0].card.input_size
    source, source_notes = image_of(asked.source, "source", size, device)
    target, target_notes = image_of(asked.target, "target", size, device)
    yield Interpolation.begin(source, target, names, settings_of(asked, names), (*source_notes, *target_notes))
    yield from stages(
        classifiers, source, target, asked.fractions, asked.steps, asked.weights, warm_start=asked.warm_start
    )


compute_on_gpu = on_gpu(compute)


def run_interpolation(asked: Asked, device: str | None = None) -> Generator[Interpolation, None, None]:
    """The interpolation, growing: yielded after each step, the last time finished. ValueError for bad input."""
    whole(asked.steps, "steps", 1, MAX_STEPS_PER_REQUEST)
    began = time.perf_counter()
    stages = compute(asked, device) if device else compute_on_gpu(asked)
    run = next(stages)
    assert isinstance(run, Interpolation)
    for stage in stages:
        assert isinstance(stage, Stage)
        run.take(stage)
        run.seconds = time.perf_counter() - began
        yield run
    run.finished = True
    yield run


# ------------------------------------------------------------------------------------------- settings and files


def end_settings(end: End) -> dict[str, Any]:
    """What decides an end's image, as plain JSON."""
    if end.kind == UPLOAD:
        return {"file": Path(end.file or "").name}
    if end.kind == EXAMPLES:
        return {"example": end.example}
    chosen = {"class": end.class_name} if generator_cards()[end.generator].conditional and end.class_name else {}
    return {"generator": end.generator, "seed": int(end.seed), "number": int(end.number), **chosen}


def settings_of(asked: Asked, names: tuple[str, ...]) -> dict[str, Any]:
    """Everything that decides the result, as plain JSON."""
    return {
        "source": end_settings(asked.source),
        "target": end_settings(asked.target),
        "classifiers": list(names),
        "c": list(asked.fractions),
        "steps": asked.steps,
        "weights": None if asked.weights is None else list(asked.weights),
        "warm_start": asked.warm_start,
    }


def as_python(settings: dict[str, Any]) -> str:
    """A script that repeats the run and writes interpolated/CLASSIFIER/*.png; uploads are read from the current
    folder."""
    ends = {side: settings[side] for side in ("source", "target")}
    reading = "read_image, " if any("generator" not in end for end in ends.values()) else ""
    first = settings["classifiers"][0]
    lines = [
        "from pathlib import Path",
        "",
        "import bigroc_core as bc",
        f"from bigroc_core.images import encode_png, from_uint8, {reading}to_uint8",
        "",
    ]
    for side, end in ends.items():
        if "generator" in end:
            label = ""
            if "class" in end:
                label = f"labels=[{generator_cards()[end['generator']].classes.index(end['class'])}], "
            lines += [
                f'{side}, _ = bc.load_generator("{end["generator"]}").sample(1, {label}seed={end["seed"]}, '
                f"start={end['number']})"
            ]
        else:
            path = f"assets/examples/{end['example']}" if "example" in end else end["file"]
            lines += [f"{side} = read_image({path!r}, size={classifier_cards()[first].input_size}).pixels[None]"]
    options = f"steps={settings['steps']}, weights={settings['weights']}, warm_start={settings['warm_start']}"
    return (
        "\n".join(
            [
                *lines,
                "source, target = from_uint8(to_uint8(source)), from_uint8(to_uint8(target))  # as saved in files",
                f"fractions = {settings['c']}",
                f"for name in {settings['classifiers']}:",
                "    classifier = bc.load_classifier(name)",
                f"    frames = bc.interpolate(classifier, source, target, fractions, {options})",
                '    folder = Path("interpolated") / name',
                "    folder.mkdir(parents=True, exist_ok=True)",
                "    for c, frame in zip(fractions, frames):",
                '        (folder / f"c-{c:.3f}.png").write_bytes(encode_png(frame[0]))',
            ]
        )
        + "\n"
    )


def as_command(settings: dict[str, Any]) -> str:
    """The command that writes these frames, the same pixels, into the folder interpolated/."""
    words, options = ["python", "-m", "bigroc_core", "interpolate"], []
    for side in ("source", "target"):
        end = settings[side]
        if "generator" in end:
            words += [f"generator:{end['generator']}"]
            options += [f"--{side}-seed", str(end["seed"]), f"--{side}-index", str(end["number"])]
            options += [f"--{side}-class", end["class"]] if "class" in end else []
        else:
            # A name that begins with a dash would be an option.
            words += [f"assets/examples/{end['example']}" if "example" in end else f"./{end['file']}"]
    words += ["interpolated", *options, "--classifier", *settings["classifiers"]]
    words += ["--c", *map(_digits, settings["c"]), "--steps", str(settings["steps"])]
    if settings["weights"] is not None:
        words += ["--weights", *map(_digits, settings["weights"])]
    return shlex.join([*words, "--warm-start"] if settings["warm_start"] else words)


def _digits(value: float) -> str:
    """A number as short as it can be written without changing it."""
    return short if float(short := f"{value:g}") == value else repr(value)


def archive(run: Interpolation, gif: bytes | None = None) -> bytes:
    """A zip of source.png, target.png, CLASSIFIER/c-C.png, frames.csv, animation.gif and settings.json; always the
    same bytes. Of a cancelled run it holds the finished frames. gif: the run's animation, where it is at hand."""
    *files, settings = frame_files(run)
    return zipped([*files, ("animation.gif", gif or animation(run)), settings])


# ------------------------------------------------------------------------------------- the example kept in assets/


def weights_digest(names: tuple[str, ...]) -> str:
    """Tells whether the classifiers are still those that a kept interpolation was computed with."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((CHECKPOINTS / f"{name}.safetensors").read_bytes())
    return digest.hexdigest()


def opening_request(steps: int) -> Asked:
    """The example the page opens with."""
    names = [path.name for path in examples.example_paths()]
    source, target = "ship-08.png", "truck-09.png"
    if {source, target} <= set(names):
        ends = End(kind=EXAMPLES, example=source), End(kind=EXAMPLES, example=target)
    else:
        first = next(iter(generator_cards()))
        ends = End(generator=first, number=0), End(generator=first, number=1)
    return Asked(
        source=ends[0],
        target=ends[1],
        classifier=next(iter(classifier_cards())),
        fractions=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        steps=steps,
    )


def opening_interpolation(kept: Path = KEPT) -> Interpolation:
    """The finished example the tab opens with: the kept one, or where classifiers have changed since, one of few steps,
    computed on the CPU."""
    asked = opening_request(60)
    names = strips_of(asked.classifier)
    try:
        with np.load(kept, allow_pickle=False) as found:
            entries = {key: found[key] for key in found.files}
        settings = json.loads(str(entries["settings"]))
        if str(entries["digest"]) == weights_digest(names) and settings == settings_of(asked, names):
            return Interpolation(
                entries["source"],
                entries["target"],
                names,
                asked.fractions,
                entries["frames"],
                entries["distances"],
                entries["at_source"],
                settings,
                done=60,
                seconds=float(entries["seconds"]),
                finished=True,
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # A page with a shorter example is better than none.
        pass
    *_, run = run_interpolation(opening_request(6), device="cpu")
    return run


def keep_opening(path: Path = KEPT) -> None:
    """Compute the opening example anew and keep it: `python -m bigroc_core.experiments.interpolate`."""
    *_, run = run_interpolation(opening_request(60), device="cpu")
    entries = {key: getattr(run, key) for key in ("source", "target", "frames", "distances", "at_source")}
    np.savez_compressed(
        path,
        **entries,
        seconds=np.array(run.seconds),
        settings=np.array(json.dumps(run.settings)),
        digest=np.array(weights_digest(run.classifiers)),
    )


if __name__ == "__main__":
    keep_opening()
