"""What a boosting run is downloaded as: its images, numbers and settings, under one scheme of names."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

import bigroc_core
from bigroc_core.cards import checkpoint_hash
from bigroc_core.catalogue import classifier_cards, classifier_named, compute_device
from bigroc_core.classifiers.own import own_classifier, told_of_own
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.masks import files_of
from bigroc_core.files import csv_bytes, one_line_each, zipped
from bigroc_core.images import encode_png, from_uint8

# Kept of a hash: enough to tell files apart.
HASH_CHARACTERS = 16


class Targeted(Protocol):
    """Images that each have a target: the classes' names, and the targets (N,) by number."""

    classes: tuple[str, ...]

    @property
    def targets(self) -> np.ndarray:
        """(N,)."""
        ...


def file_names(run: Targeted) -> list[str]:
    """NUMBER-CLASS.png of each image; the number, from 1, is that of the page and of results.csv."""
    digits = max(3, len(str(len(run.targets))))
    return [f"{number:0{digits}d}-{run.classes[y]}.png" for number, y in enumerate(run.targets, 1)]


def archive(run: Run) -> bytes:
    """A zip of original/NAME.png, boosted/NAME.png, masks/NAME.png where there are masks, results.csv and
    settings.json; always the same bytes."""
    frame, names = len(run.frames) - 1, file_names(run)
    files = [
        (f"{folder}/{name}", encode_png(from_uint8(picture)))
        for folder, pictures in (("original", run.originals), ("boosted", run.frames[frame]))
        for name, picture in zip(names, pictures, strict=True)
    ]
    if run.masks is not None:
        files += files_of(run.masks, run.originals, names)
        labels = [[name, run.classes[y]] for name, y in zip(names, run.targets, strict=True)]
        files.append(("original/labels.csv", csv_bytes([["file", "label"], *labels])))
    table = [["file", "came as", *run.headers]]
    table += [[name, came, *row] for name, came, row in zip(names, run.names, run.rows(frame), strict=True)]
    return zipped([*files, ("results.csv", csv_bytes(table)), ("settings.json", settings_json(run).encode())])


def settings_json(run: Run) -> str:
    """The run's settings as JSON, with what they were carried out by: the program's version and the models' weights."""
    stopped = {} if run.finished else {"cancelled_after_step": run.steps[-1]}
    return one_line_each(run.settings | stopped | made_with(run.settings))


def made_with(settings: dict[str, Any]) -> dict[str, Any]:
    """The program's version, and the beginning of SHA-256 of the weights of the models that settings name: of the file
    where one comes along, else of the tensors."""
    names = [settings[name] for name in ("classifier", "generator") if name in settings]
    own = {name for name in names if own_classifier(name)}
    hashes = {name: _fresh_hash(name) if name in own else _hash(name) for name in names}
    weights = {name: known for name, known in hashes.items() if known}
    return {"version": bigroc_core.__version__, "weights": weights} | told_of_own(settings)


@lru_cache(maxsize=64)
def _hash(name: str) -> str:
    return _fresh_hash(name)


def _fresh_hash(name: str) -> str:
    known = checkpoint_hash(name)
    if known is None and name in classifier_cards():
        digest = hashlib.sha256()
        for key, tensor in classifier_named(name, compute_device()).state_dict().items():
            digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        known = digest.hexdigest()
    return (known or "")[:HASH_CHARACTERS]
