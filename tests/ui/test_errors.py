"""Messages: short, printable, and never live HTML, whatever a file, a link or a program put into them."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import gradio as gr
import pytest

from bigroc_core.ui import errors, links
from bigroc_core.ui.downloads import saved


@pytest.mark.parametrize(
    "text", ["a" * 15_000, "<b>" * 9_000, "\x00\x1b[31m\ud800‮" * 3_000, "🖼️" * 9_000, " \n\t" * 9_000]
)
def test_any_text_becomes_one_short_printable_line(text: str) -> None:
    line = errors.readable(f"cat.png: {text} must be an image: choose another")
    assert line.isprintable()
    assert len(line) < 6 * errors.MAX_CHARACTERS
    assert line.startswith("cat.png: ")
    assert line.endswith("must be an image: choose another")


def test_what_a_browser_takes_for_html_reads_as_it_was_written() -> None:
    raised = errors.refusal("there is no class '<img src=//elsewhere/x>' & no other")
    assert raised.message == "There is no class '&lt;img src=//elsewhere/x&gt;' &amp; no other."
    # Validations are shown as plain text, where an escape would be seen.
    (shown,) = errors.validations(["classes"], {"classes": "no class '<b>'"})
    assert shown["message"] == "No class '<b>'."
    assert not shown["is_valid"]


def test_a_files_own_name_keeps_its_letters() -> None:
    assert errors.sentence("cat.png: is not an image") == "cat.png: is not an image."
    assert errors.sentence("my cat.png: is not an image").startswith("my cat")
    assert errors.sentence("step_size must be a number") == "step_size must be a number."
    assert errors.sentence("ε = 2 is there twice") == "ε = 2 is there twice."
    assert errors.sentence("these images carry no class") == "These images carry no class."


def test_a_links_own_words_are_no_html_in_the_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", warned.append)
    links.warn(["there is no control '<a href=//elsewhere>'"])
    assert "<" not in warned[0]
    assert "&lt;a href=//elsewhere&gt;" in warned[0]


def test_a_full_disk_is_said_of_the_file_alone_and_its_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "secret"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(gr.Error) as raised, errors.explained():
            saved("boosted.zip", bytes(9_999))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.message.startswith("'boosted.zip' could not be written on the server (File too large)")
    assert "secret" not in raised.value.message
    assert "secret" in caplog.text  # for whoever runs the server
    assert list((tmp_path / "secret").iterdir()) == []
    assert Path(saved("boosted.zip", bytes(9_999))).stat().st_size == 9_999


def test_a_disk_that_cannot_be_written_to_is_said_and_other_faults_are_not_taken_for_it(tmp_path: Path) -> None:
    with pytest.raises(gr.Error, match=r"'a.png' could not be written on the server \(Read-only"), errors.explained():
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "a.png"))
    with pytest.raises(FileNotFoundError), errors.explained():
        (tmp_path / "none.png").read_bytes()
