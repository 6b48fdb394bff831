"""Pictures as HTML: lossless PNG inside the page, enlarged by the browser without smoothing."""

from __future__ import annotations

import base64
from functools import lru_cache
from html import escape

import numpy as np

from bigroc_core.images import encode_png, from_uint8
from bigroc_core.ui.run import Run


def picture(pixels: np.ndarray, description: str) -> str:
    """An <img> of (H, W, 3) uint8 pixels with its description for those who do not see it."""
    alt = escape(description, quote=True)
    return f'<img class="px" decoding="sync" alt="{alt}" src="{_address(pixels.tobytes(), pixels.shape)}">'


@lru_cache(maxsize=1024)
def _address(data: bytes, shape: tuple[int, ...]) -> str:
    # Remembered, because a run draws its originals again with every preview.
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return "data:image/png;base64," + base64.b64encode(encode_png(from_uint8(pixels))).decode()


def percent(share: float) -> str:
    """A probability as a percentage that never rounds to a certainty it is not."""
    if 0 < share < 0.001:
        return "<0.1 %".replace("<", "&lt;")
    if 0.999 < share < 1:
        return "&gt;99.9 %"
    return f"{100 * share:.1f} %"


def pairs(run: Run, frame: int, selected: int) -> str:
    """The grid: per image original and boosted side by side, its class, p(y | x) before → after and ‖δ‖₂."""
    before, after, lengths = run.chances(0), run.chances(frame), run.l2(frame)
    cards = []
    for i, y in enumerate(run.targets):
        name = escape(run.classes[y])
        start, now = float(before[i, y]), float(after[i, y])
        cards.append(
            f'<button type="button" class="pair" data-index="{i}" aria-pressed="{str(i == selected).lower()}" '
            f'title="Image {i + 1}: {escape(run.names[i], quote=True)}">'
            f'<span class="two">{picture(run.originals[i], f"original {i + 1}")}'
            f"{picture(run.frames[frame][i], f'boosted {i + 1}')}</span>"
            f'<span class="line"><b>{name}</b><span class="num">‖δ‖ {lengths[i]:.2f}</span></span>'
            f'<span class="bar" aria-hidden="true"><i style="width:{100 * now:.1f}%"></i>'
            f'<u style="left:{100 * start:.1f}%"></u></span>'
            f'<span class="line num">{percent(start)} → <b>{percent(now)}</b></span></button>'
        )
    return f'<div class="pairs" role="group" aria-label="Original and boosted images">{"".join(cards)}</div>'


def summary(run: Run, frame: int) -> str:
    """One line over all images: mean p(y | x), agreement with the target and ‖δ‖₂ of the 8-bit images."""
    before, after, rows = run.chances(0), run.chances(frame), np.arange(len(run.targets))
    p0, p1 = before[rows, run.targets].mean(), after[rows, run.targets].mean()
    read0 = (before.argmax(1) == run.targets).mean()
    read1 = (after.argmax(1) == run.targets).mean()
    return (
        '<div class="facts">'
        f"<div><small>mean p(y|x)</small><b>{percent(p0)} → {percent(p1)}</b></div>"
        f"<div><small>read as their class</small><b>{percent(read0)} → {percent(read1)}</b></div>"
        f"<div><small>mean ‖δ‖₂</small><b>{run.l2(frame).mean():.2f}</b></div>"
        f"<div><small>images</small><b>{len(run.targets)}</b></div></div>"
    )


def difference(run: Run, frame: int, index: int, gain: float) -> np.ndarray:
    """The signed change times `gain` around mid grey, (H, W, 3) uint8."""
    shown = 127.5 + 255 * gain * run.change(frame)[index]
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def closeup(run: Run, frame: int, index: int, gain: float) -> str:
    """One image large: original, boosted and their amplified difference, with its numbers."""
    y, step = run.targets[index], run.steps[frame]
    before, after = run.chances(0)[index], run.chances(frame)[index]
    change = np.abs(run.change(frame)[index]).max()
    clipped = " (clipped where stronger)" if gain * change > 0.5 else ""
    figures = "".join(
        f"<figure>{picture(pixels, name)}<figcaption>{caption}</figcaption></figure>"
        for pixels, name, caption in (
            (run.originals[index], "original", "original"),
            (run.frames[frame][index], f"boosted, step {step}", f"step {step}"),
            (difference(run, frame, index, gain), "difference", f"difference ×{gain:g}"),
        )
    )
    order = np.argsort(-after)[:3]
    top = ", ".join(f"{escape(run.classes[c])} {percent(float(after[c]))}" for c in order)
    return (
        f'<div class="closeup">{figures}</div>'
        f'<p class="note"><b>Image {index + 1}</b> → {escape(run.classes[y])}: p(y|x) '
        f"{percent(float(before[y]))} → <b>{percent(float(after[y]))}</b>, ‖δ‖₂ {run.l2(frame)[index]:.2f}, "
        f"‖δ‖∞ {change:.3f}. Reads now as {top}. "
        f"Difference: signed, ×{gain:g}, mid grey is no change{clipped}.</p>"
    )


def progress(done: int, total: int, text: str, state: str = "running") -> str:
    """The status line: a bar and a sentence; announced to screen readers."""
    share = 100 * done / total if total else 100
    return (
        f'<div class="status {state}" role="status"><div class="track"><i style="width:{share:.0f}%"></i></div>'
        f"<span>{text}</span></div>"
    )
