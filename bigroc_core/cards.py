"""Model cards: everything the code knows about a checkpoint stands in the JSON beside it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a classifier or generator checkpoint.

    kind: "classifier" or "generator". input_size: (height, width) in pixels. mean, std: per-channel preprocessing in
    [0, 1] units. training, metrics, presets: free-form JSON (recipe and command; values with the command that measured
    them; boosting settings by name). l0: P2 Eq. 14's reference value, a number or one per class, for joint models.
    """

    name: str
    kind: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    input_size: tuple[int, int] = (32, 32)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    conditional: bool = False
    title: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    presets: dict[str, Any] = field(default_factory=dict)
    l0: float | tuple[float, ...] | None = None
    license: str = ""
    source: str = ""

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"


_TUPLES = ("classes", "input_size", "mean", "std")


def read_card(path: Path) -> Card:
    """Read a card; ValueError names the file and what is wrong with it."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the card {path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"the card {path} is not a JSON object")
    known = {f.name for f in dataclasses.fields(Card)}
    if unknown := sorted(set(entries) - known):
        raise ValueError(f"the card {path} has unknown entries {unknown}; known: {sorted(known)}")
    if missing := [key for key in ("name", "kind", "architecture") if key not in entries]:
        raise ValueError(f"the card {path} lacks {missing}")
    for key in _TUPLES:
        if key in entries:
            entries[key] = tuple(entries[key])
    if isinstance(entries.get("l0"), list):
        entries["l0"] = tuple(entries["l0"])
    return Card(**entries)
