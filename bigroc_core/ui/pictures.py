"""Pictures as HTML: lossless PNG inside the page, enlarged by the browser without smoothing."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape

import numpy as np
from PIL import Image

from bigroc_core.cards import Card
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.strengths import run_key
from bigroc_core.images import encode_png, from_uint8, to_uint8
from bigroc_core.messages import in_words
from bigroc_core.sources import SourceImages
from bigroc_core.ui.errors import readable

# Sides up to which pictures are enlarged without smoothing, and above which lists of many show them smaller.
SMALL_SIDE, LIST_SIDE = 128, 192
# Classes that are all shown as buttons.
MANY_CLASSES = 12
# Notes that a line opens to.
MAX_NOTES = 100
# Bytes of a picture that is remembered: 64 by 64 pixels.
MAX_REMEMBERED = 3 * 64 * 64


def picture(pixels: np.ndarray, description: str) -> str:
    """An <img> of (H, W, 3) uint8 pixels with its description for those who do not see it."""
    alt = escape(description, quote=True)
    kind = "px" if is_small(pixels.shape) else "photo"
    return f'<img class="{kind}" decoding="sync" alt="{alt}" src="{address(pixels)}">'


def address(pixels: np.ndarray) -> str:
    """(H, W, 3) uint8 pixels as the address of a PNG that stands in it whole."""
    # Small ones are remembered, because a run draws its originals again with every preview.
    return (_remembered_address if pixels.nbytes <= MAX_REMEMBERED else _address)(pixels.tobytes(), pixels.shape)


def listed(pixels: np.ndarray, description: str) -> str:
    """The same where many stand side by side: a large picture is brought to LIST_SIDE."""
    shown = picture(small(pixels), description)
    # Shown as what it is a picture of.
    return shown if is_small(pixels.shape) else shown.replace('class="px"', 'class="photo"')


def small(pixels: np.ndarray) -> np.ndarray:
    """A picture brought to LIST_SIDE where it is larger."""
    share = LIST_SIDE / max(pixels.shape[:2])
    if share >= 1:
        return pixels
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def is_small(shape: Sequence[int]) -> bool:
    """Whether a picture of this shape is enlarged without smoothing."""
    return max(shape[:2]) <= SMALL_SIDE


def _address(data: bytes, shape: tuple[int, ...]) -> str:
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return "data:image/png;base64," + base64.b64encode(encode_png(from_uint8(pixels))).decode()


_remembered_address = lru_cache(maxsize=1024)(_address)


def percent(share: float) -> str:
    """A probability as a percentage that never rounds to a certainty it is not."""
    if 0 < share < 0.001:
        return "<0.1 %".replace("<", "&lt;")
    if 0.999 < share < 1:
        return "&gt;99.9 %"
    return f"{100 * share:.1f} %"


def l0_of(card: Card, label: int) -> float:
    """ℓ₀ of a joint model (P2 Eq. 14), for one class where it has one per class."""
    return float(card.l0[label] if isinstance(card.l0, tuple) else card.l0 or 0.0)


def quantiles(card: Card) -> list[tuple[float, float]]:
    """(share, softplus(f_c)) of real images: so many of them read as less real than that."""
    measured = card.metrics.get("realism", {}).get("quantiles", {})
    return sorted((float(share), float(value)) for share, value in measured.items())


def placed(card: Card, reading: float) -> str:
    """Where a reading lies among real images, as words."""
    if not (known := quantiles(card)):
        return ""
    shares, values = zip(*known, strict=True)
    if reading < values[0]:
        return f"less than {100 - 100 * shares[0]:.0f} % of real images"
    if reading > values[-1]:
        return f"more than {100 * shares[-1]:.0f} % of real images"
    return f"more than {100 * float(np.interp(reading, values, shares)):.0f} % of real images"


def realism_scale(card: Card, label: int, before: float, after: float) -> str:
    """A bar with the band where the middle 90 % of real images read, ℓ₀, and an image before and after."""
    known = dict(quantiles(card))
    low, high, l0 = known.get(0.05, 0.0), known.get(0.95, 0.0), l0_of(card, label)
    top = 1.05 * max(known.get(0.99, l0), l0, before, after, 1e-6)
    at = [f"{100 * value / top:.1f}%" for value in (low, high - low, l0, before, after)]
    return (
        f'<span class="bar scale" aria-hidden="true"><em style="left:{at[0]};width:{at[1]}"></em>'
        f'<s style="left:{at[2]}"></s><u style="left:{at[3]}"></u><i style="left:{at[4]}"></i></span>'
    )


def pairs(run: Run, frame: int, selected: int) -> str:
    """The grid: per image original and boosted side by side, its class, p(y | x) before → after and ‖δ‖₂, of a joint
    model also how real it reads before → after, and which images were left as they came."""
    cards = [
        f'<button type="button" class="pair" data-index="{i}" aria-pressed="{str(i == selected).lower()}" '
        f'title="Image {i + 1}: {escape(run.names[i], quote=True)}">'
        f'<span class="two">{listed(run.originals[i], f"original {i + 1}")}'
        f'{listed(run.frames[frame][i], f"boosted {i + 1}")}</span><span class="said">{said}</span></button>'
        for i, said in enumerate(captions(run, frame))
    ]
    marks = f'role="group" aria-label="Original and boosted images" data-eps="{run.settings["eps"]:g}"'
    # Which run it is, for the strengths that the browser shows in its place.
    marks += f' data-run="{run_key(run)}"'
    return f'<div class="pairs" {marks}>{"".join(cards)}</div>'


def captions(run: Run, frame: int) -> list[str]:
    """What stands under each pair of images, as HTML."""
    before, after, lengths = run.chances(0), run.chances(frame), run.l2(frame)
    real = [run.realism(0), run.realism(frame)] if run.joint else []
    said = []
    for i, y in enumerate(run.targets):
        name = escape(in_words(run.classes[y]))
        start, now = float(before[i, y]), float(after[i, y])
        size = "untouched" if run.untouched[i] else f"‖δ‖ {lengths[i]:.2f}"
        reading = ""
        if real:
            was, now_real = float(real[0][i]), float(real[1][i])
            reading = (
                f"{realism_scale(run.card, int(y), was, now_real)}"
                f'<span class="line num"><span>realism</span><span>{was:.2f} → <b>{now_real:.2f}</b></span></span>'
            )
        said.append(
            f'<span class="line"><b>{name}</b><span class="num">{size}</span></span>'
            f'<span class="bar" aria-hidden="true"><i style="width:{100 * now:.1f}%"></i>'
            f'<u style="left:{100 * start:.1f}%"></u></span>'
            f'<span class="line num">{percent(start)} → <b>{percent(now)}</b></span>{reading}'
        )
    return said


def summary(run: Run, frame: int) -> str:
    """`facts`, and of a joint model how to read them."""
    legend = (
        '<p class="note">Realism is softplus(f<sub>y</sub>), how real an image of its class reads to the joint '
        "model. On its scale: shaded, where the middle 90 % of real images lie; the line, their mean ℓ₀; thin, the "
        "image before; thick, after.</p>"
    )
    return facts(run, frame) + legend * run.joint


def facts(run: Run, frame: int) -> str:
    """One line over all images: mean p(y | x), agreement with the target and ‖δ‖₂ of the 8-bit images; with an early
    stop how many were left as they came; of a joint model their realism."""
    before, after, rows = run.chances(0), run.chances(frame), np.arange(len(run.targets))
    p0, p1 = before[rows, run.targets].mean(), after[rows, run.targets].mean()
    read0 = (before.argmax(1) == run.targets).mean()
    read1 = (after.argmax(1) == run.targets).mean()
    count, real = f"<div><small>images</small><b>{len(run.targets)}</b></div>", ""
    if run.settings["stop_at"] is not None:
        count = f"<div><small>images left untouched</small><b>{run.untouched.sum()} of {len(run.targets)}</b></div>"
    if run.joint:
        l0 = np.mean([l0_of(run.card, int(y)) for y in run.targets])
        real = (
            f"<div><small>realism, real: {l0:.2f}</small>"
            f"<b>{run.realism(0).mean():.2f} → {run.realism(frame).mean():.2f}</b></div>"
        )
    return (
        '<div class="facts">'
        f"<div><small>mean p(y|x)</small><b>{percent(p0)} → {percent(p1)}</b></div>"
        f"<div><small>read as their class</small><b>{percent(read0)} → {percent(read1)}</b></div>"
        f"<div><small>mean ‖δ‖₂</small><b>{run.l2(frame).mean():.2f}</b></div>"
        f"<div><small>change per value</small><b>{run.per_value(frame).mean():.1f}/255</b></div>"
        f"{count}{real}</div>"
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
    top = ", ".join(f"{escape(in_words(run.classes[c]))} {percent(float(after[c]))}" for c in order)
    real = ""
    if run.joint:
        was, now = float(run.realism(0)[index]), float(run.realism(frame)[index])
        real = f"Realism {was:.2f} → <b>{now:.2f}</b>, {placed(run.card, now)}. ".replace(", . ", ". ")
    rests = "The early stop left it untouched. " if run.untouched[index] else ""
    return (
        f'<div class="closeup">{figures}</div>'
        f'<p class="note"><b>Image {index + 1}</b> → {escape(in_words(run.classes[y]))}: p(y|x) '
        f"{percent(float(before[y]))} → <b>{percent(float(after[y]))}</b>, ‖δ‖₂ {run.l2(frame)[index]:.2f}"
        f" ({run.per_value(frame)[index]:.1f}/255 per value), ‖δ‖∞ {change:.3f}. Reads now as {top}. {real}{rests}"
        f"Difference: signed, ×{gain:g}, mid grey is no change{clipped}.</p>{towards(run, frame, index)}"
    )


def towards(run: Run, frame: int, index: int) -> str:
    """Classes that a click moves one image towards: all, or the likeliest of many."""
    y, names = int(run.targets[index]), run.classes
    likeliest = np.argsort(-run.chances(frame)[index])[:MANY_CLASSES]
    shown = list(range(len(names))) if len(names) <= MANY_CLASSES else [int(c) for c in likeliest]
    chips = "".join(
        f'<button type="button" data-class="{escape(names[c], quote=True)}" aria-pressed="{str(c == y).lower()}">'
        f"{escape(in_words(names[c]))}</button>"
        for c in shown
    )
    return f'<div class="towards" role="group" aria-label="Repaint image {index + 1} towards">{chips}</div>'


def progress(done: int, total: int, text: str, state: str = "running", begun: bool = True) -> str:
    """The status line: a bar and a sentence; announced to screen readers. begun: whether it is of a run that has shown
    something, and not of one that waits."""
    share, waits = 100 * done / total if total else 100, "" if begun else " data-waits"
    return (
        f'<div class="status {state}" role="status"{waits}><div class="track"><i style="width:{share:.0f}%"></i></div>'
        f"<span>{text}</span></div>"
    )


def ended(finished: bool, reached: tuple[int, int], text: str, notes: Sequence[str]) -> str:
    """The status line of a run that has ended. reached: its step, of how many. text: of one that was not cancelled.
    notes: what was done to the images on the way in."""
    left_out = [note for note in notes if note.startswith("left out")]
    told = folded([note for note in notes if note not in left_out], left_out)
    if finished:
        return progress(1, 1, text + told, "finished")
    said = f"Cancelled after step {reached[0]} / {reached[1]}; what was reached is below"
    return progress(*reached, said + told, "stopped")


def folded(notes: Sequence[str], warned: Sequence[str] = ()) -> str:
    """Notes as one line that opens on demand, what went wrong first; nothing where there are none."""
    lines = [(f'<li class="warn">{escape(readable(why))}</li>', why) for why in warned]
    lines += [(f"<li>{escape(readable(note))}</li>", note) for note in notes]
    if not lines:
        return ""
    more = f" · {len(lines) - 1} more" if len(lines) > 1 else ""
    first = escape(readable(lines[0][1]))
    return (
        f'<details class="notes"><summary><span class="first">{first}</span>{more}</summary>'
        f'<ul class="note">{"".join(line for line, _ in lines[:MAX_NOTES])}</ul></details>'
    )


def sizes_said(sizes: Iterable[tuple[int, int]]) -> str:
    """Width by height, of several sizes (height, width) the smallest and the largest."""
    known = sorted(set(sizes), key=lambda size: size[0] * size[1])
    shown = " to ".join(f"{width}×{height}" for height, width in (known[:1] + known[-1:])[: len(known)])
    return f"{shown} pixels, kept as they are" if len(known) == 1 else f"{shown} pixels, each keeps its own size"


def thumbs(read: SourceImages | None) -> str:
    """Images small, side by side."""
    shown = [] if read is None else zip(read.images, read.names, strict=True)
    return f'<div class="thumbs">{"".join(listed(to_uint8(image), name) for image, name in shown)}</div>'
