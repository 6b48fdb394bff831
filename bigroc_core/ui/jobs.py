"""Background jobs: long work that outlives the page that asked for it, and that only its id's owner can see or stop."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from bigroc_core.files import held
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_WAITING_JOBS
from bigroc_core.ui.errors import no_room, said_of_room

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED = ("done", "failed", "cancelled")
INPUTS = "inputs"
# In a job's folder: which server it belongs to, and the digest of its key.
MARK = ".job"
LOST_RUN = "the server was stopped while this was at work, and started anew; nothing was kept: start it again"
LOST_RESULT = "this was done, but the server was started anew since, and its result is gone: start it again"


class Report(Protocol):
    """How a job says where it stands. Whatever it raises ends the job, so nothing may swallow it."""

    def __call__(self, text: str, fraction: float, seconds_left: float | None = None) -> None:
        """text: what is being done. fraction: of the whole, 0 to 1; it never goes back. seconds_left: the job's own
        estimate; without one it is measured by what has been done since the first report."""
        ...


# Does the work in a folder of its own, where copies of its input files lie in INPUTS, and returns the result.
Work = Callable[[Path, Report], Any]


class Cancelled(Exception):
    """Raised inside a job, from its report, once it shall end."""


@dataclass(frozen=True)
class Status:
    """Where a job stands. seconds: how long it has run. ahead: jobs that run or wait before it. error: one sentence."""

    state: State
    text: str
    fraction: float
    seconds: float
    seconds_left: float | None
    ahead: int
    cancelling: bool
    error: str

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINISHED

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


@dataclass
class _Job:
    key: str
    work: Work
    folder: Path
    state: State = "queued"
    text: str = "waiting"
    fraction: float = 0.0
    began: float = 0.0
    first_report: float | None = None
    last_report: float = 0.0
    estimate: float | None = None
    ended: float | None = None
    cancelling: bool = False
    result: Any = None
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, text: str, fraction: float, seconds_left: float | None = None) -> None:
        if self.cancelling:
            raise Cancelled
        now = time.monotonic()
        with self.lock:
            if self.first_report is None:
                self.first_report = now
            elif text == self.text and fraction <= self.fraction and seconds_left is None:
                return  # asked only whether to go on: nothing has come nearer
            self.text, self.fraction = text, min(max(fraction, self.fraction), 1.0)
            self.last_report = now
            if seconds_left is not None:
                self.estimate = seconds_left
            elif self.fraction > 0:
                self.estimate = (now - self.first_report) * (1 - self.fraction) / self.fraction
        # A server that starts beside this one must not take the folder for one that was left behind.
        with contextlib.suppress(OSError):
            os.utime(self.folder)

    def status(self, ahead: int) -> Status:
        with self.lock:
            now = time.monotonic()
            seconds = (self.ended or now) - self.began if self.began else 0.0
            left = None
            if self.state == "running" and self.estimate is not None:
                left = max(self.estimate - (now - self.last_report), 0.0)
            return Status(self.state, self.text, self.fraction, seconds, left, ahead, self.cancelling, self.error)


class Jobs:
    """Jobs, one at a time and in turn, each known by its key alone: there is no list of them.

    root: folder that gets a folder per job, under a name that does not tell the key. A job's folder goes when the
    job fails or is cancelled, and with its result keep_seconds after it was done.
    """

    def __init__(
        self, root: Path, keep_seconds: float = KEEP_FILES_SECONDS, most_waiting: int = MAX_WAITING_JOBS
    ) -> None:
        self._root, self._keep, self._most_waiting = root, keep_seconds, most_waiting
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._alive = contextlib.ExitStack()
        # By their keys' digests: of jobs that ended with an earlier server, what became of them.
        self._lost = _remove_leftovers(root, keep_seconds)
        self._server = secrets.token_hex(8)
        self._alive.enter_context(held(_server_at(root, self._server)))

    def submit(self, work: Work, *inputs: Path) -> str:
        """Take a job and return its key. inputs are copied, so that they may go.

        Raises ValueError if too many jobs wait already.
        """
        with self._changed:
            self._expire()
            if len(self._waiting) >= self._most_waiting:
                raise ValueError(f"{len(self._waiting)} jobs are waiting already; please come back in a few minutes")
            folder = self._root / secrets.token_hex(8)
            try:
                (folder / INPUTS).mkdir(parents=True)
                for path in inputs:
                    shutil.copyfile(path, folder / INPUTS / path.name)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                if no_room(error):
                    raise ValueError(said_of_room(error)) from error
                raise ValueError(f"the file could not be taken over ({error.strerror}); upload it again") from error
            job = _Job(secrets.token_urlsafe(24), work, folder)
            with contextlib.suppress(OSError):
                (folder / MARK).write_text(f"{self._server} {_digest(job.key)}", "utf-8")
            self._jobs[job.key] = job
            self._waiting.append(job)
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._worker.start()
            self._changed.notify_all()
            return job.key

    def status(self, key: str) -> Status | None:
        """Where a job stands; None if there is none of this key, or none any more."""
        with self._changed:
            # The worker does it too, but may be long at one job.
            self._expire()
            job = self._jobs.get(key if isinstance(key, str) else "")
            if job is None:
                became = self._lost.get(_digest(key if isinstance(key, str) else ""))
                return None if became is None else Status("failed", "", 0.0, 0.0, None, 0, False, became)
            ahead = 0
            if job in self._waiting:
                ahead = self._waiting.index(job) + (self._running is not None)
            return job.status(ahead)

    def result(self, key: str) -> Any:
        """What the job's work returned; None unless the job is done."""
        with self._changed:
            job = self._jobs.get(key if isinstance(key, str) else "")
            return job.result if job is not None else None

    def cancel(self, key: str) -> bool:
        """End a job: one that waits at once, one that runs at its next report. False if there is nothing to end."""
        with self._changed:
            job = self._jobs.get(key if isinstance(key, str) else "")
            if job is None or job.state in FINISHED:
                return False
            job.cancelling = True
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
            return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait(self._until_expiry())
                    self._expire()
                self._expire()
                job = self._running = self._waiting.popleft()
                job.state, job.text, job.began = "running", "starting", time.monotonic()
            state, error, result = _outcome(job)
            with self._changed:
                job.result, job.error = result, error
                self._end(job, state)
                self._running = None

    def _end(self, job: _Job, state: State) -> None:
        job.state, job.ended = state, time.monotonic()
        if state == "done":
            job.fraction = 1.0
            shutil.rmtree(job.folder / INPUTS, ignore_errors=True)
        else:
            shutil.rmtree(job.folder, ignore_errors=True)
        self._changed.notify_all()

    def _until_expiry(self) -> float | None:
        ends = [job.ended for job in self._jobs.values() if job.ended is not None]
        return max(min(ends) + self._keep - time.monotonic(), 0.01) if ends else None

    def _expire(self) -> None:
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if job.ended is not None and now - job.ended >= self._keep:
                shutil.rmtree(job.folder, ignore_errors=True)
                del self._jobs[job.key]


def _outcome(job: _Job) -> tuple[State, str, Any]:
    try:
        return "done", "", job.work(job.folder, job.report)
    except Cancelled:
        return "cancelled", "", None
    except (ValueError, OSError) as error:
        return "failed", said_of_room(error) if isinstance(error, OSError) and no_room(error) else str(error), None
    except Exception as error:
        # Not the visitor's doing, so whoever runs the server must hear of it.
        logging.getLogger(__name__).exception("a job failed")
        return "failed", f"something went wrong on the server ({type(error).__name__}); please report it", None


def _server_at(root: Path, server: str) -> Path:
    """What a server holds for as long as it lives."""
    return root.with_name(f"{root.name}-{server}")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _remove_leftovers(root: Path, keep_seconds: float) -> dict[str, str]:
    """Remove the folders of jobs whose server is gone; by the jobs' digests, what became of them.

    Folders that do not say whose they are go when they are old: a server beside this one may work there.
    """
    became: dict[str, str] = {}
    for folder in root.iterdir() if root.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            if not folder.is_dir():
                continue
            if not (folder / MARK).is_file():
                gone = time.time() - folder.stat().st_mtime >= keep_seconds
            else:
                server, digest = (folder / MARK).read_text("utf-8").split()
                with held(_server_at(root, server)):  # ValueError while that server lives
                    gone = True
                was_done = not (folder / INPUTS).is_dir()
                became[digest] = LOST_RESULT if was_done else LOST_RUN
            if gone:
                shutil.rmtree(folder, ignore_errors=True)
    for lock in root.parent.glob(f".{root.name}-*.lock"):
        with contextlib.suppress(ValueError), held(lock.with_name(lock.name[1 : -len(".lock")])):
            pass  # which removes it, unless its server lives
    return became
