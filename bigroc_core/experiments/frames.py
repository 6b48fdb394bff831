"""The frames of an interpolation (P1 Eq. 3), a strip per classifier: as they grow, their numbers, and their files.

Everything kept is 8-bit, and every number of a finished frame is computed from it, so that it holds for the files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bigroc_core.experiments.growing import settings_json
from bigroc_core.files import csv_bytes, zipped
from bigroc_core.images import encode_png, from_uint8, to_uint8

TABLE_HEADERS = ["classifier", "c", "largest ‖δ‖₂", "‖δ‖₂", "feature distance", "% of the source's"]
FRAME_MILLISECONDS, LAST_MILLISECONDS = 450, 1400


@dataclass
class Interpolation:
    """A run, growing.

    source and target (H, W, 3) uint8; fractions: c, ascending; steps: T per frame. One strip per classifier: frames
    (K, F, H, W, 3) uint8, their feature distances (K, F) to the target, NaN where not computed yet, and the source's
    own (K,).
    """

    source: np.ndarray
    target: np.ndarray
    classifiers: tuple[str, ...]
    fractions: tuple[float, ...]
    steps: int
    frames: np.ndarray
    distances: np.ndarray
    at_source: np.ndarray
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    done: int = 0
    seconds: float = 0.0
    finished: bool = False
    doing: str = "reading the images"

    @classmethod
    def begin(
        cls, source: Tensor, target: Tensor, classifiers: Sequence[str], fractions: Sequence[float], steps: int
    ) -> Interpolation:
        """The run before its first step. source, target: (3, H, W) in [0, 1]. ValueError where they are the same."""
        levels, wanted = to_uint8(source), to_uint8(target)
        if np.array_equal(levels, wanted):
            raise ValueError(
                "source and target are the same image: there is no way between them. Choose two that differ"
            )
        shape = (len(classifiers), len(fractions))
        frames = np.broadcast_to(levels, (*shape, *levels.shape)).copy()
        distances, at_source = np.full(shape, np.nan), np.full(len(classifiers), np.nan)
        return cls(levels, wanted, tuple(classifiers), tuple(fractions), steps, frames, distances, at_source, {})

    @property
    def total(self) -> int:
        """Steps of the whole run; c = 0 takes none."""
        return len(self.classifiers) * sum(c > 0 for c in self.fractions) * self.steps

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


# --------------------------------------------------------------------------------------------------------- files


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
    return [
        ("source.png", encode_png(from_uint8(run.source))),
        ("target.png", encode_png(from_uint8(run.target))),
        *frames,
        ("frames.csv", csv_bytes([TABLE_HEADERS, *run.rows()])),
        ("settings.json", settings_json(run).encode()),
    ]


def archive(run: Interpolation, gif: bytes) -> bytes:
    """A zip of source.png, target.png, CLASSIFIER/c-C.png, frames.csv, animation.gif and settings.json; always the
    same bytes. Of a cancelled run it holds the finished frames. gif: the run's animation."""
    *files, settings = frame_files(run)
    return zipped([*files, ("animation.gif", gif), settings])


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
