"""Execute docs/example.ipynb anew, in an empty folder, with what its cells show: `python tools/write_notebook.py`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "example.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    """The notebook, run from its first cell to its last in `folder`; CellExecutionError where one fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return notebook


def settled(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what is another's or different each time: progress, times and the versions of this machine."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.output_type != "stream" or one.name != "stderr"]
            for one in cell.outputs:
                if widget := one.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None):
                    del widget
                one.get("metadata", {}).clear()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = re.sub(r"\W+", "-", f"cell-{number}")
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = settled(executed(Path(folder)))
    nbformat.write(made, NOTEBOOK)
    print(NOTEBOOK.relative_to(ROOT), file=sys.stderr)
