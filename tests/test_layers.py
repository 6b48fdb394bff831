"""Imports point down, and nothing goes in a circle; the layers stand in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from importlinter.cli import lint_imports


def test_imports_point_down_and_never_in_a_circle() -> None:
    assert lint_imports(config_filename=str(Path(__file__).resolve().parents[1] / "pyproject.toml"), no_cache=True) == 0
