"""A visitor's own classifier: read from the file that they sent, known to them alone, gone when they leave.

Whoever serves visitors says whose request is being answered (`visited_by`); only within it their classifier is there.
It lies in memory: its file is removed as soon as it has been read.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import re
import shlex
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bigroc_core.cards import MAX_NAME_BYTES, Card
from bigroc_core.classifiers.networks import NETWORKS, Classifier
from bigroc_core.classifiers.robustness_networks import CIFAR_RESNETS
from bigroc_core.engine.frozen import never_changes
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_OWN_CHECKPOINT_BYTES, MAX_OWN_CHECKPOINTS, MIB
from bigroc_core.messages import short
from bigroc_core.models_file import GENERATOR_PREFIX, ModelEntry, added_models, entry_options

_VISITOR: ContextVar[str] = ContextVar("visitor", default="")
# What a checkpoint is called.
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_lock = threading.Lock()


@dataclass(eq=False)
class OwnClassifier:
    """A visitor's classifier. entry: what they said of it; its source is the file's name as they have it. number: of
    their files, from 1. seconds: that a step of an image took here. timer: looks whether it is still used."""

    entry: ModelEntry
    number: int
    on: dict[str, Classifier] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    seconds: float | None = None
    timer: threading.Timer | None = None

    @property
    def name(self) -> str:
        """By which it is chosen."""
        return self.entry.name

    @property
    def card(self) -> Card:
        """What is known of it."""
        return self.on["cpu"].card

    def to(self, device: torch.device | str | None) -> Classifier:
        """The classifier on a device; not to be changed."""
        place = str(device or "cpu")
        if place not in self.on:
            self.on[place] = copy.deepcopy(self.on["cpu"]).to(place)
            never_changes(self.on[place])
        return self.on[place]


_OWN: dict[str, OwnClassifier] = {}


@contextlib.contextmanager
def visited_by(visitor: str) -> Iterator[None]:
    """Within it, that visitor's own classifier is known. visitor: what nobody else can guess, "" for nobody."""
    before = _VISITOR.set(visitor)
    try:
        yield
    finally:
        _VISITOR.reset(before)


def own_classifier(name: str | None = None) -> OwnClassifier | None:
    """The classifier of the visitor who is answered, if there is one and it has this name."""
    own = _OWN.get(_VISITOR.get())
    if own is None or name not in (None, own.name):
        return None
    own.used = time.monotonic()
    return own


def architectures() -> list[str]:
    """What a file of a visitor may hold: the networks trained here, the `robustness` library's and torchvision's."""
    from torchvision import models

    return [*NETWORKS, *CIFAR_RESNETS, *models.list_models(module=models)]


def read_own_classifier(path: Path, entry: ModelEntry, read: Callable[[ModelEntry], Classifier]) -> OwnClassifier:
    """Read the classifier of the visitor who is answered, in place of the one before, and remove its file.

    entry: its source is overwritten by the path. read: loads what an entry describes. Raises ValueError, one line, for
    a file that is too large, which is not opened, or is refused by the reader, an architecture that is not listed, and
    where there is no room or nobody to keep it for.
    """
    if path.suffix.lower() not in SUFFIXES:  # and is left where it is: what else the page keeps might be meant
        raise ValueError(f"{short(path.name)} is no checkpoint by its name: it must end in {', '.join(SUFFIXES)}")
    try:
        return _read(path, entry, read)
    finally:
        path.unlink(missing_ok=True)


def _read(path: Path, entry: ModelEntry, read: Callable[[ModelEntry], Classifier]) -> OwnClassifier:
    visitor = _VISITOR.get()
    if not visitor:
        raise ValueError("a checkpoint is kept for as long as its visitor is there: call this with a session")
    if not path.is_file():
        raise ValueError(f"{path.name} is no longer here: upload it again")
    if (size := path.stat().st_size) > MAX_OWN_CHECKPOINT_BYTES:
        most = MAX_OWN_CHECKPOINT_BYTES // MIB
        raise ValueError(
            f"{path.name} has {size / MIB:,.0f} MiB, and a checkpoint may have {most} here: save it smaller"
        )
    if not re.fullmatch(r"[\w .()+-]+", path.name) or len(path.name.encode()) > MAX_NAME_BYTES:
        raise ValueError("the file's name must be letters, digits, dots, dashes and blanks: rename it")
    if entry.arch not in architectures():
        raise ValueError(f"the architecture must be one of the list, not {short(entry.arch)}")
    with _lock:
        former = _drop(visitor)
        if len(_OWN) >= MAX_OWN_CHECKPOINTS:
            raise ValueError(
                f"{MAX_OWN_CHECKPOINTS} checkpoints of other visitors are here already: come back when one of them "
                "has left"
            )
        number = former.number + 1 if former else 1
        name = path.name if number == 1 else f"{path.name} ({number})"
        classifier = _loaded(path, dataclasses.replace(entry, name=name), read)
        card = dataclasses.replace(classifier.card, title=f"{name} (your own file)", source=path.name)
        classifier.card = card
        never_changes(classifier)
        told = dataclasses.replace(entry, name=name, source=path.name, classes=len(card.classes))
        own = _OWN[visitor] = OwnClassifier(told, number, {"cpu": classifier})
    _look_again(visitor, own, KEEP_FILES_SECONDS)
    return own


def _loaded(path: Path, entry: ModelEntry, read: Callable[[ModelEntry], Classifier]) -> Classifier:
    """What the file holds; its path, which is the server's affair, stands in no message."""
    try:
        return read(dataclasses.replace(entry, source=str(path)))
    except (ValueError, OSError) as error:
        said = str(error) if isinstance(error, ValueError) else f"{path.name} cannot be read: {error.strerror}"
        raise ValueError(said.replace(str(path), path.name)) from None
    except RuntimeError as error:  # of torch, for memory
        raise ValueError(f"{path.name} cannot be computed with here: {str(error).splitlines()[0][:200]}") from None


def forget_own_classifier() -> None:
    """The visitor who is answered leaves, and their classifier goes."""
    with _lock:
        _drop(_VISITOR.get())


def _drop(visitor: str) -> OwnClassifier | None:
    former = _OWN.pop(visitor, None)
    if former is not None and former.timer is not None:
        former.timer.cancel()
    return former


def _look_again(visitor: str, own: OwnClassifier, seconds: float) -> None:
    """Of a visitor whose leaving nobody hears of, it goes after an hour without use."""
    still = weakref.ref(own)  # so that waiting keeps nothing

    def look() -> None:
        with _lock:
            waited_for = still()
            if waited_for is None or _OWN.get(visitor) is not waited_for:
                return
            left = waited_for.used + KEEP_FILES_SECONDS - time.monotonic()
            if left <= 0:
                _drop(visitor)
            else:
                _look_again(visitor, waited_for, left)

    own.timer = threading.Timer(seconds, look)
    own.timer.daemon = True
    own.timer.start()


# ------------------------------------------------------------------------------------------- how it is said elsewhere


def loading(name: str) -> str:
    """Python that loads a classifier by this name; one that is known here alone, by what was said of it."""
    entry = _known_here(name)
    if entry is None:
        return f'bc.load_classifier("{name}")'
    fields = ("arch", "classes", "class_names", "mean", "std", "input_size")
    said = {field: getattr(entry, field) for field in fields if getattr(entry, field) is not None}
    given = "".join(f", {option}={value!r}" for option, value in said.items())
    return f"bc.load_classifier({entry.source!r}{given})"


def loading_generator(name: str) -> str:
    """Python that loads a generator by this name, as `loading` does."""
    entry = added_models("generator").get(name)
    return f'bc.load_generator("{name}")' if entry is None else f"bc.load_generator({entry.source!r})"


def shell(words: Sequence[object]) -> str:
    """A command of these words; where they name a model that is known here alone, it takes what that was made from, and
    says what was said of it. Of a visitor's own classifier it says that it is one."""
    texts, own, described = list(map(str, words)), own_classifier(), list[str]()
    for name in dict.fromkeys(texts):
        entry = _known_here(name)
        if entry is not None:
            described = described or entry_options(entry)[2:]
            texts = [entry.source if text == name else text for text in texts]
    for name, entry in added_models("generator").items():
        made_from = {name: entry.source, f"{GENERATOR_PREFIX}{name}": f"{GENERATOR_PREFIX}{entry.source}"}
        texts = [made_from.get(text, text) for text in texts]
    command = shlex.join([*texts, *described])
    if own is not None and own.name in map(str, words):
        return f"{command}  # {said_of_own(own)}"
    return command


def _known_here(name: str) -> ModelEntry | None:
    """What is known of a classifier that a visitor sent, or whoever runs this program gave to it."""
    own = own_classifier(name)
    if own is None:
        return added_models("classifier").get(name)
    return dataclasses.replace(own.entry, input_size=own.card.input_size)


def said_of_own(own: OwnClassifier) -> str:
    """That it is the visitor's own file, for whoever reads a run's settings."""
    return f"{own.entry.source} is your own file, {own.entry.arch}: it has to be where this runs"


def told_of_own(settings: dict[str, Any]) -> dict[str, str]:
    """What a run's settings say besides, where they name the visitor's own classifier."""
    own = own_classifier()
    named = own is not None and json.dumps(own.name) in json.dumps(settings)
    return {"own_checkpoint": said_of_own(own)} if own is not None and named else {}
