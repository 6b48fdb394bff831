"""Large runs: killed at any moment, spread over processes, and no larger in memory for being longer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import command, environment, export_classifier, launcher, run_command, smooth_pixels

pytestmark = pytest.mark.slow
SHARDS = 5  # of 250 images: 1,100


@pytest.fixture(scope="module")
def made_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with boosts, controls and judges (classifiers), images.npz (1,100 labelled ones) and real.npz."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for seed, name in enumerate(("boosts", "controls", "judges")):
        export_classifier(folder, name, seed + 1)
    np.savez(folder / "images.npz", arr_0=smooth_pixels(1_100, 32), arr_1=np.arange(1_100) % 10)
    np.savez(folder / "real.npz", arr_0=smooth_pixels(300, 32, 9) // 2)
    return folder


def words(run: str, output: str) -> list[object]:
    return [
        "evaluate",
        "images.npz",
        "--classifier",
        "boosts.safetensors",
        "--control",
        "controls.safetensors",
        "--judge",
        "judges.safetensors",
        "--reference",
        "real.npz",
        "--eps",
        1,
        "--steps",
        3,
        "--run",
        run,
        "--output",
        output,
    ]


def rows(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))["rows"]


@pytest.fixture(scope="module")
def unbroken(made_elsewhere: Path) -> Any:
    run_command(made_elsewhere, *words("unbroken", "unbroken.json"))
    return rows(made_elsewhere / "unbroken.json")


def test_a_run_killed_three_times_gives_the_same_table(made_elsewhere: Path, unbroken: Any) -> None:
    run = made_elsewhere / "killed"
    for shards in (1, 2, 4):
        process = subprocess.Popen(
            command(*words("killed", "killed.json")),
            cwd=made_elsewhere,
            env=environment(made_elsewhere),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(list(run.glob("evaluate-*.npz"))) < shards:
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (made_elsewhere / "killed.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in run.glob("evaluate-*.npz")}
    assert len(kept) < SHARDS
    run_command(made_elsewhere, *words("killed", "killed.json"))
    assert rows(made_elsewhere / "killed.json") == unbroken
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_the_launcher_starts_two_processes_that_know_of_each_other(tmp_path: Path) -> None:
    said = (
        "from bigroc_core.cli.boost import process_state\n"
        "state = process_state()\n"
        "print(f'{state.process_index} of {state.num_processes};')\n"
    )
    (tmp_path / "who.py").write_text(said, "utf-8")
    done = subprocess.run(
        [*launcher(2), "who.py"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert sorted(part for part in done.stdout.replace("\n", "").split(";") if part) == ["0 of 2", "1 of 2"]


def test_two_processes_give_the_table_of_one(made_elsewhere: Path, unbroken: Any) -> None:
    done = run_command(made_elsewhere, *words("shared", "shared.json"), processes=2)
    assert rows(made_elsewhere / "shared.json") == unbroken
    # One of them speaks.
    assert done.stdout.count("random direction") == 1


def test_two_processes_choose_the_eps_of_one(made_elsewhere: Path) -> None:
    for processes, name in ((1, "one"), (2, "two")):
        run_command(
            made_elsewhere,
            "sweep",
            "images.npz",
            "--count",
            600,
            "--classifier",
            "boosts.safetensors",
            "--chooser",
            "controls.safetensors",
            "--reference",
            "real.npz",
            "--largest",
            2,
            "--steps",
            2,
            3,
            "--norm",
            "l2",
            "linf",
            "--run",
            name,
            "--output",
            f"{name}.json",
            processes=processes,
        )
    one, two = (json.loads((made_elsewhere / f"{name}.json").read_text("utf-8")) for name in ("one", "two"))
    assert [one[key] for key in ("best", "points", "others")] == [two[key] for key in ("best", "points", "others")]
    assert {(other["config"]["steps"], other["config"]["norm"]) for other in (one, *one["others"])} == {
        (2, "l2"),
        (3, "l2"),
        (2, "linf"),
        (3, "linf"),
    }
    assert min(p["frechet"]["mean"] for p in one["points"] if p["stage"] == "fine") <= min(
        p["frechet"]["mean"] for other in one["others"] for p in other["points"] if p["stage"] == "fine"
    )


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    for seed, name in enumerate(("boosts", "judges")):
        export_classifier(tmp_path, name, seed + 1, side=64)
    np.savez(tmp_path / "real.npz", smooth_pixels(100, 64, 9))
    np.savez(tmp_path / "images.npz", smooth_pixels(2_000, 64))
    peaks = []
    for count in (500, 2_000):
        measured = subprocess.run(
            [
                sys.executable,
                "-c",
                "import resource, sys; from bigroc_core.__main__ import main; "
                "assert main(sys.argv[1:]) == 0; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)",
                "evaluate",
                "images.npz",
                "--count",
                str(count),
                "--classifier",
                "boosts.safetensors",
                "--control",
                "none",
                "--judge",
                "judges.safetensors",
                "--reference",
                "real.npz",
                "--eps",
                "1",
                "--steps",
                "1",
            ],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(measured.stdout.split()[-1]) / 1024)
    # 1,500 more images are 74 MB as float32, in each of three rows; what is left is the allocator's whim.
    assert peaks[1] < peaks[0] + 40, f"{peaks} MiB"
