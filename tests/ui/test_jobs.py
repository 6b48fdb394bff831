"""Background jobs: one at a time, known by their key alone, cancelled at a report, and gone after a while."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bigroc_core.ui.jobs import INPUTS, Jobs, Report, Status


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def ended(jobs: Jobs, key: str) -> Status:
    def finished() -> bool:
        status = jobs.status(key)
        assert status is not None
        return status.finished

    until(finished)
    status = jobs.status(key)
    assert status is not None
    return status


class Gate:
    """Work that reports that it runs and then waits to be let on, reporting all the while."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, _folder: Path, report: Report) -> str:
        report("at the gate", 0.5)
        self.entered.set()
        while not self.open.wait(0.005):
            report("at the gate", 0.5)
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs", keep_seconds=600, most_waiting=3)


def test_a_job_gets_copies_of_its_inputs_and_keeps_its_files_with_its_result(jobs: Jobs, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("what was uploaded")

    def work(folder: Path, _report: Report) -> Path:
        (folder / "out.txt").write_text((folder / INPUTS / "given.txt").read_text() + ", read")
        return folder / "out.txt"

    key = jobs.submit(work, given)
    given.unlink()
    status = ended(jobs, key)
    assert (status.state, status.fraction, status.error) == ("done", 1.0, "")
    assert jobs.result(key).read_text() == "what was uploaded, read"
    assert not (jobs.result(key).parent / INPUTS).exists()


def test_jobs_run_one_at_a_time_and_in_turn(jobs: Jobs, gate: Gate) -> None:
    order: list[str] = []
    first = jobs.submit(gate)
    gate.entered.wait(20)
    later = [jobs.submit(lambda _f, _r, name=name: order.append(name)) for name in ("second", "third")]
    waiting = [jobs.status(key) for key in later]
    assert [(status.state, status.ahead) for status in waiting if status] == [("queued", 1), ("queued", 2)]
    assert order == []
    gate.open.set()
    assert ended(jobs, first).state == "done"
    for key in later:
        ended(jobs, key)
    assert order == ["second", "third"]


def test_progress_never_goes_back_and_tells_the_time_left(jobs: Jobs, gate: Gate) -> None:
    seen: list[Status | None] = []
    keys: list[str] = []
    known = threading.Event()

    def work(_folder: Path, report: Report) -> None:
        known.wait(20)
        report("a guess", 0.0, 100.0)
        seen.append(jobs.status(keys[0]))
        time.sleep(0.2)
        report("half", 0.5)
        seen.append(jobs.status(keys[0]))
        time.sleep(0.2)
        report("half", 0.5)  # only asks whether to go on
        seen.append(jobs.status(keys[0]))
        report("back", 0.1)
        seen.append(jobs.status(keys[0]))

    keys.append(jobs.submit(work))
    known.set()
    ended(jobs, keys[0])
    guess, half, still, back = seen
    assert guess is not None
    assert half is not None
    assert still is not None
    assert back is not None
    assert guess.seconds_left == pytest.approx(100, abs=5)
    # Half is done after some 0.2 seconds, so as much is left.
    assert half.seconds_left is not None
    assert 0.1 < half.seconds_left < 5
    assert still.seconds_left is not None
    assert still.seconds_left < half.seconds_left
    assert (back.text, back.fraction) == ("back", 0.5)


def test_cancel_ends_a_running_job_at_its_next_report_and_removes_its_files(
    jobs: Jobs, gate: Gate, tmp_path: Path
) -> None:
    key = jobs.submit(gate)
    gate.entered.wait(20)
    assert len(list((tmp_path / "jobs").iterdir())) == 1
    assert jobs.cancel(key)
    assert ended(jobs, key).state == "cancelled"
    assert jobs.result(key) is None
    assert list((tmp_path / "jobs").iterdir()) == []
    assert not jobs.cancel(key)
    assert ended(jobs, jobs.submit(lambda _f, _r: None)).state == "done"


def test_cancel_ends_a_waiting_job_at_once(jobs: Jobs, gate: Gate) -> None:
    jobs.submit(gate)
    gate.entered.wait(20)
    ran = threading.Event()
    key = jobs.submit(lambda _f, _r: ran.set())
    assert jobs.cancel(key)
    status = jobs.status(key)
    assert status is not None
    assert status.state == "cancelled"
    gate.open.set()
    assert ended(jobs, jobs.submit(lambda _f, _r: None)).state == "done"
    assert not ran.is_set()


def test_a_full_queue_refuses_in_words(jobs: Jobs, gate: Gate) -> None:
    jobs.submit(gate)
    gate.entered.wait(20)
    waiting = [jobs.submit(lambda _f, _r: None) for _ in range(3)]
    with pytest.raises(ValueError, match="3 jobs are waiting"):
        jobs.submit(lambda _f, _r: None)
    jobs.cancel(waiting[0])
    jobs.submit(lambda _f, _r: None)


def refuse(_folder: Path, _report: Report) -> None:
    raise ValueError("images are wanted, not poems")


def break_down(_folder: Path, _report: Report) -> None:
    raise RuntimeError("inner secrets")


@pytest.mark.parametrize(
    ("work", "said"), [(refuse, "images are wanted, not poems"), (break_down, "something went wrong on the server")]
)
def test_a_failed_job_says_why_in_a_sentence_and_the_next_one_works(
    work: Callable[[Path, Report], Any], said: str, jobs: Jobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    status = ended(jobs, jobs.submit(work))
    assert status.state == "failed"
    assert said in status.error
    assert "inner secrets" not in status.error
    # What the visitor cannot help is told to whoever runs the server, and only that.
    assert ("inner secrets" in caplog.text) == (work is break_down)
    assert list((tmp_path / "jobs").iterdir()) == []
    assert ended(jobs, jobs.submit(lambda _f, _r: None)).state == "done"


def test_finished_jobs_and_their_files_go_after_a_while(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs", keep_seconds=0.3)

    def work(folder: Path, _report: Report) -> Path:
        (folder / "out.txt").write_text("kept for a while")
        return folder

    key = jobs.submit(work)
    until(lambda: jobs.result(key) is not None)
    folder = jobs.result(key)
    # Nobody asks for it any more; it goes by itself.
    until(lambda: not folder.exists())
    assert jobs.status(key) is None
    assert jobs.result(key) is None


def test_only_the_key_opens_a_job_and_no_path_tells_it(jobs: Jobs) -> None:
    keys = [jobs.submit(lambda folder, _r: folder) for _ in range(3)]
    for key in keys:
        ended(jobs, key)
        assert key not in str(jobs.result(key))
    assert len({len(key) for key in keys}) == 1
    assert len(keys[0]) >= 32
    for guess in ("", keys[0][:-1], keys[0].swapcase(), "0"):
        assert jobs.status(guess) is None
        assert jobs.result(guess) is None
        assert not jobs.cancel(guess)


def test_what_a_killed_server_left_is_removed_and_what_another_works_on_stays(tmp_path: Path) -> None:
    old, fresh = tmp_path / "old", tmp_path / "fresh"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "upload.zip").write_text("x")
    os.utime(old, (time.time() - 100, time.time() - 100))
    Jobs(tmp_path, keep_seconds=50)
    assert [folder.name for folder in tmp_path.iterdir()] == ["fresh"]


def test_after_a_server_was_killed_its_jobs_say_what_became_of_them_and_their_folders_go(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from bigroc_core.ui.jobs import Jobs\n"
        "jobs = Jobs(Path(sys.argv[1]))\n"
        "done = jobs.submit(lambda folder, report: 'result')\n"
        "while jobs.result(done) is None: time.sleep(0.01)\n"
        "print(done, jobs.submit(lambda folder, report: time.sleep(600), Path(sys.argv[2])), flush=True)\n"
        "time.sleep(600)"
    )
    upload, root = tmp_path / "upload.zip", tmp_path / "jobs"
    upload.write_text("x")
    command = [sys.executable, "-c", script, str(root), str(upload)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as server:
        assert server.stdout is not None
        done, running = server.stdout.readline().split()
        # While it lives, another server beside it leaves its jobs alone.
        assert Jobs(root).status(running) is None
        assert len([one for one in root.iterdir() if one.is_dir()]) == 2
        server.kill()
    restarted = Jobs(root)
    for key, said in ((running, "stopped while this was at work"), (done, "its result is gone")):
        status = restarted.status(key)
        assert status is not None
        assert status.finished
        assert said in status.error
    assert not [one for one in root.iterdir() if one.is_dir()]
    assert len(list(tmp_path.glob(".jobs-*.lock"))) == 1  # its own
