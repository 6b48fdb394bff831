"""Figures of images side by side. Every image pixel covers a whole number of dots and is never smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from torch import Tensor

from bigroc_core.figures.drawing.style import BLUE, DPI, GREY, RED, WIDTH_INCHES, styled
from bigroc_core.images import to_uint8
from bigroc_core.messages import in_words

# In columns of images.
_BETWEEN_BLOCKS = 0.35


@dataclass(frozen=True)
class Tile:
    """One image (3, H, W) in [0, 1], placed by row and column (fractions allowed), with text under it and, to mark it,
    a frame of a colour."""

    image: Tensor
    row: float
    column: float
    below: str = ""
    above: str = ""
    frame: str | None = None


def _check_tiles(tiles: Sequence[Tile]) -> tuple[int, int]:
    if not tiles:
        raise ValueError("a figure needs at least one image")
    sizes = {tuple(tile.image.shape[-2:]) for tile in tiles}
    if len(sizes) > 1:
        raise ValueError(f"the images of one figure must have one size, not {sorted(sizes)}")
    height, width = next(iter(sizes))
    return int(height), int(width)


def _written_width(text: str, font_size: float) -> int:
    """Dots that a text takes on its line."""
    return round(TextPath((0, 0), text, size=font_size).get_extents().width / 72 * DPI) if text else 0


def tile_figure(
    tiles: Sequence[Tile],
    row_names: Sequence[str] = (),
    *,
    lines_below: Sequence[int],
    width_inches: float = WIDTH_INCHES,
    font_size: float = 6.5,
    titles: Sequence[tuple[float, str]] = (),
    gap_inches: float = 0.035,
    room_inches: float = 0.0,
) -> Figure:
    """Images on a grid with captions; every image pixel is a whole number of dots wide and high.

    lines_below: for every row, how many lines of captions stand under it. row_names: written upright to the left of
    the rows. titles: columns (fractions allowed) and what stands above all rows there. gap_inches: between images.
    room_inches: left free at the foot. Raises ValueError for no images or for images of several sizes.
    """
    height, width = _check_tiles(tiles)
    columns = max(tile.column for tile in tiles) + 1
    line = round(1.3 * font_size / 72 * DPI)
    gap = max(2, round(gap_inches * DPI))
    below_title = max(gap, 14) if titles else gap
    top = line + below_title if titles or any(tile.above for tile in tiles) else gap
    # Names of rows stand upright, or lie where they are longer than a row is high and there is room.
    longest = max((_written_width(name, font_size) for name in row_names), default=0)
    for lying in (False, True):
        beside = longest if lying else line
        left = beside + 2 * gap + 20 * lying if any(row_names) else gap
        scale = max(1, int((width_inches * DPI - left - columns * gap) / columns / width))
        if longest <= height * scale or longest > 0.15 * width_inches * DPI:
            break
    tall, wide = height * scale, width * scale
    tops = np.cumsum([top, *(tall + gap + lines * line + (gap if lines else 0) for lines in lines_below)])
    # All captions in the size of type in which none reaches into its neighbour.
    captions = {text for tile in tiles for text in (tile.above, *tile.below.split("\n"))}
    widest = max(_written_width(text, font_size) for text in captions)
    caption_size = font_size * min(1.0, wide / widest) if widest > wide + gap else font_size
    total_width, total_height = round(left + columns * (wide + gap)), int(tops[-1]) + round(room_inches * DPI)
    with styled():
        figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)

        def write(x: float, y: float, text: str, **how: Any) -> None:
            """Text at dots from the left and from the top, standing on its baseline."""
            style = {"ha": "center", "va": "baseline", "size": font_size, **how}
            figure.text(x / total_width, 1 - y / total_height, text, **style)

        for tile in tiles:
            x = left + round(tile.column * (wide + gap))
            y = round(float(np.interp(tile.row, range(len(tops)), tops)))
            axes = figure.add_axes(
                (x / total_width, 1 - (y + tall) / total_height, wide / total_width, tall / total_height)
            )
            axes.imshow(to_uint8(tile.image), interpolation="none", aspect="auto")
            axes.set_axis_off()
            if tile.frame:
                # Around the image, in the gap: no pixel is covered.
                edges = (x - gap / 2, y - gap / 2, wide + gap, tall + gap)
                figure.add_artist(
                    Rectangle(
                        (edges[0] / total_width, 1 - (edges[1] + edges[3]) / total_height),
                        edges[2] / total_width,
                        edges[3] / total_height,
                        fill=False,
                        edgecolor=tile.frame,
                        linewidth=72 * gap / DPI,
                        transform=figure.transFigure,
                    )
                )
            write(x + wide / 2, y - gap, tile.above, size=caption_size)
            for number, text in enumerate(tile.below.split("\n"), 1):
                write(x + wide / 2, y + tall + number * line, text, size=caption_size)
        for column, title in titles:
            write(left + column * (wide + gap) + wide / 2, top - below_title, title)
        for row, name in enumerate(row_names):
            place = {"x": left - gap - 8, "ha": "right"} if lying else {"x": line / 2 + gap, "rotation": 90}
            write(y=float(tops[row]) + tall / 2, text=name, va="center", **place)
    return figure


@dataclass(frozen=True)
class TargetedRow:
    """One classifier's row of P1 Fig. 2: images (C, 3, H, W), one per target class, the classifier's certainty P of
    that class (C,), and ‖δ‖₂ (C,)."""

    name: str
    images: Tensor
    certainty: Tensor
    l2: Tensor


def fig2(original: Tensor, rows: Sequence[TargetedRow], classes: Sequence[str], caption: str = "original") -> Figure:
    """P1 Fig. 2: one image (3, H, W), moved towards every class through a robust and through a standard classifier.

    Raises ValueError if a row does not have one image per class.
    """
    for row in rows:
        if not len(row.images) == len(row.certainty) == len(row.l2) == len(classes):
            raise ValueError(f"{row.name} has {len(row.images)} images for {len(classes)} classes")
    tiles = [Tile(original, (len(rows) - 1) / 2, 0, below=caption)]
    for place, row in enumerate(rows):
        for target, name in enumerate(classes):
            text = f"P = {row.certainty[target]:.2f}\n$\\Vert\\delta\\Vert_2$ = {row.l2[target]:.2f}"
            tiles.append(Tile(row.images[target], place, target + 1.2, text, in_words(name) if place == 0 else ""))
    return tile_figure(tiles, [row.name for row in rows], lines_below=[2] * len(rows), font_size=5.5)


@dataclass(frozen=True)
class Block:
    """One of several sets shown side by side: images (N, 3, H, W), and which of them (N,) bool a red frame marks."""

    title: str
    images: Tensor
    marked: Tensor | None = None


def blocks(shown: Sequence[Block], columns: int, row_names: Sequence[str] = (), room_inches: float = 0.0) -> Figure:
    """The same images in several versions, block beside block: P1 Figs. 1, 4, 5 and 7 to 10.

    columns: of each block. row_names: one per row. Raises ValueError if the blocks differ in number of images.
    """
    counts = {len(block.images) for block in shown}
    if len(counts) != 1 or columns < 1:
        raise ValueError(f"the blocks must hold equally many images, not {sorted(counts)}")
    rows = -(-counts.pop() // columns)
    if row_names and len(row_names) != rows:
        raise ValueError(f"{len(row_names)} names for {rows} rows")
    tiles, titles = [], []
    for place, block in enumerate(shown):
        left = place * (columns + _BETWEEN_BLOCKS)
        titles.append((left + (columns - 1) / 2, block.title))
        for index, image in enumerate(block.images):
            row, column = divmod(index, columns)
            frame = RED if block.marked is not None and bool(block.marked[index]) else None
            tiles.append(Tile(image, row, left + column, frame=frame))
    return tile_figure(
        tiles,
        row_names,
        lines_below=[0] * rows,
        titles=titles,
        gap_inches=0.012,
        room_inches=room_inches,
        width_inches=7.0,
    )


def fig3(
    shown: tuple[Block, Block, Block],
    counts: tuple[Sequence[int], Sequence[int]],
    entropies: tuple[float, float],
    classes: Sequence[str],
    columns: int,
    note: str,
) -> Figure:
    """P1 Fig. 3: generated images, boosted without and boosted with debiasing; under the latter two the histograms of
    their targets, one count per class, and the entropies in nats. note: stands under the first block.

    Raises ValueError if the counts are not one per class.
    """
    if not len(counts[0]) == len(counts[1]) == len(classes):
        raise ValueError(f"{len(counts[0])} and {len(counts[1])} counts for {len(classes)} classes")
    room = 1.15
    figure = blocks(shown, columns, room_inches=room)
    tall = float(figure.get_figheight())
    across = 3 * columns + 2 * _BETWEEN_BLOCKS
    with styled():
        figure.text(0.01, (room - 0.2) / tall, note, size=6.5, va="top")
        most = max(*counts[0], *counts[1])
        for place, (values, entropy) in enumerate(zip(counts, entropies, strict=True), 1):
            left = place * (columns + _BETWEEN_BLOCKS) / across
            axes = figure.add_axes((left + 0.035, 0.42 / tall, columns / across - 0.04, (room - 0.64) / tall))
            colours = [RED if values[c] == max(values) and place == 1 else GREY for c in range(len(classes))]
            axes.bar(range(len(classes)), list(values), color=colours if place == 1 else BLUE, width=0.75)
            axes.axhline(sum(values) / len(classes), color="black", linewidth=0.7, linestyle=(0, (4, 3)))
            axes.set_ylim(0, most * 1.05)
            names = list(map(in_words, classes))
            axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor")
            axes.tick_params(labelsize=5.5, length=0, pad=1.5)
            axes.set_title(f"entropy {entropy:.3f} of {np.log(len(classes)):.3f} nats", size=6, pad=2)
    return figure


@dataclass(frozen=True)
class InterpolatedRow:
    """One classifier's row of P1 Fig. 6: frames (F, 3, H, W), one per c, their ‖δ‖₂ (F,), and their feature distance to
    the target as a share of the source's (F,)."""

    name: str
    frames: Tensor
    l2: Tensor
    share: Tensor


@dataclass(frozen=True)
class Walk:
    """From one image (3, H, W) to another, one row per classifier."""

    source: Tensor
    target: Tensor
    rows: Sequence[InterpolatedRow]


def interpolations(walks: Sequence[Walk], fractions: Sequence[float]) -> Figure:
    """P1 Figs. 6 and 11: from source images to targets through each classifier, one frame per c in [0, 1].

    Raises ValueError if a row does not have one frame per c.
    """
    tiles: list[Tile] = []
    names: list[str] = []
    for walk in walks:
        middle = len(names) + (len(walk.rows) - 1) / 2
        tiles += [Tile(walk.source, middle, 0, "source"), Tile(walk.target, middle, len(fractions) + 1.4, "target")]
        for row in walk.rows:
            if not len(row.frames) == len(row.l2) == len(row.share) == len(fractions):
                raise ValueError(f"{row.name} has {len(row.frames)} frames for {len(fractions)} values of c")
            for index, c in enumerate(fractions):
                text = f"$\\Vert\\delta\\Vert_2$ = {row.l2[index]:.2f}\n$d / d_s$ = {row.share[index]:.2f}"
                above = f"c = {c:g}" if not names else ""
                tiles.append(Tile(row.frames[index], len(names), index + 1.2, text, above))
            names.append(row.name)
    return tile_figure(tiles, names, lines_below=[2] * len(names), font_size=5.5)


def _broken(captions: Sequence[str], inches: float, size: float) -> list[str]:
    """Captions as they fit under images so many inches wide: if one does not, all are broken between their words."""
    if all(_written_width(line, size) < inches * DPI for caption in captions for line in caption.split("\n")):
        return list(captions)
    return [caption.replace(" ", "\n", 1) for caption in captions]


def side_by_side(
    before: Tensor,
    after: Tensor,
    captions: Sequence[str] = (),
    columns: int = 10,
    names: tuple[str, str] = ("original", "boosted"),
    width_inches: float = WIDTH_INCHES,
) -> Figure:
    """Images (N, 3, H, W) in rows, each row of originals over its row of boosted ones.

    captions: one per image, under the boosted one. Raises ValueError if the two are not of one shape.
    """
    if before.shape != after.shape or before.ndim != 4:
        raise ValueError(
            f"before {tuple(before.shape)} and after {tuple(after.shape)} must be of one shape (N, 3, H, W)"
        )
    if captions and len(captions) != len(before):
        raise ValueError(f"{len(captions)} captions for {len(before)} images")
    return strips([Strip(names[0], before), Strip(names[1], after, captions)], columns, width_inches)


@dataclass(frozen=True)
class Strip:
    """One version of some images (N, 3, H, W), and what stands under each, in one line or several."""

    name: str
    images: Tensor
    captions: Sequence[str] = ()


def strips(versions: Sequence[Strip], columns: int, width_inches: float = WIDTH_INCHES, size: float = 6.5) -> Figure:
    """The same images in several versions, row under row; more of them than columns go on below. size: of captions."""
    versions = [replace(one, captions=_broken(one.captions, width_inches / columns, size)) for one in versions]
    tiles, lines = [], [max((text.count("\n") + 1 for text in one.captions), default=0) for one in versions]
    for place, version in enumerate(versions):
        for index, image in enumerate(version.images):
            block, column = divmod(index, columns)
            caption = version.captions[index] if version.captions else ""
            tiles.append(Tile(image, len(versions) * block + place, column, caption))
    blocks = -(-len(versions[0].images) // columns)
    names = [version.name for version in versions] * blocks
    return tile_figure(tiles, names, lines_below=lines * blocks, width_inches=width_inches, font_size=size)
