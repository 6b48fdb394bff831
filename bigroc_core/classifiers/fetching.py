"""Classifiers of the Hugging Face Hub: described before they are here, and fetched while somebody watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from queue import Empty, Queue
from threading import Thread

from bigroc_core.cards import Card
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.classifiers.published import hub_file, hub_place, is_cached
from bigroc_core.images.wordnet import imagenet_classes
from bigroc_core.models_file import model_entries

TELL_SECONDS = 0.5


@lru_cache(maxsize=1)
def hub_cards() -> dict[str, Card]:
    """Cards of the Hub's classifiers that are known by name, told without fetching them."""
    names = tuple(name for _, name in imagenet_classes())
    return {
        name: Card(
            name=name,
            kind="classifier",
            architecture=entry.architecture,
            classes=names,
            input_size=(224, 224),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            title=entry.title,
            data="ImageNet",
            source=f"huggingface.co/{entry.repo}",
            robust=entry.robust,
            sizes="any",
        )
        for name, entry in HUB_CLASSIFIERS.items()
    }


def place_on_hub(name: str) -> tuple[str, str] | None:
    """The repository and file of a classifier on the Hub by its name here; None where it is of elsewhere."""
    entry = model_entries("classifier").get(name)
    source = name if entry is None else entry.source
    if source in HUB_CLASSIFIERS:
        return HUB_CLASSIFIERS[source].repo, HUB_CLASSIFIERS[source].file
    return hub_place(source) if source.startswith("hub:") else None


def is_here(name: str) -> bool:
    """Whether a classifier needs no fetching."""
    place = place_on_hub(name)
    return place is None or is_cached(*place)


def fetched(name: str) -> Iterator[tuple[int, int]]:
    """Fetch a classifier from the Hub; yields (bytes so far, all of them, 0 where that is not known yet).

    Raises ConnectionError, saying what was wanted and from where, if it cannot be fetched.
    """
    place = place_on_hub(name)
    if place is None or is_cached(*place):
        return
    told: Queue[tuple[int, int] | None] = Queue()
    failed: list[Exception] = []

    def work() -> None:
        try:
            hub_file(*place, name, lambda done, total: told.put((done, total)))
        except Exception as error:
            failed.append(error)
        told.put(None)

    Thread(target=work, name="fetching", daemon=True).start()
    reached: tuple[int, int] | None = (0, 0)
    while reached is not None:
        yield reached
        reached = told.get()
        until = time.monotonic() + TELL_SECONDS
        # Only the newest counts.
        with suppress(Empty):
            while reached is not None:
                reached = told.get(timeout=max(0.0, until - time.monotonic()))
    if failed:
        raise failed[0]
