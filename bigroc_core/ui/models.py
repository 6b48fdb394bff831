"""What the page says of the classifier that is chosen: its facts, and what a step costs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from threading import Lock
from typing import Any

from bigroc_core.cards import Card
from bigroc_core.catalogue import classifier_cards, is_control
from bigroc_core.classifiers.fetching import fetched, is_here
from bigroc_core.classifiers.own import own_classifier
from bigroc_core.experiments.boost import Run
from bigroc_core.limits import MIB
from bigroc_core.ui.errors import readable
from bigroc_core.ui.pictures import progress

# Seconds of one step of one image, by classifier, as the last run on this server took them.
_SECONDS: dict[str, float] = {}
_lock = Lock()
EXPECT_NOISE = "expect noise, not features"


def note_cost(run: Run) -> None:
    """Remember what a finished run's steps took."""
    steps = len(run.targets) * (run.steps[-1] if run.steps else 0)
    if steps and run.stepping:
        name, own = run.settings["classifier"], own_classifier(run.settings["classifier"])
        with _lock:
            if own is not None:
                own.seconds = run.stepping / steps
            elif name in classifier_cards():  # and not a visitor's that has left
                _SECONDS[name] = run.stepping / steps


def facts(classifier: str) -> str:
    """A line of facts of a classifier, as HTML; nothing for one that is not offered here."""
    card = classifier_cards().get(classifier)
    if card is None:
        return ""
    said = [classes_said(card), sizes_said(card), robust_said(card), cost_said(classifier)]
    if not is_here(classifier):
        said[-1] = "fetched from the Hub when first used"
    warned = f'<p class="note warn">Not robust: {EXPECT_NOISE}.</p>' if card.robust is False else ""
    return f'<p class="note model">{" · ".join(said)}</p>{warned}'


def fetch(classifier: str) -> Iterator[str]:
    """Fetch a classifier of the Hub that is not here yet, saying how far it is; ends with its facts, or with why it
    cannot be had, as HTML."""
    if classifier not in classifier_cards() or is_here(classifier):
        yield facts(classifier)
        return
    try:
        for done, total in fetched(classifier):
            size = f"{done / MIB:.0f} of {total / MIB:.0f} MB" if total else "asking the Hub"
            yield progress(done, max(total, done, 1), f"Fetching {escape(classifier)}: {size}") + facts(classifier)
    except (ValueError, OSError) as error:
        embedded = next(iter(classifier_cards()))
        why = f"{readable(str(error))}; {embedded}, which is here, serves instead"
        yield f'<p class="note warn" role="alert">{escape(why)}.</p>{facts(classifier)}'
    else:
        yield facts(classifier)


def said_of_run(settings: Mapping[str, Any]) -> str:
    """Whose images a result is of, and through which classifier, in a few words, as HTML."""
    images = settings.get("generator") or {"upload": "uploaded", "examples": "examples"}.get(settings.get("source", ""))
    return f" · {escape(f'{images}, ' if images else '')}through {titled(settings['classifier'])}"


def titled(classifier: str) -> str:
    """A classifier by its title, as HTML."""
    card = classifier_cards().get(classifier)
    return escape((card.title if card else "") or classifier)


def all_classes(cards: Mapping[str, Card]) -> tuple[str, ...]:
    """The classes of any of these models."""
    return tuple(dict.fromkeys(name for card in cards.values() for name in card.classes))


def classes_said(card: Card) -> str:
    """How many classes, and the first of them."""
    count = len(card.classes)
    if not count:
        return "classes not known"
    return f'<span title="{escape(", ".join(card.classes[:40]), quote=True)}">{count:,} classes</span>'


def sizes_said(card: Card) -> str:
    """What size of images it was made for."""
    return f"made for {card.input_size[0]}×{card.input_size[1]}"


def robust_said(card: Card) -> str:
    """Whether it is robust, as its card has it."""
    if card.robust is None:
        return "robust? its card does not say: it is tried on your images"
    return "robust" if card.robust else "not robust, to compare with" if is_control(card) else "not robust"


def cost_said(classifier: str) -> str:
    """What a step costs here, from the last run."""
    own = own_classifier(classifier)
    seconds = _SECONDS.get(classifier) if own is None else own.seconds
    if seconds is None:
        return "a step's cost shows after a run"
    return f"{f'{seconds:.2g} s' if seconds >= 1 else f'{1e3 * seconds:.3g} ms'} per image and step here"
