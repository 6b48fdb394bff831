"""Where what comes along lies: in a clone beside the package, in an installed wheel inside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
HOME = PACKAGE if (PACKAGE / "checkpoints").is_dir() else PACKAGE.parent
# Weights with their cards; pictures, examples and finished runs that the page opens with. RESULTS.json lies there too.
CHECKPOINTS, ASSETS = HOME / "checkpoints", HOME / "assets"
