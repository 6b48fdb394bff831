"""From one image towards another by matching features (P1 Eq. 3), through a robust and a standard classifier.

Everything kept is 8-bit, and every number of a finished frame is computed from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bigroc_core.boosting import view_note
from bigroc_core.catalogue import (
    classifier_named,
    compute_device,
    control_for,
    generator_cards,
    on_gpu,
    pixels_of,
)
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.own import loading, loading_generator, shell
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.engine.views import ViewName
from bigroc_core.experiments.frames import Interpolation
from bigroc_core.experiments.growing import described, digits, last
from bigroc_core.experiments.kept import keep, kept, weights_digest
from bigroc_core.experiments.one_image import image_in, not_uploaded, of_side
from bigroc_core.experiments.requests import BallRequest, said_of_precision
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.interpolation import MAX_WEIGHT, feature_distance, interpolate_stream
from bigroc_core.limits import MAX_FRACTIONS
from bigroc_core.places import ASSETS
from bigroc_core.settings import Request, like, setting
from bigroc_core.sources import EXAMPLES, UPLOAD, OneImage, SourceImages, example_paths

# The finished example the page opens with: minutes of work on two cores.
KEPT = ASSETS / "interpolation.npz"
ARRAYS = ("source", "target", "frames", "distances", "at_source")
SIDES = ("source", "target")


def class_of_side(side: str) -> Any:
    """The setting of the class of a conditional generator's image."""
    return setting(
        None,
        "Of a conditional generator: the class by name; empty: the number's own.",
        label=f"{side.capitalize()}: class",
        info="Of a class-conditional generator.",
    )


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How an image is moved towards another.

    fractions: c, ascending. steps: T per frame. weights: of the levels of features, None for 1 each. warm_start:
    whether each frame begins where the last one ended. view: what the classifiers see of images of another size than
    their own, and precision: what the steps are computed in, as in `boost`.
    """

    fractions: tuple[float, ...]
    steps: int = setting(60, "PGD steps T per frame")
    weights: tuple[float, ...] | None = setting(None, "one per resolution, fine to coarse; default 1 each")
    warm_start: bool = setting(False, "begin each frame where the one of the next smaller c ended")
    view: ViewName = None
    precision: PrecisionName = like(BallRequest, "precision")


@dataclass(frozen=True, kw_only=True)
class Walk(Manner):
    """From one image to another, through each of the classifiers, by their names."""

    source: OneImage
    target: OneImage
    classifiers: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON."""
        return {
            "source": self.source.settings(),
            "target": self.target.settings(),
            "classifiers": list(self.classifiers),
            "c": list(self.fractions),
            "steps": self.steps,
            "weights": None if self.weights is None else list(self.weights),
            "warm_start": self.warm_start,
            **({} if self.view is None else {"view": self.view}),
            **said_of_precision(self.precision),
        }


@dataclass(frozen=True, kw_only=True)
class InterpolateRequest(Request):
    """P1 Eq. 3 as asked for."""

    source: str = of_side("source", "source")
    source_generator: str = of_side("generator", "source")
    source_seed: int = of_side("seed", "source")
    source_number: int = of_side("number", "source")
    source_class: str | None = class_of_side("source")
    source_example: str | None = of_side("example", "source")
    target: str = of_side("source", "target")
    target_generator: str = of_side("generator", "target")
    target_seed: int = of_side("seed", "target")
    target_number: int = of_side("number", "target", 1)
    target_class: str | None = class_of_side("target")
    target_example: str | None = of_side("example", "target")
    classifier: str = like(BallRequest, "classifier", help="Whose features are matched; a robust one.")
    fractions: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "The values of c, from 0 (the source) to 1, with commas between them.",
        label="Values of c",
        info=f"One frame each: up to {MAX_FRACTIONS} numbers from 0 (source) to 1.",
        most=1,
    )
    steps: int = like(
        BallRequest,
        "steps",
        60,
        help="PGD steps T per frame.",
        info="Per frame, of α = 2.5·ε/T with ε = c·‖x_t − x_s‖₂.",
        least=1,
    )
    weights: tuple[float, ...] = setting(
        (),
        "One number per resolution, fine to coarse; empty: 1 each.",
        label="Weights of the resolutions",
        info="wᵢ of Eq. 3, fine to coarse; empty means 1 each.",
        most=MAX_WEIGHT,
    )
    warm_start: bool = setting(
        False,
        "Begin each frame where the one of the next smaller c ended.",
        label="Warm start",
        info="Begin each frame where the last one ended, not at the source: smoother from frame to frame.",
    )
    source_file: str | None = of_side("file", "source")
    target_file: str | None = of_side("file", "target")
    precision: PrecisionName = like(BallRequest, "precision")

    @property
    def walk(self) -> Walk:
        """What is asked for: through the chosen classifier, and through the standard control where there is one."""
        control = control_for(self.classifier)
        return Walk(
            source=image_in(self, "source", "source_"),
            target=image_in(self, "target", "target_"),
            classifiers=(self.classifier, *([control] if control else [])),
            fractions=tuple(sorted(set(self.fractions))),
            steps=self.steps,
            weights=self.weights or None,
            warm_start=self.warm_start,
            precision=self.precision,
        )

    def conflicts(self) -> dict[str, str]:
        """Uploads without files, the same image twice, and rows of numbers that are too long or say nothing."""
        problems, walk = super().conflicts(), self.walk
        for side in SIDES:
            problems |= not_uploaded(f"{side}_file", getattr(walk, side), side)
        if self.source != UPLOAD and walk.source.settings() == walk.target.settings():
            which = "target_example" if self.source == EXAMPLES else "target_number"
            problems[which] = "the same image as the source: choose another"
        if not 1 <= len(walk.fractions) <= MAX_FRACTIONS:
            problems["fractions"] = (
                f"c must be 1 to {MAX_FRACTIONS} numbers from 0 to 1 with commas between them, not "
                f"{len(walk.fractions) or 'empty'}"
            )
        if self.weights and not any(self.weights):
            problems["weights"] = "weights must not all be 0: there would be nothing to match"
        return problems


def between(
    classifiers: Sequence[Classifier], source: Tensor, target: Tensor, manner: Manner
) -> Iterator[Interpolation]:
    """P1 Eq. 3 from one image towards another, through each of the classifiers in turn, on their device.

    source, target: (3, H, W) in [0, 1], taken at 8-bit levels. The run, growing, yielded after each step, the last time
    finished. ValueError for what `bigroc_core.interpolate` refuses.
    """
    fractions, steps, weights, view = manner.fractions, manner.steps, manner.weights, manner.view
    way = (fractions, steps, weights, None, manner.warm_start, view, manner.precision)
    run = Interpolation.begin(source, target, [one.card.name for one in classifiers], fractions, steps)
    for strip, classifier in enumerate(classifiers):
        x, y = (from_uint8(pixels)[None].to(classifier.mean.device) for pixels in (run.source, run.target))
        run.at_source[strip] = float(feature_distance(classifier, x, y, weights, view=view))
        for point in interpolate_stream(classifier, x, y, *way):
            frame, c = to_uint8(point.images[0]), fractions[point.place]
            run.frames[strip, point.place] = frame
            run.done += point.step > 0
            run.doing = f"{classifier.card.name}, c = {c:g}, step {point.step}"
            if point.step == (steps if c else 0):
                reached = from_uint8(frame)[None].to(x.device)
                run.distances[strip, point.place] = float(feature_distance(classifier, reached, y, weights, view=view))
            yield run
    run.finished = True
    yield run


def interpolation_of(walk: Walk, device: str | None = None) -> Iterator[Interpolation]:
    """A walk's run, growing: yielded after each step, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    device = device or compute_device()
    classifiers = [classifier_named(name, device) for name in walk.classifiers]
    source = walk.source.read(None, device, "source")
    height, width = source.images[0].shape[1:]
    yield from walked(walk, classifiers, (source, walk.target.read((height, width), device, "target")), began)


def walked(
    walk: Walk, classifiers: Sequence[Classifier], ends: tuple[SourceImages, SourceImages], began: float
) -> Iterator[Interpolation]:
    """A walk between images that have been read, one each, of one size. began: of `time.perf_counter()`."""
    source, target = (end.images[0] for end in ends)
    notes = [note for end in ends for note in end.notes]
    for classifier in classifiers:
        note = view_note(classifier, (source.shape[1], source.shape[2]), walk.view)
        notes += [note] if note else []
    settings = walk.settings()
    # Large uploads are brought to what the page takes; the target comes at the source's size in any case.
    if ends[0].resized:
        settings["source"]["size"] = [int(side) for side in source.shape[1:]]
    yield from described(between(classifiers, source, target, walk), settings, notes, began)


def computing(walk: Walk, device: str | None = None) -> int:
    """What a walk computes: the pixels of each frame through each classifier."""
    return len(walk.fractions) * walk.steps * sum(map(pixels_of, walk.classifiers))


interpolation_on_gpu = on_gpu(computing)(interpolation_of)


# ------------------------------------------------------------------------------------- the same from elsewhere


def as_python(settings: dict[str, Any]) -> str:
    """A script that repeats the run and writes interpolated/CLASSIFIER/*.png; uploads are read from the current
    folder."""
    ends = {side: settings[side] for side in ("source", "target")}
    reading = "read_image, " if any("generator" not in end for end in ends.values()) else ""
    fitting = "fit_to, " if (fits := _fits(ends)) else ""
    lines = [
        "from pathlib import Path",
        "",
        "import bigroc_core as bc",
        f"from bigroc_core.images import encode_png, {fitting}from_uint8, {reading}to_uint8",
        "",
    ]
    for side, end in ends.items():
        if "generator" in end:
            label = ""
            if "class" in end:
                label = f"labels=[{generator_cards()[end['generator']].classes.index(end['class'])}], "
            lines += [
                f"{side}, _ = {loading_generator(end['generator'])}.sample(1, {label}seed={end['seed']}, "
                f"start={end['number']})"
            ]
        else:
            path = f"assets/examples/{end['example']}" if "example" in end else end["file"]
            size = ", size=tuple(source.shape[2:])" if side == "target" else ""
            size = f", size={tuple(end['size'])}" if "size" in end else size
            lines += [f"{side} = read_image({path!r}{size}).pixels[None]"]
    if fits:
        lines += ["target = fit_to(from_uint8(to_uint8(target))[0], tuple(source.shape[2:])).pixels[None]"]
    loaded = "bc.load_classifier(name)"
    for name in settings["classifiers"]:
        if loading(name) != f'bc.load_classifier("{name}")':
            loaded = f"{loading(name)} if name == {name!r} else {loaded}"
    options = f"steps={settings['steps']}, weights={settings['weights']}, warm_start={settings['warm_start']}"
    options += "".join(f", precision={settings[name]!r}" for name in ("precision",) if name in settings)
    return (
        "\n".join(
            [
                *lines,
                "source, target = from_uint8(to_uint8(source)), from_uint8(to_uint8(target))  # as saved in files",
                f"fractions = {settings['c']}",
                f"for name in {settings['classifiers']}:",
                f"    classifier = {loaded}",
                f"    frames = bc.interpolate(classifier, source, target, fractions, {options})",
                '    folder = Path("interpolated") / name',
                "    folder.mkdir(parents=True, exist_ok=True)",
                "    for c, frame in zip(fractions, frames):",
                '        (folder / f"c-{c:.3f}.png").write_bytes(encode_png(frame[0]))',
            ]
        )
        + "\n"
    )


def _fits(ends: dict[str, dict[str, Any]]) -> bool:
    """Whether a generated target has to be brought to the source's size; one that has it already is left as it is."""
    sizes = [generator_cards()[end["generator"]].input_size if "generator" in end else None for end in ends.values()]
    return "generator" in ends["target"] and sizes[0] != sizes[1]


def as_command(settings: dict[str, Any]) -> str:
    """The command that writes these frames, the same pixels, into the folder interpolated/."""
    if "size" in settings["source"]:
        height, width = settings["source"]["size"]
        return f"# The page brought the source to {width}×{height}, and the command does not: use the Python."
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
    words += ["--c", *map(digits, settings["c"]), "--steps", str(settings["steps"])]
    if settings["weights"] is not None:
        words += ["--weights", *map(digits, settings["weights"])]
    words += ["--precision", settings["precision"]] if "precision" in settings else []
    return shell([*words, "--warm-start"] if settings["warm_start"] else words)


# ------------------------------------------------------------------------------------- the example kept in assets/


def opening_request() -> InterpolateRequest:
    """The example the page opens with."""
    names, source, target = [path.name for path in example_paths()], "church-58.png", "english_springer-34.png"
    if {source, target} <= set(names):
        return InterpolateRequest(source=EXAMPLES, target=EXAMPLES, source_example=source, target_example=target)
    first = names[0] if names else None
    return InterpolateRequest(source_example=first, target_example=first)


def unpacked(entries: Mapping[str, Any]) -> Interpolation:
    """The run that `keep_opening` kept; KeyError or ValueError where it is none."""
    settings = json.loads(str(entries["settings"]))
    run = Interpolation(
        **{key: entries[key] for key in ARRAYS},
        classifiers=tuple(settings["classifiers"]),
        fractions=tuple(settings["c"]),
        steps=settings["steps"],
        settings=settings,
        finished=True,
    )
    run.done, run.seconds = run.total, float(entries["seconds"])
    return run


def opening(path: Path = KEPT) -> Interpolation:
    """The finished example: the kept one, or where classifiers have changed since, one of few steps, on the CPU."""
    walk = opening_request().walk
    shorter = replace(walk, steps=6)
    digest = weights_digest(walk.classifiers)
    return kept(path, digest, walk.settings(), unpacked, lambda: last(interpolation_of(shorter, "cpu")))


def keep_opening(path: Path = KEPT) -> None:
    """Make the example anew: `python -m bigroc_core.experiments.opening`."""
    run = last(interpolation_of(opening_request().walk, "cpu"))
    entries = {key: getattr(run, key) for key in (*ARRAYS, "seconds")}
    keep(path, weights_digest(run.classifiers), entries | {"settings": np.array(json.dumps(run.settings))})
