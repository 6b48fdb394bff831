"""Model cards: everything the code knows about a checkpoint stands in the JSON beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigroc_core.checks import MAX_L0
from bigroc_core.files import read_json
from bigroc_core.messages import printable
from bigroc_core.places import CHECKPOINTS as CHECKPOINTS

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a classifier or generator checkpoint.

    kind: "classifier" or "generator". input_size: (height, width) in pixels. mean, std: per-channel preprocessing in
    [0, 1] units. training, metrics, presets: free-form JSON (recipe and command; values with the command that measured
    them; boosting settings by name). l0: P2 Eq. 14's reference value, a number or one per class, for joint models.
    role: what a classifier is for: it "boosts", is the not robust "control" that is boosted through to compare, or is a
    "judge", which only measures. robust: whether it was trained against attacks, None where that is not known. sizes:
    whether its network takes images of "any" size or of "one", None where that is not known.
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
    role: str = "boosts"
    robust: bool | None = None
    sizes: str | None = None

    def preset_for(self, classifier: str) -> dict[str, Any]:
        """The boosting settings that were found for a generator with this classifier; empty where there are none."""
        return dict(next((one for one in self.presets.values() if one.get("classifier") == classifier), {}))

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "kind": str,
    "architecture": str,
    "title": str,
    "data": str,
    "license": str,
    "source": str,
    "arguments": dict,
    "training": dict,
    "metrics": dict,
    "presets": dict,
    "conditional": bool,
    "classes": list,
    "input_size": list,
    "mean": list,
    "std": list,
    "l0": (int, float, list, type(None)),
    "role": str,
    "robust": (bool, type(None)),
    "sizes": (str, type(None)),
}
ROLES = ("boosts", "control", "judge")
SIZES = ("any", "one")
# Names become those of files; the largest side that an image may have.
MAX_NAME_BYTES, MAX_SIDE = 200, 8192


def _is_number(value: Any) -> bool:
    fair = isinstance(value, int | float) and not isinstance(value, bool)
    return fair and abs(value) < 1e18 and math.isfinite(value)


def _is_fair(key: str, value: Any) -> bool:
    """Whether an entry as JSON gives it is what `Card` says."""
    right_kind = isinstance(value, _KINDS[key])
    if not right_kind:
        return False
    if key == "name":
        return 0 < len(value.encode("utf-8", "replace")) <= MAX_NAME_BYTES and value.isprintable()
    if key in ("kind", "architecture"):
        return 0 < len(value) <= MAX_NAME_BYTES and value.isprintable()
    if key in ("role", "sizes"):
        return value is None or value in {"role": ROLES, "sizes": SIZES}[key]
    if key == "classes":
        return all(isinstance(name, str) for name in value)
    if key == "input_size":
        return len(value) == 2 and all(type(side) is int and 0 < side <= MAX_SIDE for side in value)
    if key in ("mean", "std"):
        return len(value) == 3 and all(_is_number(v) and (key == "mean" or v > 0) for v in value)
    if key == "l0" and value is not None:
        values = value if isinstance(value, list) else [value]
        # Means of softplus(f_c), which is never negative.
        return bool(values) and all(_is_number(one) and 0 <= one <= MAX_L0 for one in values)
    return True


def read_card(path: Path) -> Card:
    """Read a card; ValueError names the file and what is wrong with it."""
    try:
        entries = read_json(path)
    except ValueError as error:
        raise ValueError(f"the card {path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise ValueError(f"the card {path} is not a JSON object")
    known = {f.name for f in dataclasses.fields(Card)}
    if unknown := sorted(set(entries) - known):
        raise ValueError(f"the card {path} has unknown entries {printable(str(unknown), 200)}; known: {sorted(known)}")
    if missing := [key for key in ("name", "kind", "architecture") if key not in entries]:
        raise ValueError(f"the card {path} lacks {missing}")
    if wrong := [key for key, value in entries.items() if not _is_fair(key, value)]:
        raise ValueError(f"the card {path} has an impossible {wrong[0]}: {printable(str(entries[wrong[0]]), 80)}")
    if isinstance(l0 := entries.get("l0"), list) and len(l0) != len(entries.get("classes", [])):
        raise ValueError(f"the card {path} has an impossible l0: {len(l0)} values, not one per class")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entries.items()}
    # Cards had the judge's role among the entries of their training.
    if "role" not in values and values.get("training", {}).get("role") == "judge":
        values["role"] = "judge"
    return Card(**values)


def card_of_folder(folder: Path) -> Path:
    """Where the card of a pipeline's folder lies: beside it, as NAME.json."""
    return folder.with_name(f"{folder.name}.json")


def weights_of(name: str, folder: Path = CHECKPOINTS) -> list[Path]:
    """The files with the weights of a checkpoint: NAME.safetensors, those in a pipeline's folder NAME, or none."""
    single = folder / f"{name}.safetensors"
    if single.is_file():
        return [single]
    pipeline = folder / name
    return sorted(pipeline.rglob("*.safetensors")) if (pipeline / "model_index.json").is_file() else []


def checkpoint_hash(name: str) -> str | None:
    """SHA-256 of an embedded model's weights, None for a model that is not embedded."""
    # A name, not a way to some other file.
    if name not in {path.stem for path in CHECKPOINTS.glob("*.json")} or not (paths := weights_of(name)):
        return None
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def embedded_cards(folder: Path, kind: str) -> dict[str, Card]:
    """The cards of one kind in `folder` by name, sorted; only those whose weights are there too."""
    paths = (path for path in sorted(folder.glob("*.json")) if weights_of(path.stem, folder))
    return {card.name: card for card in map(read_card, paths) if card.kind == kind}
