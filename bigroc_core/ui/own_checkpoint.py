"""A visitor's own classifier, where the host allows it: sent as a file, offered to them alone, gone when they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, compute_device
from bigroc_core.checks import whole
from bigroc_core.classifiers import own
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import classifier_of_entry
from bigroc_core.limits import (
    KEEP_FILES_SECONDS,
    MAX_OWN_CHECKPOINT_BYTES,
    MAX_OWN_SIDE,
    MAX_UPLOAD_BYTES,
    MIB,
)
from bigroc_core.messages import short
from bigroc_core.models_file import MAX_CLASSES, ModelEntry
from bigroc_core.sources import classifier_choices
from bigroc_core.ui import controls, models
from bigroc_core.ui.errors import explained, refusal
from bigroc_core.ui.values import plainly

NOT_ALLOWED = "this host takes no checkpoints of visitors: it would be started with --allow-checkpoints"
MAX_NAMES = 200_000
# What the box holds, where the server has it still: what was read, or refused by its contents, is gone.
STILL_THERE_JS = "async (held) => held && (await fetch(held.url, { method: 'HEAD' })).ok ? held : null"
HINT = (
    f'<p class="note">Safetensors, or a state dict of torch.save: tensors alone, up to '
    f"{MAX_OWN_CHECKPOINT_BYTES // MIB} MiB. It is offered to you alone, and deleted when you leave this page, after "
    f"{KEEP_FILES_SECONDS // 60} minutes without use, or with your next file.</p>"
)


def entry_of(arch: str | None, classes: float | None, input_size: float | None, names: str | None) -> ModelEntry:
    """What a visitor says of their file; ValueError names the field that is wrong."""
    size = None
    if input_size:  # a browser sends 0 for an empty box
        side = whole(input_size, "the input size", 1, MAX_OWN_SIDE[compute_device()])
        size = (side, side)
    count = None if not classes else whole(classes, "the number of classes", 2, MAX_CLASSES)
    listed = tuple(name.strip() for name in (names or "")[:MAX_NAMES].replace("\n", ",").split(",") if name.strip())
    if listed and count not in (None, len(listed)):
        raise ValueError(f"there are {len(listed)} class names, and {count} classes: give one for each")
    if not arch:
        raise ValueError("choose the architecture of your file first")
    return ModelEntry(
        name="", kind="classifier", source="", arch=arch, classes=count, class_names=listed or None, input_size=size
    )


def load(entry: ModelEntry) -> Classifier:
    """The classifier of an entry, on the CPU; ValueError for a name that another has, and as the readers say it."""
    if entry.name in classifier_cards():
        raise ValueError(f"{entry.name} is the name of a classifier here: rename your file")
    return classifier_of_entry(entry)


def lay_out(allowed: bool) -> Callable[[Sequence[Any]], None]:
    """The box that takes a file, which shows where the host allows it; returns what connects it once all controls that
    name classifiers are there."""
    with gr.Accordion("Your own checkpoint", open=False, visible=allowed, elem_id="own-checkpoint"):
        file = plainly(gr.File(label="Checkpoint", file_types=list(own.SUFFIXES), height=120, elem_id="own-file"))
        arch = gr.Dropdown(
            own.architectures() if allowed else [],
            value=None,
            label="Architecture",
            info="Its network, found by typing.",
            allow_custom_value=True,
            elem_id="own-arch",
        )
        with gr.Row():
            classes = gr.Number(0, label="Number of classes", info="0: as many as the file has.", min_width=120)
            size = gr.Number(0, label="Input size", info="Pixels. 0: as usual.", min_width=120)
        names = gr.Textbox(label="Class names", info="In order, with commas between; may stay empty.", max_lines=4)
        take = gr.Button("Use this checkpoint", elem_id="own-use")
        said = controls.html(HINT, elem_id="own-said", label="What is known of it")

    def own_checkpoint(
        file: str | None, arch: str | None, classes: float | None, input_size: float | None, class_names: str | None
    ) -> str:
        """Offer a classifier of one's own, to this session alone, by its file's name; what is known of it, as HTML.

        Args:
            file: Safetensors, or a state dict of torch.save: tensors alone.
            arch: Its architecture, as resnet18, cifar_resnet18 or one of torchvision's.
            classes: How many classes it must have; 0: as many as it has.
            input_size: The side of its images in pixels; 0: as its architecture usually has it.
            class_names: In the order of its outputs, with commas between; may be empty.
        """
        with explained():
            if not allowed:
                raise ValueError(NOT_ALLOWED)
            if not file:
                raise ValueError("choose a file first: no checkpoint has been uploaded")
            told = entry_of(
                short(arch) if arch and not isinstance(arch, str) else arch, classes, input_size, class_names
            )
            made = own.read_own_classifier(Path(file), told, load)
            notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in made.to("cpu").notes)
            ready = f'<p class="note"><b>{escape(made.name)}</b> is among the classifiers of all tabs now.</p>'
            return ready + models.facts(made.name) + notes

    inputs: list[Any] = [file, arch, classes, size, names]
    named: dict[str, Any] = {"api_name": "own_checkpoint", "concurrency_limit": 1}
    taken = take.click(own_checkpoint, inputs, said, show_progress_on=said, **named)

    def connect(choosing: Sequence[Any]) -> None:
        def offer() -> list[Any]:
            return [gr.update(choices=classifier_choices()) for _ in choosing]

        quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        # After a refusal, too: the one before has gone.
        for ended in (taken.success, taken.failure):
            if allowed:
                ended(offer, None, list(choosing), **quiet)
            ended(None, file, file, js=STILL_THERE_JS, api_visibility="private")

    return connect


def know_visitors(page: gr.Blocks, allowed: bool) -> None:
    """Answer each visitor with their own classifier among the others, and forget it when they leave."""
    if not allowed:
        return
    answered = page.process_api

    async def process_api(*given: Any, **named: Any) -> dict[str, Any]:
        with own.visited_by(
            str(named.get("session_hash") or getattr(named.get("request"), "session_hash", None) or "")
        ):
            return await answered(*given, **named)

    page.process_api = process_api  # type: ignore[method-assign]
    page.unload(own.forget_own_classifier)
    for block in page.blocks.values():
        if isinstance(block, gr.File) and block.elem_id != "own-file":
            _limit(block)


def _limit(box: gr.File) -> None:
    """Keep other uploads to their own limit, which Gradio knows one of for all."""
    own_preprocess = box.preprocess

    def preprocess(payload: Any) -> Any:
        read = own_preprocess(payload)
        for path in map(str, read if isinstance(read, list) else [read] if read else []):
            if Path(path).stat().st_size > MAX_UPLOAD_BYTES:
                raise refusal(f"{Path(path).name} is larger than {MAX_UPLOAD_BYTES // MIB} MiB, the most that is taken")
        return read

    box.preprocess = preprocess  # type: ignore[method-assign]
