"""The example images in assets/examples: NAME.png, where NAME may begin with a class ("cat-3.png")."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


def example_paths() -> list[Path]:
    """The example images, sorted by name."""
    return sorted(EXAMPLES.glob("*.png"))


def example_class(path: Path, classes: tuple[str, ...]) -> int | None:
    """The class an example's name begins with, as its number, if it does."""
    stem = path.stem.lower()
    return next((number for number, name in enumerate(classes) if stem.startswith(name.lower())), None)
