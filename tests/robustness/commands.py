"""Commands as processes that begin at once: forked from one that has imported everything, and killed like any other."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
# What changes files, as Python tells of it before it is done.
CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR
# In a command's folder: what it said, and how often it changed something under out.
MESSAGES, COUNT = "messages.txt", "changes.txt"


class Commands:
    """`python -m bigroc_core` again and again, in folders of the caller's choice."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        """End the process that forks."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def _ask(self, **question: Any) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def begin(self, words: Iterable[str], folder: Path, kill_at: int = 0) -> int:
        """Begin a command in a folder; its process. words: after ">" the file that it prints to. kill_at: which change
        under out it is killed at, from 1."""
        return int(self._ask(words=list(words), folder=str(folder), kill_at=kill_at))

    def wait(self, process: int) -> int:
        """The status it ended with, below 0 where it was killed."""
        return int(self._ask(wait=process))

    def run(self, words: Iterable[str], folder: Path, kill_at: int = 0) -> int:
        """Run a command to its end; its status."""
        return self.wait(self.begin(words, folder, kill_at))

    def run_killed(self, words: Iterable[str], folder: Path, seconds: float) -> int:
        """Run a command and kill it after so long, if it has not ended; its status."""
        process = self.begin(words, folder)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)  # of one that has ended nothing but its status is left
        return self.wait(process)


def said(folder: Path) -> list[str]:
    """The lines of what the last command in a folder said, but for progress bars."""
    lines = (folder / MESSAGES).read_text("utf-8", "replace").replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "%|" not in line and "?, ?" not in line]


def _serve(questions: IO[str]) -> None:
    for line in questions:
        question = json.loads(line)
        if "wait" in question:
            print(os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1]), flush=True)
            continue
        if process := os.fork():
            print(process, flush=True)
            continue
        os._exit(_carry_out(question["words"], Path(question["folder"]), question["kill_at"]))


def _carry_out(words: list[str], folder: Path, kill_at: int) -> int:
    from bigroc_core.__main__ import main

    os.chdir(folder)
    words, printed = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, MESSAGES)
    (folder / MESSAGES).unlink(missing_ok=True)
    for name, number in ((MESSAGES, 2), (printed, 1)):
        log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if name == printed else 0))
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["python -m bigroc_core", *words]
    changes = _watch(folder, kill_at)
    try:
        status = main(words)
    except SystemExit as error:
        status = int(error.code or 0)
    Path(COUNT).write_text(str(changes[0]))
    return status


def _watch(folder: Path, kill_at: int) -> list[int]:
    """Count the changes under out, and be killed shortly after one of them has begun."""
    beginning, counted = f"{folder.resolve()}{os.sep}", [0]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(beginning) and path.removeprefix(beginning).lstrip(".").startswith("out"):
            counted[0] += 1
            if counted[0] == kill_at:
                # Just before it, or somewhere within; by the system, since a thread would have to wait for Python.
                pause = random.Random(kill_at).choice((0.0, 0.0001, 0.0003))
                if not pause:
                    os.kill(os.getpid(), signal.SIGKILL)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends it as SIGKILL does
                signal.setitimer(signal.ITIMER_REAL, pause)

    sys.addaudithook(watch)
    return counted


def _import() -> None:
    """What commands import while they run."""
    import accelerate  # noqa: F401
    import diffusers  # noqa: F401
    import matplotlib.pyplot  # noqa: F401

    import bigroc_core.__main__
    import bigroc_core.experiments
    import bigroc_core.figures.drawing
    import bigroc_core.figures.making
    import bigroc_core.training.classifier
    import bigroc_core.training.data
    import bigroc_core.training.generator
    import bigroc_core.training.joint  # noqa: F401


if __name__ == "__main__":
    _import()
    _serve(sys.stdin)
