"""Many visitors at once: how many boosts finish, how long each waits, whether any is wrong, and what memory stays.

Starts `python app.py` on this machine and sends it requests as programs do, over plain HTTP, so that the visitors take
little of the processors themselves. Every finished result is compared, bit for bit, with the same request made alone.
Memory is the server's resident set before, at its peak, and a while after, for
two waves one after the other: what a first wave leaves may be a cache, what a second adds to it is a leak.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Seen:
    """What the visitors of one wave saw. seconds: of the finished ones. refused: by message."""

    seconds: list[float] = field(default_factory=list)
    results: dict[tuple[int, int, int], set[str]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    left: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def server(root: Path, files: Path | None = None) -> Iterator[tuple[str, int]]:
    """The page's address, and the process that serves it. On a busy machine Gradio gives up a start at times. files:
    the folder of its files, else one that goes with it."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(port)],
                cwd=root,
                env=os.environ | {"GRADIO_TEMP_DIR": str(files or folder), "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                assert process.stdout is not None
                if not any("Running on" in line for line in process.stdout):
                    continue
                time.sleep(10)
                if process.poll() is None:
                    threading.Thread(target=process.stdout.read, daemon=True).start()
                    yield f"http://127.0.0.1:{port}/", process.pid
                    return
            finally:
                process.terminate()
                process.wait(30)
    raise SystemExit("the page did not start")


def resident(pid: int) -> float:
    """MiB of a process's resident set (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def computed(pid: int) -> float:
    """Seconds that a process has kept a core busy (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Refused(Exception):
    """The server would not do it; the text says why."""


def begin(address: str, images: int, steps: int, seed: int, session: str = "alone") -> Any:
    """Ask for a boost; returns the stream of what becomes of it. Refused says why not."""
    wanted = {
        "source": "Generator",
        "generator": "cifar10-cgan",
        "count": images,
        "seed": seed,
        "steps": steps,
        "eps": 1.0,
    }
    values = [wanted.get(name, usual) for name, usual in parameters(address)]
    asked = urllib.request.Request(
        f"{address}gradio_api/call/boost",
        json.dumps({"data": values, "session_hash": session}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=300) as answer:
            event = json.load(answer)["event_id"]
    except urllib.error.HTTPError as error:
        raise Refused(json.load(error)["detail"]) from None
    return urllib.request.urlopen(f"{address}gradio_api/call/boost/{event}", timeout=600)


@cache
def parameters(address: str) -> list[tuple[str, Any]]:
    """The endpoint's parameters with their defaults, in order."""
    with urllib.request.urlopen(f"{address}gradio_api/info", timeout=60) as answer:
        told = json.load(answer)["named_endpoints"]["/boost"]["parameters"]
    return [(one["parameter_name"], one.get("parameter_default")) for one in told]


def finish(stream: Any) -> str:
    """Follow a boost to its end; the digest of the pictures in the zip that it gives. Refused says what went wrong."""
    kind = ""
    with stream:
        for line in stream:
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: ") and kind in ("complete", "error"):
                told = json.loads(line[6:])
                break
        else:
            raise Refused("the stream ended before the result")
    if kind == "error":
        raise Refused(told.get("error", "an error") if isinstance(told, dict) else str(told))
    url = next(one["url"] for one in told if isinstance(one, dict) and str(one.get("path", "")).endswith(".zip"))
    with urllib.request.urlopen(url, timeout=60) as answer:
        data = answer.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return hashlib.sha256(
            b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".png"))
        ).hexdigest()


def visitor(address: str, number: int, options: argparse.Namespace, until: float, seen: Seen) -> None:
    """One visitor: boosts again and again, some leaving midway."""
    draws, session = random.Random(number), f"visitor{number}"
    while time.monotonic() < until:
        images, steps = draws.randint(*options.images), draws.randint(*options.steps)
        seed, leaves = draws.randint(0, 9), draws.random() < options.leaving
        began = time.monotonic()
        try:
            stream = begin(address, images, steps, seed, session)
            if leaves:
                time.sleep(draws.uniform(0.1, 1.0))
                stream.close()
                with seen.lock:
                    seen.left += 1
                session += "+"
                continue
            found = finish(stream)
        except (Refused, OSError) as error:
            with seen.lock:
                text = re.sub(r"[0-9]+", "N", str(error).splitlines()[0][:80])
                seen.refused[text] = seen.refused.get(text, 0) + 1
            time.sleep(draws.uniform(0.5, 1.5))
            continue
        with seen.lock:
            seen.seconds.append(time.monotonic() - began)
            seen.results.setdefault((images, steps, seed), set()).add(found)


def wave(address: str, options: argparse.Namespace) -> Seen:
    """All visitors for the time asked for."""
    seen = Seen()
    until = time.monotonic() + options.seconds
    threads = [
        threading.Thread(target=visitor, args=(address, number, options, until, seen), daemon=True)
        for number in range(options.visitors)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(options.seconds + 330)
    return seen


def main() -> None:
    """Parse the command line, run the waves and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--images", type=int, nargs=2, default=(2, 4), metavar=("LEAST", "MOST"))
    parser.add_argument("--steps", type=int, nargs=2, default=(3, 5), metavar=("LEAST", "MOST"))
    parser.add_argument("--leaving", type=float, default=0.2, help="share of requests that are left midway")
    parser.add_argument("--waves", type=int, default=2)
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder, to compare with another one")
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    options = parser.parse_args()
    with server(options.root) as (address, pid):
        finish(begin(address, 2, 3, 0))
        began = time.monotonic()
        finish(begin(address, 3, 4, 0))
        single, memory, told = time.monotonic() - began, [resident(pid)], []
        for number in range(options.waves):
            busy = computed(pid)
            seen = wave(address, options)
            busy = computed(pid) - busy
            time.sleep(20)
            memory.append(resident(pid))
            wrong = [
                request for request, digests in seen.results.items() if digests != {finish(begin(address, *request))}
            ]
            times = sorted(seen.seconds) or [float("nan")]
            told.append(
                {
                    "finished": len(seen.seconds),
                    "core_seconds_each": busy / max(1, len(seen.seconds)),
                    "left": seen.left,
                    "refused": seen.refused,
                    "wrong": wrong,
                    "p50": statistics.median(times),
                    "p95": times[int(0.95 * (len(times) - 1))],
                    "rss_mib": memory[-1],
                }
            )
            print(f"wave {number + 1}: {json.dumps(told[-1])}", flush=True)
        print(f"alone {single:.2f} s; memory {' -> '.join(f'{one:.0f}' for one in memory)} MiB")
    if options.output is not None:
        options.output.write_text(json.dumps({"alone": single, "memory_mib": memory, "waves": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
