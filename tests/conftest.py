"""The whole set runs in two processes, which `pyproject.toml` asks for with `-n auto`; each has a page and a browser of
its own as soon as a test asks for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import gradio as gr

# Files that share more than what each has for itself.
SHARED = {"tests/test_interface.py": "built page", "tests/ui/test_wrong_arguments.py": "built page"}

# Beside an installed package there are no docs and no app.py: what is about those is left out there.
ALONE = not (Path(__file__).resolve().parents[1] / "README.md").is_file()
collect_ignore = (
    ["browser", "test_docs.py", "test_docs_commands.py", "test_notebook.py", "test_space.py"] if ALONE else []
)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded: each process has a core of its own, and so has what it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for the whole set; none where tests are named, which begin sooner in this very process."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what reads the repository's own files where there is none."""
    if ALONE:
        for item in items:
            if item.get_closest_marker("repository"):
                item.add_marker(pytest.mark.skip(reason="reads the repository, and the package alone is here"))


class TogetherScheduling(LoadScopeScheduling):
    """What shares a server or a trained model stays in one process: a file's tests.

    (xdist's own groups are read from the tests' names, where pytest 9.2 no longer lets it write them.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return SHARED.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherScheduling:
    """In the order in which tests are collected: the browser's, which take longest, among the first."""
    return TogetherScheduling(config, log)


@pytest.fixture(autouse=True)
def nothing_stays_offered() -> Iterator[None]:
    """Generators from elsewhere that a test, or a command in it, offers are gone after it."""
    yield
    catalogue = sys.modules.get("bigroc_core.catalogue")
    if catalogue is not None and catalogue._GENERATORS:
        catalogue._GENERATORS.clear()
        catalogue.generator_cards.cache_clear()


@pytest.fixture(scope="session")
def built_page() -> gr.Blocks:
    """The whole page, built but not served."""
    from bigroc_core.ui.page import build_page

    return build_page()
