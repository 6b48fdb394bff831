"""The Generators tab: those that come along, with samples, quality and cost, and the road from any other's weights."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from html import escape
from itertools import groupby
from typing import Any

import gradio as gr
import numpy as np

from bigroc_core.cards import Card, weights_of
from bigroc_core.catalogue import generator_cards
from bigroc_core.generators.cost import SamplingCost, sampling_cost
from bigroc_core.generators.registry import load_generator
from bigroc_core.generators.systems import ROADS, SYSTEMS, System, system_of
from bigroc_core.images import to_uint8
from bigroc_core.limits import MIB
from bigroc_core.messages import in_words
from bigroc_core.norms import NORMS
from bigroc_core.ui import controls, pictures

ROWS, COLUMNS = 4, 10
SEED = 0

INTRODUCTION = (
    f'<p class="note">The generators that come along. Samples are the first of seed {SEED} as the generator drew them, '
    "not chosen and not boosted. A Fréchet distance is in the features of the network it names: it compares with "
    "others of that network alone, never with a published FID.</p>"
)


@dataclass(frozen=True)
class Sheet:
    """Samples of a generator and what drawing them took.

    pixels: (ROWS·H, columns·W, 3) uint8; a conditional generator has a class per column. milliseconds: per image, on
    this machine's processor.
    """

    pixels: np.ndarray
    columns: int
    cost: SamplingCost
    milliseconds: float


@lru_cache(maxsize=32)
def sheet_of(name: str) -> Sheet:
    """An embedded generator's sheet, drawn once; ValueError if its checkpoint cannot be read."""
    # Not the generator that others draw with: what they draw meanwhile would be counted, too.
    generator = load_generator(name)
    cost = sampling_cost(generator)
    columns = column_count(generator.card)
    labels = list(range(columns)) * ROWS if generator.classes else None
    began = time.perf_counter()
    images, _ = generator.sample(ROWS * columns, labels, seed=SEED)
    block = generator.sampler.block
    drawn = -(-len(images) // block) * block
    milliseconds = 1e3 * (time.perf_counter() - began) / drawn
    grid = to_uint8(images).reshape(ROWS, columns, *generator.card.input_size, 3)
    height, width = generator.card.input_size
    pixels = grid.transpose(0, 2, 1, 3, 4).reshape(ROWS * height, columns * width, 3)
    return Sheet(np.ascontiguousarray(pixels), columns, cost, milliseconds)


def column_count(card: Card) -> int:
    """How many images a row of the sheet has: one per class, if there are not too many."""
    return min(len(card.classes), COLUMNS) if card.conditional else COLUMNS


# ------------------------------------------------------------------------------------------------ what cards say


def family_of(card: Card) -> str | None:
    """The family of `train generator` that a card's recipe names."""
    family = card.training.get("recipe", {}).get("family")
    return family if isinstance(family, str) else None


def quality(card: Card) -> dict[str, Any] | None:
    """Fréchet distance before and after boosting as `evaluate --write-card` wrote it; None if it was not measured."""
    measured = card.metrics.get("evaluate", {})
    try:
        distances = [[s for s in row["scores"] if s["metric"] == "distance"] for row in measured["rows"][:2]]
        before, after = distances[0][0], distances[1][0]
        config = measured["config"]
        return {
            "before": float(before["mean"]),
            "after": float(after["mean"]),
            "gain": float(after["gain"]["mean"]),
            "reference": str(before["reference"]),
            "features": str(measured["distances_and_errors_of"]),
            "count": int(measured["count"]),
            "seeds": len(measured["seeds"]),
            "eps": float(config["eps"]),
            "steps": int(config["steps"]),
        }
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def describe(card: Card) -> dict[str, Any]:
    """All that the tab says of a generator, its samples aside; draws them if that was not done yet."""
    system = system_of(family_of(card) or "")
    cost = sheet_of(card.name).cost
    return {
        "name": card.name,
        "title": card.title,
        "family": family_of(card),
        "network": card.architecture,
        "stands_for": f"{system.table}, {system.name}" if system else None,
        "classes": list(card.classes),
        "size": list(card.input_size),
        "checkpoint_bytes": checkpoint_bytes(card),
        **asdict(cost),
        "preset": card.presets.get("default"),
        "quality": quality(card),
    }


def checkpoint_bytes(card: Card) -> int:
    """The size of what holds the weights."""
    return sum(path.stat().st_size for path in weights_of(card.name))


def generators() -> list[dict[str, Any]]:
    """List the generators: family, row of the papers' tables, Fréchet distance before and after boosting in the
    features of the network it names (null if not measured), parameters, bytes of the checkpoint, multiply-adds and
    network evaluations per image, and the settings they are best boosted with.
    """
    return [describe(card) for card in generator_cards().values()]


# --------------------------------------------------------------------------------------------------------- HTML


def cards(drawn: bool) -> str:
    """A card per generator. drawn: with samples and cost; without, the same size and still empty."""
    return f'<div class="makers">{"".join(_card(card, drawn) for card in generator_cards().values())}</div>'


def _card(card: Card, drawn: bool) -> str:
    sheet, problem = None, ""
    if drawn:
        try:
            sheet = sheet_of(card.name)
        except ValueError as error:
            problem = f'<p class="note warn">{escape(str(error))}</p>'
    kind = f"class-conditional, {len(card.classes)} classes" if card.conditional else "unconditional"
    return (
        f'<article class="maker"><h3>{escape(card.title or card.name)}<small>{escape(card.name)} · {kind} · '
        f"{card.input_size[0]}×{card.input_size[1]} px</small></h3>{_samples(card, sheet)}{problem}"
        f'<div class="facts">{_origin(card)}{_quality(card)}{_cost(card, sheet)}{_preset(card)}</div></article>'
    )


def _samples(card: Card, sheet: Sheet | None) -> str:
    columns = column_count(card)
    height, width = card.input_size
    named = "one class per column" if card.conditional else "unconditional"
    image = pictures.picture(sheet.pixels, f"{ROWS * columns} samples of {card.name}, {named}") if sheet else ""
    image = image.replace('class="photo"', 'class="px"')  # a large picture of small ones
    named_columns = card.classes[:columns] if card.conditional else ()
    heads = "".join(f"<span>{escape(in_words(name))}</span>" for name in named_columns)
    return (
        f'<div class="sheet" style="--columns:{columns}"><div class="heads" aria-hidden="true">{heads}</div>'
        f'<div class="shown" style="aspect-ratio:{columns * width}/{ROWS * height}">{image}</div></div>'
    )


def _fact(label: str, value: str, detail: str) -> str:
    return f"<div><small>{label}</small><b>{value}</b><small>{detail}</small></div>"


def _origin(card: Card) -> str:
    family, system = family_of(card), system_of(family_of(card) or "")
    row = f"{system.table}, {escape(system.name)}" if system else "no row of a table"
    return _fact("stands for", row, f"family {escape(family or 'unknown')}, network {escape(card.architecture)}")


def _quality(card: Card) -> str:
    found = quality(card)
    if found is None:
        return _fact("Fréchet distance, boosted", "not measured", f"evaluate generator:{escape(card.name)} measures it")
    sign = "nearer" if found["gain"] >= 0 else "farther"
    return _fact(
        f"Fréchet distance to {escape(found['reference'])}",
        f"{found['before']:.2f} → {found['after']:.2f}",
        f"boosted {100 * abs(found['gain']):.1f} % {sign}; {escape(found['features'])}'s features, "
        f"{found['seeds']} × {found['count']:,} images, ε {found['eps']:g}",
    )


def _cost(card: Card, sheet: Sheet | None) -> str:
    size = f"{checkpoint_bytes(card) / MIB:.1f} MiB checkpoint"
    if sheet is None:
        # As wide as what will stand there, so that it breaks into the same lines.
        return _fact("network", "–.–– M parameters", size) + _fact(
            "an image takes", "–.–––– GMAC", "– evaluation, –.– ms here"
        )
    evaluations = f"{sheet.cost.evaluations} evaluation{'s' if sheet.cost.evaluations > 1 else ''}"
    billions = sheet.cost.macs / 1e9
    macs = f"{billions:.3g}" if billions >= 0.001 else "&lt;0.001"
    return _fact("network", f"{sheet.cost.parameters / 1e6:.2f} M parameters", size) + _fact(
        "an image takes", f"{macs} GMAC", f"{evaluations}, {sheet.milliseconds:.2g} ms here"
    )


def _preset(card: Card) -> str:
    preset = card.presets.get("default")
    if not preset or "eps" not in preset:
        return _fact("best boosted with", "not known", f"sweep generator:{escape(card.name)} finds it")
    norm = str(preset.get("norm", "l2"))
    norm = NORMS[norm].title if norm in NORMS else ""
    how = f"{norm}, {preset.get('source', 'given')}"
    through = f", through {preset['classifier']}" if preset.get("classifier") else ""
    value = f"ε {preset['eps']:g}, T {preset.get('steps', '?')}"
    return _fact("best boosted with", escape(value), escape(how + through))


def systems() -> str:
    """Every system of the two papers by road, each with the command that boosts it."""
    body = ""
    for road, members in groupby(sorted(SYSTEMS, key=lambda system: list(ROADS).index(system.road)), lambda s: s.road):
        body += (
            f'<tbody><tr><th colspan="3" scope="rowgroup">{escape(road)}<small>{escape(ROADS[road])}</small></th></tr>'
        )
        body += "".join(map(_system, members)) + "</tbody>"
    return (
        '<h3 class="roads-title">The systems of the papers, and your own</h3><p class="note">Find the row nearest to '
        "your generator: its command boosts its weights, or its images. A preset is the paper's own setting. P1 is "
        "BIGRoC, P2 the joint classifier–discriminator.</p>"
        f'<table class="roads"><thead><tr><th scope="col">system</th><th scope="col">row</th>'
        f'<th scope="col">command</th></tr></thead>{body}</table>'
    )


def _system(system: System) -> str:
    command = system.command
    own = next((name for name, card in generator_cards().items() if family_of(card) == system.family), None)
    # A line is broken between words, never at the hyphens of an option.
    words = " ".join(f"<span>{escape(word)}</span>" for word in command.split())
    also = f"<small>of this family here: {escape(own)}</small>" if own and own not in command else ""
    return (
        f'<tr><th scope="row">{escape(system.name)}{also}</th><td>{escape(system.table)}</td>'
        f"<td><code>{words}</code></td></tr>"
    )


def show() -> str:
    """The cards with samples and cost, drawn when they are first wanted."""
    return cards(drawn=True)


def build(tab: gr.Tab) -> None:
    """Lay the tab out; what takes computing is filled in once it is opened, in places kept for it."""
    controls.html(INTRODUCTION)
    shown = controls.html(cards(drawn=False), elem_id="makers", label="Generators")
    controls.html(systems(), elem_id="roads", label="Systems")
    # It draws for a moment only, so it waits in no queue.
    tab.select(
        show,
        None,
        shown,
        api_name="show_generators",
        api_visibility="undocumented",
        queue=False,
        show_progress="hidden",
    )
    gr.api(generators, api_name="generators", queue=False)
