"""Files are written whole or not at all, and a failure names the file."""

from __future__ import annotations

import csv
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigroc_core.files import csv_bytes, held, whole_or_not_at_all, write_bytes, write_text


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("little_room")
def test_without_room_the_file_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    write_text(path, "old")
    with pytest.raises(OSError, match=r"out\.bin could not be written \(File too large\)"):
        write_bytes(path, bytes(2**17))
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["out.bin"]
    write_bytes(path, bytes(2**15))
    assert path.stat().st_size == 2**15


@pytest.mark.usefixtures("little_room")
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    def write(*sizes: int) -> None:
        with whole_or_not_at_all(out, folder=True) as folder:
            for number, size in enumerate(sizes):
                (folder / str(number)).write_bytes(bytes(size))

    with pytest.raises(OSError, match="out could not be written"):
        write(5, 2**17)
    assert list(out.parent.iterdir()) == []
    out.mkdir()  # an empty one is taken
    write(5)
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "out", "0"]
    with pytest.raises(OSError, match="not empty"):
        write(6)
    assert (out / "0").read_bytes() == bytes(5)


def test_what_else_ends_it_leaves_nothing_either(tmp_path: Path) -> None:

    def interrupted() -> None:
        with whole_or_not_at_all(tmp_path / "out") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="is a file and not a folder"):
        write_text(tmp_path / "file" / "out", "text")


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with whole_or_not_at_all(path) as first, whole_or_not_at_all(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"  # which was done last
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_writer_left_goes_with_the_next_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out[1].npz"
    others = {".out[1].npz.tmp", ".out[1].npz.0123456789abcdeg.tmp", ".out1.npz.0123456789abcdef.tmp"}
    for name in others:
        (tmp_path / name).write_bytes(b"of somebody else")
    (tmp_path / ".out[1].npz.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / ".out[1].npz.fedcba9876543210.tmp").mkdir()
    (tmp_path / ".out[1].npz.fedcba9876543210.tmp" / "0").write_bytes(b"half")
    write_bytes(path, b"whole")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, *others}


def test_a_table_comes_back_as_it_was() -> None:
    rows = [["name", "‖δ‖₂"], ['with "quotes", commas', 1.5], ["two\nlines", 2]]
    read = list(csv.reader(io.StringIO(csv_bytes(rows).decode(), newline="")))
    assert read == [[str(value) for value in row] for row in rows]


def test_only_one_at_a_time_writes_to_an_output_and_nothing_is_left_of_its_lock(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out.npz"
    with held(out):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"out\.npz: another run is writing there"), held(out):
                pass
        with held(out.with_name("other.npz")):
            pass
    assert list(tmp_path.iterdir()) == []
    with held(out):
        out.write_bytes(b"done")
    assert [one.name for one in out.parent.iterdir()] == ["out.npz"]
    with held(Path("/")), held(Path("no\0path")), held(tmp_path / "out.npz" / "under-a-file"):
        pass
