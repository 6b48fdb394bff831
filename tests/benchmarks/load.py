"""Many visitors at once: how many boosts finish, how long each waits, whether any is wrong, and what memory stays.

Starts `python app.py` on this machine and sends it requests as programs do. Every finished result is compared, bit for
bit, with the same request made alone. Memory is the server's resident set before, at its peak, and a while after, for
two waves one after the other: what a first wave leaves may be a cache, what a second adds to it is a leak.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
def server() -> Iterator[tuple[str, int]]:
    """The page's address, and the process that serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"GRADIO_TEMP_DIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            for _ in range(600):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(30)


def resident(pid: int) -> float:
    """MiB of a process's resident set (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def boost(client: Any, images: int, steps: int, seed: int) -> Any:
    """Ask for a boost; returns the client's job."""
    return client.submit(
        source="Generator", generator="cifar10-cgan", count=images, seed=seed, steps=steps, eps=1.0, api_name="/boost"
    )


def digest(result: Any) -> str:
    """Of the pictures in a result's zip."""
    path = next(one for one in result if isinstance(one, str) and one.endswith(".zip"))
    with zipfile.ZipFile(path) as archive:
        return hashlib.sha256(
            b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".png"))
        ).hexdigest()


def visitor(address: str, number: int, options: argparse.Namespace, until: float, seen: Seen) -> None:
    """One visitor: boosts again and again, some leaving midway."""
    from gradio_client import Client

    draws = random.Random(number)
    client = Client(address, verbose=False)
    while time.monotonic() < until:
        images, steps = draws.randint(*options.images), draws.randint(*options.steps)
        seed = draws.randint(0, 9)
        began = time.monotonic()
        job = boost(client, images, steps, seed)
        if draws.random() < options.leaving:
            time.sleep(draws.uniform(0.1, 1.0))
            job.cancel()
            with seen.lock:
                seen.left += 1
            client = Client(address, verbose=False)
            continue
        try:
            found = digest(job.result(timeout=300))
        except Exception as error:  # whatever a client is told
            with seen.lock:
                text = str(error).splitlines()[0][:80]
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
    from gradio_client import Client

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--images", type=int, nargs=2, default=(2, 4), metavar=("LEAST", "MOST"))
    parser.add_argument("--steps", type=int, nargs=2, default=(3, 5), metavar=("LEAST", "MOST"))
    parser.add_argument("--leaving", type=float, default=0.2, help="share of requests that are left midway")
    parser.add_argument("--waves", type=int, default=2)
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    options = parser.parse_args()
    with server() as (address, pid):
        alone = Client(address, verbose=False)
        boost(alone, 2, 3, 0).result()
        began = time.monotonic()
        boost(alone, 3, 4, 0).result()
        single, memory, told = time.monotonic() - began, [resident(pid)], []
        for number in range(options.waves):
            seen = wave(address, options)
            time.sleep(20)
            memory.append(resident(pid))
            wrong = [
                request
                for request, digests in seen.results.items()
                if digests != {digest(boost(alone, *request).result())}
            ]
            times = sorted(seen.seconds) or [float("nan")]
            told.append(
                {
                    "finished": len(seen.seconds),
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
