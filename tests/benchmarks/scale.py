"""Time and memory of boosting by the number of images, and by the number of processes.

Each line is a run of its own of `python -m bigroc_core boost generator:NAME OUT.npz`, or of the same under `accelerate
launch`, from its start to its end: loading, generating, boosting, writing. Memory is the peak of resident memory of its
processes together (Linux). Processes share the threads, so that every line has as many in all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def family(pid: int) -> list[int]:
    """A process and those it started, and those they started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text("utf-8").split()]
            except OSError:
                continue
    return found


def resident(pid: int) -> int:
    """Resident memory of a process in KiB, its share of what several share; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(words: list[str], threads: int) -> tuple[float, float]:
    """Seconds and peak MiB of a command; SystemExit with what it said where it fails."""
    began, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": str(threads)}
        )
        while process.poll() is None:
            peak = max(peak, sum(resident(pid) for pid in family(process.pid)))
            time.sleep(0.05)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode("utf-8", "replace"))
    return time.perf_counter() - began, peak / 2**10


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against the number of images, a line per number of processes."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for processes in sorted({line["processes"] for line in lines}):
        of = [line for line in lines if line["processes"] == processes]
        for axis, key in zip(axes, ("seconds", "peak_mib"), strict=True):
            label = f"{processes} process{'es' if processes > 1 else ''}"
            axis.plot([line["images"] for line in of], [line[key] for line in of], marker="o", label=label)
    for axis, title in zip(axes, ("seconds", "peak resident memory, MiB"), strict=True):
        axis.set(xscale="log", xlabel="images", title=title)
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    axes[1].set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="cifar10-cgan")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100, 1_000, 10_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of all processes together")
    parser.add_argument("--eps", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--plot", type=Path, help="also draw them, PNG or PDF")
    options = parser.parse_args()
    lines: list[dict[str, Any]] = []
    print(f"{'images':>8}{'processes':>11}{'seconds':>10}{'img-steps/s':>13}{'peak MiB':>10}")
    for processes in options.processes:
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        boost = [*(launch if processes > 1 else []), "-m", "bigroc_core", "boost", f"generator:{options.generator}"]
        for count in options.counts:
            with tempfile.TemporaryDirectory() as folder:
                how = ["--count", str(count), "--eps", str(options.eps), "--steps", str(options.steps)]
                words = [sys.executable, *boost, f"{folder}/boosted.npz", *how]
                seconds, peak = measure(words, max(1, options.threads // processes))
            rate = count * options.steps / seconds
            lines.append({"images": count, "processes": processes, "seconds": seconds, "peak_mib": peak})
            print(f"{count:8,}{processes:11}{seconds:10.1f}{rate:13.1f}{peak:10.0f}", flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    if options.plot is not None:
        draw(lines, options.plot)


if __name__ == "__main__":
    main()
