"""docs/example.ipynb runs from its first cell to its last, on images of one's own, and is kept with what it shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from test_docs import tool

import bigroc_core as bc
from bigroc_core.figures.recipe import recipe_in
from bigroc_core.images import open_image_set, to_uint8

writer = tool("write_notebook")


def test_it_is_kept_executed_and_small() -> None:
    notebook = nbformat.read(writer.NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    shown = [one.data["image/png"] for cell in code for one in cell.outputs if "image/png" in one.get("data", {})]
    assert len(shown) == 4
    assert all(Image.open(io.BytesIO(base64.b64decode(png))).size[0] > 100 for png in shown)
    assert Path(writer.NOTEBOOK).stat().st_size < 1_500_000


@pytest.mark.slow
def test_it_runs_on_an_npz_of_ones_own(tmp_path: Path) -> None:
    images, labels = bc.load_generator("cifar10-cgan").sample(30, seed=11)
    np.savez(tmp_path / "samples.npz", arr_0=to_uint8(images), arr_1=labels.numpy())
    notebook = writer.executed(tmp_path)
    assert any("30 images" in one.get("text", "") for cell in notebook.cells for one in cell.get("outputs", ()))
    boosted = open_image_set(tmp_path / "boosted.npz", None, bc.load_classifier("cifar10-robust").classes)
    assert boosted.labels is not None
    assert boosted.labels.equal(labels[:24])
    assert recipe_in(tmp_path / "figure.pdf").figure == "fig7"
