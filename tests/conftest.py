"""The whole set runs in two processes, which `pyproject.toml` asks for with `-n auto`: one begins with the page in its
browser, the other with everything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import gradio as gr

TESTS = Path(__file__).parent
# Files that share more than what each has for itself.
SHARED = {"test_interface.py": "built page", "ui/test_wrong_arguments.py": "built page"}

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded: each process has a core of its own, and so has what it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the whole set; none where tests are named, which begin sooner in this very process."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a server, a browser or a trained model stays together: the page's tests, and each other file's."""
    for item in items:
        file = item.path.relative_to(TESTS)
        group = "browser" if file.parts[0] == "browser" else SHARED.get(file.as_posix(), file.as_posix())
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def built_page() -> gr.Blocks:
    """The whole page, built but not served."""
    from bigroc_core.ui.page import build_page

    return build_page()
