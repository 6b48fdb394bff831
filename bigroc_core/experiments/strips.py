"""Strips of frames: one image towards another (P1 Eq. 3) through one or several classifiers, and the files of it.

Everything kept is 8-bit, and every number of a finished frame is computed from it, so that it holds for the files.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bigroc_core.classifiers.networks import Classifier
from bigroc_core.files import one_line_each
from bigroc_core.images import encode_png, from_uint8, to_uint8
from bigroc_core.interpolation import feature_distance, interpolate_stream

TABLE_HEADERS = ["classifier", "c", "largest ‖δ‖₂", "‖δ‖₂", "feature distance", "% of the source's"]
FRAME_MILLISECONDS, LAST_MILLISECONDS = 450, 1400


@dataclass(frozen=True)
class Stage:
    """Where a run stands: a frame (H, W, 3) uint8 after `done` steps of the run, and once it is finished its feature
    distance and the source's."""

    strip: int
    frame: int
    step: int
    done: int
    image: np.ndarray
    distance: float | None = None
    at_source: float | None = None


@dataclass
class Interpolation:
    """A run, growing.

    source and target (H, W, 3) uint8; one strip per classifier: frames (K, F, H, W, 3) uint8, their feature
    distances (K, F) to the target, NaN where not computed yet, and the sources' own (K,).
    """

    source: np.ndarray
    target: np.ndarray
    classifiers: tuple[str, ...]
    fractions: tuple[float, ...]
    frames: np.ndarray
    distances: np.ndarray
    at_source: np.ndarray
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    done: int = 0
    seconds: float = 0.0
    finished: bool = False
    doing: str = field(default="reading the images")

    @classmethod
    def begin(
        cls,
        source: Tensor,
        target: Tensor,
        classifiers: Sequence[str],
        settings: dict[str, Any],
        notes: Sequence[str] = (),
    ) -> Interpolation:
        """The run before its first step. source, target: (3, H, W) at 8-bit levels. settings: "c", ascending, and
        "steps" among them. ValueError where source and target are the same."""
        if torch.equal(source, target):
            raise ValueError(
                "source and target are the same image: there is no way between them. Choose two that differ"
            )
        fractions, levels = tuple(settings["c"]), to_uint8(source)
        shape = (len(classifiers), len(fractions))
        return cls(
            levels,
            to_uint8(target),
            tuple(classifiers),
            fractions,
            np.broadcast_to(levels, (*shape, *levels.shape)).copy(),
            np.full(shape, np.nan),
            np.full(len(classifiers), np.nan),
            settings,
            tuple(notes),
        )

    def take(self, stage: Stage) -> None:
        """Let the run stand where a stage of it stands."""
        self.done = stage.done
        self.doing = f"{self.classifiers[stage.strip]}, c = {self.fractions[stage.frame]:g}, step {stage.step}"
        self.frames[stage.strip, stage.frame] = stage.image
        if stage.distance is not None and stage.at_source is not None:
            self.at_source[stage.strip] = stage.at_source
            self.distances[stage.strip, stage.frame] = stage.distance

    @property
    def total(self) -> int:
        """Steps of the whole run; c = 0 takes none."""
        return len(self.classifiers) * sum(c > 0 for c in self.fractions) * int(self.settings["steps"])

    @property
    def whole(self) -> float:
        """‖x_t - x_s‖₂."""
        return float(np.linalg.norm((self.target.astype(np.float64) - self.source) / 255))

    def reached(self, strip: int, frame: int) -> bool:
        """Whether a frame is finished."""
        return not math.isnan(self.distances[strip, frame])

    def l2(self, strip: int, frame: int) -> float:
        """‖δ‖₂ of a frame's 8-bit image."""
        return float(np.linalg.norm((self.frames[strip, frame].astype(np.float64) - self.source) / 255))

    def share(self, strip: int, frame: int) -> float:
        """A frame's feature distance to the target as a share of the source's."""
        return float(self.distances[strip, frame] / max(self.at_source[strip], 1e-12))

    def rows(self) -> list[list[Any]]:
        """The table: per finished frame, by classifier and c."""
        return [
            [
                name,
                c,
                round(c * self.whole, 3),
                round(self.l2(strip, frame), 3),
                float(f"{self.distances[strip, frame]:.4g}"),
                round(100 * self.share(strip, frame), 2),
            ]
            for strip, name in enumerate(self.classifiers)
            for frame, c in enumerate(self.fractions)
            if self.reached(strip, frame)
        ]


def stages(
    classifiers: Sequence[Classifier],
    source: Tensor,
    target: Tensor,
    fractions: Sequence[float],
    steps: int,
    weights: Sequence[float] | None = None,
    warm_start: bool = False,
) -> Iterator[Stage]:
    """The stages of one run through each of the classifiers in turn, on their device.

    source, target: (3, H, W) in [0, 1]. fractions: ascending. ValueError for what `interpolate` refuses.
    """
    done = 0
    for strip, classifier in enumerate(classifiers):
        device = classifier.mean.device
        x, y = source[None].to(device), target[None].to(device)
        at_source = float(feature_distance(classifier, x, y, weights))
        for point in interpolate_stream(classifier, x, y, fractions, steps, weights, warm_start=warm_start):
            done += point.step > 0
            image = to_uint8(point.images[0])
            if point.step == (steps if fractions[point.place] else 0):
                shown = from_uint8(image)[None].to(device)
                distance = float(feature_distance(classifier, shown, y, weights))
                yield Stage(strip, point.place, point.step, done, image, distance, at_source)
            else:
                yield Stage(strip, point.place, point.step, done, image)


def rounded(image: Tensor) -> Tensor:
    """An image (3, H, W) at the 8-bit levels a file of it has."""
    return from_uint8(to_uint8(image))


# --------------------------------------------------------------------------------------------------------- files


def settings_json(run: Interpolation) -> str:
    """The settings as JSON, one line per entry."""
    return one_line_each(run.settings | ({} if run.finished else {"cancelled_after_step": run.done}))


def frame_names(fractions: Sequence[float]) -> list[str]:
    """c-0.200.png and so on: three decimals, or as many as tell the values apart."""
    digits = next(d for d in range(3, 20) if d == 19 or len({f"{c:.{d}f}" for c in fractions}) == len(set(fractions)))
    return [f"c-{c:.{digits}f}.png" for c in fractions]


def frame_files(run: Interpolation, folders: bool = True) -> list[tuple[str, bytes]]:
    """source.png, target.png, CLASSIFIER/c-C.png (without `folders` c-C.png), frames.csv and settings.json, by name.

    Of a cancelled run, the finished frames.
    """
    names = frame_names(run.fractions)
    frames = [
        (f"{name}/{names[frame]}" if folders else names[frame], encode_png(from_uint8(run.frames[strip, frame])))
        for strip, name in enumerate(run.classifiers)
        for frame in range(len(run.fractions))
        if run.reached(strip, frame)
    ]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([TABLE_HEADERS, *run.rows()])
    return [
        ("source.png", encode_png(from_uint8(run.source))),
        ("target.png", encode_png(from_uint8(run.target))),
        *frames,
        ("frames.csv", table.getvalue().encode()),
        ("settings.json", settings_json(run).encode()),
    ]


def animation(run: Interpolation) -> bytes:
    """A GIF through the frames that all strips have, strips side by side, c written under them.

    Enlarged by whole pixels; a GIF has 256 colours per frame, so the PNG files are the exact ones.
    """
    height, width = run.source.shape[:2]
    factor = max(1, 192 // max(height, width))
    tall, wide, gap, line = height * factor, width * factor, 12, 26
    font = ImageFont.load_default(size=15)
    pages = []
    for frame, c in enumerate(run.fractions):
        if not all(run.reached(strip, frame) for strip in range(len(run.classifiers))):
            continue
        page = Image.new("RGB", (gap + len(run.classifiers) * (wide + gap), tall + 2 * line), "white")
        write = ImageDraw.Draw(page)
        for strip, name in enumerate(run.classifiers):
            left = gap + strip * (wide + gap)
            pixels = run.frames[strip, frame].repeat(factor, 0).repeat(factor, 1)
            page.paste(Image.fromarray(pixels), (left, line))
            for place, text in ((line / 2, name), (tall + 1.5 * line, f"c = {c:g}")):
                write.text((left + wide / 2, place), text, fill="#222222", font=font, anchor="mm")
        pages.append(page.quantize(256, dither=Image.Dither.NONE))
    if not pages:
        pages = [Image.fromarray(run.source.repeat(factor, 0).repeat(factor, 1)).quantize(256)]
    stream = io.BytesIO()
    lengths = [LAST_MILLISECONDS if page in (pages[0], pages[-1]) else FRAME_MILLISECONDS for page in pages]
    pages[0].save(stream, "GIF", save_all=True, append_images=pages[1:], duration=lengths, loop=0)
    return stream.getvalue()
