"""A brush that marks where an image may change: painted on the image, kept as a grey picture under its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.masks import as_png, number_in
from bigroc_core.experiments.snippets import IN_TURN
from bigroc_core.images import read_image, to_uint8
from bigroc_core.sources import GENERATOR, UPLOAD
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.boost_results import place_in
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained, inform
from bigroc_core.ui.forms import Form
from bigroc_core.ui.values import plainly

COLOUR, OPACITY = (99, 102, 241), 0.5
# The side that small images are painted on at, in whole squares a pixel.
CANVAS = 384
HINT = "Nothing is marked: every image may change everywhere."
OTHERS = "The next run is of other images than the ones shown here: press Boost first, then paint on those."
TAKEN = "The masks belonged to other images, and are taken away."
# The settings that decide which images are drawn; with a smaller count the first of them stay what they are.
DRAWN_BY = ("source", "generator", "seed", "classes", "files")
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}


@dataclass(frozen=True)
class Painting:
    """What is laid out: the box, the canvas, which image is on it, a note, and the buttons."""

    box: gr.Accordion
    canvas: gr.ImageEditor
    number: gr.State
    note: gr.HTML
    take: gr.Button
    forget: gr.Button
    forget_all: gr.Button


def lay_out(form: Form) -> Painting:
    """The canvas, folded in, and the form's control of masks."""
    with gr.Accordion("Where images may change", open=False, elem_id="where") as box:
        controls.html(
            '<p class="note">Paint where the image may change; elsewhere it comes back as it was. The next run keeps '
            "to it. Undo and eraser stand beside the canvas; an image without paint may change everywhere.</p>"
        )
        number = gr.State(0)
        rgba = f"rgba({COLOUR[0]}, {COLOUR[1]}, {COLOUR[2]}, {OPACITY})"
        canvas = gr.ImageEditor(
            label="Paint where it may change",
            type="numpy",
            image_mode="RGBA",
            format="png",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(colors=[rgba], default_color=rgba, color_mode="fixed"),
            eraser=gr.Eraser(),
            height=460,
            elem_id="mask-canvas",
            buttons=[],
            visible=False,  # until the box is opened: it is the largest thing that the page would fetch
        )
        note = controls.html(f'<p class="note">{HINT}</p>', elem_id="mask-note")
        with gr.Row():
            take = gr.Button("Paint on the image shown large", size="sm", elem_id="mask-take")
            forget = gr.Button("Forget this image's mask", size="sm", elem_id="mask-forget")
            forget_all = gr.Button("Forget all masks", size="sm", elem_id="mask-forget-all")
        kept = gr.File(
            label="Masks: painted above, or grey pictures of yours (001.png: the first image's)",
            file_count="multiple",
            height=140,
            elem_id="mask-files",
        )
        form.put("mask_files", plainly(kept))
    return Painting(box, canvas, number, note, take, forget, forget_all)


def connect(painting: Painting, by_name: Mapping[str, Any], run: gr.State, image: gr.Slider) -> None:
    """Let the canvas take the image shown large, and keep what is painted; other images take their masks away."""
    files = by_name["mask_files"]
    drawn_by = [by_name[name] for name in DRAWN_BY]
    given, shown = [run, image, files, *drawn_by], [painting.canvas, painting.number, painting.note]
    gr.on([painting.take.click, painting.box.expand], put_on_canvas, given, shown, **QUIET)
    painting.canvas.input(
        keep,
        [run, painting.number, painting.canvas, files, *drawn_by],
        [files, painting.note],
        trigger_mode="always_last",
        **QUIET,
    )
    painting.forget.click(forgotten, [painting.number, files], files, **QUIET).then(
        put_on_canvas, given, shown, **QUIET
    )
    painting.forget_all.click(lambda: None, None, files, **QUIET).then(put_on_canvas, given, shown, **QUIET)
    files.upload(said, files, painting.note, **QUIET)
    uploads, noted = by_name["files"], [files, painting.note]
    others = [by_name[name].input for name in ("source", "generator")]
    gr.on([*others, uploads.upload, uploads.clear, uploads.delete], dropped, files, noted, **QUIET)
    gr.on([by_name[name].input for name in ("seed", "classes")], numbered_dropped, files, noted, **QUIET)
    # Once it is let go, or left: on its way to 12 a number is 1.
    count = by_name["count"]
    count.release(numbered_dropped, [files, count], noted, **QUIET)


def draws_others(run: Run, source: str, generator: str, seed: Any, classes: Any, files: Any) -> bool:
    """Whether the settings DRAWN_BY draw other images than a run's."""
    now: dict[str, Any] = {"source": source.lower()}
    if source == GENERATOR:
        now |= {"generator": generator, "seed": seed}
        if generator_cards()[generator].conditional:
            now["classes"] = list(classes or ()) or IN_TURN
    elif source == UPLOAD:
        # Of several files those that cannot be read are left out; others may have come behind them since.
        used = run.settings.get("files", [])
        now["files"] = [name for file in files or () if (name := Path(file).name) in used]
    return any(run.settings.get(name) != value for name, value in now.items())


def put_on_canvas(run: Run, image: float, files: list[str] | None, *drawn_by: Any) -> tuple[Any, ...]:
    """The image shown large, with the paint that it has, to paint on. drawn_by: what decides the next run's images."""
    with explained():
        _, index = place_in(run, 0, image)
        picture = run.originals[index]
        factor = scale_of(picture.shape)
        background = np.repeat(np.repeat(picture, factor, 0), factor, 1)
        value: dict[str, Any] = {"background": background, "layers": [], "composite": None}
        if (path := _by_number(files).get(index + 1)) is not None:
            value["layers"] = [_paint(path, background.shape)]
        label = f"Paint where image {index + 1} may change"
        note = _note(OTHERS) if drawn_by and draws_others(run, *drawn_by) else said(files)
        return gr.update(value=value, label=label, visible=True), index + 1, note


def keep(
    run: Run, number: int, value: Mapping[str, Any] | None, files: list[str] | None, *drawn_by: Any
) -> tuple[Any, ...]:
    """What is painted on the canvas, as the mask of the image on it, where the next run has that image."""
    with explained():
        # Without a composite nothing was painted: the canvas has taken the image that it was given.
        if not 1 <= number <= len(run.originals) or not value or value.get("composite") is None:
            return gr.skip(), gr.skip()
        if drawn_by and draws_others(run, *drawn_by):
            return gr.skip(), _note(OTHERS)
        height, width = run.originals[number - 1].shape[:2]
        mask = painted(value.get("layers") or (), (height, width))
        masks = _by_number(files)
        if mask is None:
            masks.pop(number, None)
        else:
            masks[number] = saved(f"{number:03d}.png", as_png(mask))
        listed = _listed(masks)
        return listed, said(listed)


def painted(layers: Sequence[Any], size: tuple[int, int]) -> np.ndarray | None:
    """The mask (H, W) in [0, 1] that layers (h, w, 4) of paint make of an image of that size; None for no paint."""
    alpha = [np.asarray(layer)[:, :, 3].astype(np.float32) / 255 for layer in layers if layer is not None]
    if not alpha:
        return None
    together = np.clip(np.maximum.reduce(alpha) / OPACITY, 0, 1)
    whole = Image.fromarray(together, "F").resize((size[1], size[0]), Image.Resampling.BOX)
    mask = np.clip(np.asarray(whole), 0, 1)
    return mask if mask.max() >= 1 / 255 else None


def scale_of(shape: Sequence[int]) -> int:
    """How many pixels of the canvas' picture one of the image's is wide."""
    return max(1, CANVAS // max(shape[:2])) if pictures.is_small(shape) else 1


def said(files: list[str] | None) -> str:
    """Which images have a mask, as HTML."""
    numbers = sorted(_by_number(files))
    if files and not numbers:
        return _note("One mask for all images.")
    some = ", ".join(map(str, numbers))
    return _note(f"Marked: image {some}. The others may change everywhere." if numbers else HINT)


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def forgotten(number: int, files: list[str] | None) -> list[str] | None:
    """The masks without that of one image."""
    masks = _by_number(files)
    masks.pop(number, None)
    return _listed(masks)


def dropped(files: list[str] | None) -> tuple[Any, ...]:
    """No masks, where there are other images now than they were painted on."""
    if not files:
        return gr.skip(), gr.skip()
    inform(TAKEN)
    return None, said(None)


def numbered_dropped(files: list[str] | None, count: float = 0) -> tuple[Any, ...]:
    """No masks of single images, where others are drawn under their numbers; those up to `count` stay, and one for all
    images."""
    masks = _by_number(files)
    kept = {number: file for number, file in masks.items() if number <= (count or 0)}
    if len(kept) == len(masks):
        return gr.skip(), gr.skip()
    inform(TAKEN)
    return _listed(kept), said(_listed(kept))


def _by_number(files: list[str] | None) -> dict[int, str]:
    numbered = {number_in(Path(file).name): str(file) for file in files or ()}
    return {number: file for number, file in numbered.items() if number is not None}


def _listed(masks: Mapping[int, str]) -> list[str] | None:
    return [masks[number] for number in sorted(masks)] or None


def _paint(path: str, shape: Sequence[int]) -> np.ndarray:
    """A mask file as a layer of paint of a canvas' size."""
    grey = Image.fromarray(to_uint8(read_image(path).pixels)[:, :, 0])  # a stranger's file, read within the limits
    mask = grey.resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    alpha = np.rint(np.asarray(mask).astype(np.float32) * OPACITY).astype(np.uint8)
    return np.dstack([*(np.full_like(alpha, level) for level in COLOUR), alpha])
