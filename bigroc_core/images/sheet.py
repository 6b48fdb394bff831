"""Images side by side as one picture, which a notebook shows by itself."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from bigroc_core.files import write_bytes
from bigroc_core.images.rounding import to_pil

# Small images are enlarged, without smoothing, to about so many dots; more images than MOST are counted, not shown.
DOTS, GAP, LINE, COLUMNS, MOST = 72, 3, 16, 8, 64


@dataclass(frozen=True)
class Sheet:
    """A picture as PNG. The last line of a notebook's cell shows it; elsewhere, `save` it."""

    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a .png, whole or not at all; returns the path. ValueError for another ending."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"a sheet is written as .png, not {path.name!r}")
        write_bytes(path, self.png)
        return path


def show(images: Tensor, *others: Tensor, columns: int = COLUMNS) -> Sheet:
    """Images, and under each the same one of `others`, side by side: `show(images, result.images)`.

    images: (N, 3, H, W) in [0, 1], (3, H, W), or what `interpolate` gives, (F, N, 3, H, W): then a column per frame and
    a row per image. others: as many. columns: images beside each other. The first 64 are shown; more are counted under
    them. Raises ValueError for other shapes and numbers.
    """
    if images.ndim == 5:
        columns, images = len(images), images.transpose(0, 1).flatten(0, 1)
    rows = [one[None] if one.ndim == 3 else one for one in (images, *others)]
    for one in rows:
        if one.ndim != 4 or one.shape[1] != 3 or not one.numel():
            raise ValueError(f"images to show must be (N, 3, H, W) in [0, 1], N at least 1, not {tuple(one.shape)}")
        if len(one) != len(rows[0]):
            raise ValueError(f"under each of {len(rows[0])} images stands one of the others, and there are {len(one)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, not {columns}")
    total = len(rows[0])
    rows = [one[: max(MOST // columns, 1) * columns] for one in rows]
    shown, columns = len(rows[0]), min(columns, len(rows[0]))
    side = max(*(edge for one in rows for edge in one.shape[2:]))
    enlarge = max(1, DOTS // side)
    height, width = (enlarge * max(one.shape[place] for one in rows) for place in (2, 3))
    blocks = -(-shown // columns)
    foot = LINE if shown < total else 0
    size = (columns * (width + GAP) + GAP, blocks * (len(rows) * (height + GAP) + GAP) + foot)
    sheet = Image.new("RGB", size, "white")
    for row, one in enumerate(rows):
        for place in range(shown):
            block, column = divmod(place, columns)
            top = GAP + block * (len(rows) * (height + GAP) + GAP) + row * (height + GAP)
            sheet.paste(to_pil(one[place].detach().cpu().float(), enlarge), (GAP + column * (width + GAP), top))
    if foot:
        ImageDraw.Draw(sheet).text((GAP, size[1] - LINE), f"{shown} of {total:,}", fill="black")
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return Sheet(stream.getvalue())
