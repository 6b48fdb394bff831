"""`python -m bigroc_core COMMAND`: bad input is one clear line and exit status 2, never a traceback."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bigroc_core.catalogue import models_of_a_run
from bigroc_core.cli.boost import add_boost_parser, run_boost
from bigroc_core.cli.evaluate import add_evaluate_parser, add_sweep_parser, run_evaluate, run_sweep
from bigroc_core.cli.evaluate_classifier import (
    add_evaluate_classifier_parser,
    add_reference_statistics_parser,
    run_evaluate_classifier,
    run_reference_statistics,
)
from bigroc_core.cli.evaluate_joint import add_evaluate_joint_parser, run_evaluate_joint
from bigroc_core.cli.figure import add_figure_parser, run_figure
from bigroc_core.cli.interpolate import add_interpolate_parser, run_interpolate
from bigroc_core.cli.models import add_listing_parsers, run_listing
from bigroc_core.cli.page import add_page_parser, run_page
from bigroc_core.cli.tables import add_tables_parser, run_tables
from bigroc_core.cli.train import add_train_parser, run_train
from bigroc_core.messages import printable
from bigroc_core.models_file import use_models_file


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the words of a command, however long they are."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; each command's options carry the function that runs it as `carry_out`."""
    parser: argparse.ArgumentParser = Parser(
        prog="bigroc" if Path(sys.argv[0]).stem == "bigroc" else "python -m bigroc_core",
        description="Boost generated images with adversarially robust classifiers.",
    )
    parser.add_argument(
        "--models",
        metavar="FILE",
        help="your own models by name (default: $BIGROC_MODELS, else models.toml here, else beside app.py)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_boost_parser(commands)
    add_train_parser(commands)
    add_listing_parsers(commands)
    add_evaluate_classifier_parser(commands)
    add_evaluate_joint_parser(commands)
    add_reference_statistics_parser(commands)
    add_evaluate_parser(commands)
    add_sweep_parser(commands)
    add_tables_parser(commands)
    add_interpolate_parser(commands)
    add_figure_parser(commands)
    add_page_parser(commands)
    runs = {
        "boost": run_boost,
        "train": run_train,
        "models": run_listing,
        "generators": run_listing,
        "presets": run_listing,
        "evaluate-classifier": run_evaluate_classifier,
        "evaluate-joint": run_evaluate_joint,
        "reference-statistics": run_reference_statistics,
        "evaluate": run_evaluate,
        "sweep": run_sweep,
        "tables": run_tables,
        "interpolate": run_interpolate,
        "figure": run_figure,
        "page": run_page,
    }
    for name, run in runs.items():
        commands.choices[name].set_defaults(carry_out=run)
    return parser


# Which optional group of ours brings a package that only some commands need.
GROUPS = {"diffusers": "bigroc[generators]", "torch_fidelity": "bigroc[evaluation]", "gradio": "bigroc[page]"}


# What keeps what it has done, and goes on from there.
RESUMED = ("boost", "evaluate", "sweep", "tables", "train")


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it before they kill: what Ctrl-C is, but for the exit status."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def one_line(error: BaseException | str) -> str:
    """An error's text as one printable line of bounded length."""
    return printable(" ".join(str(error)[:20_000].split()), 2_000)


def _of_output() -> OSError | None:
    """What is wrong with where this prints to: a file on a full disk, a reader that has gone."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Else the interpreter, as it ends, would try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OSError(error.errno, f"what this prints could not be written to where it goes ({error.strerror})")
    return None


def _end_bars() -> None:
    """End the progress bars that are still there, so that what is said next has a line of its own."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold what the terminal's encoding cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        if options.models is not None:
            use_models_file(options.models)
        with models_of_a_run():
            options.carry_out(options)
        sys.stdout.flush()
    except (ValueError, OSError, MemoryError) as error:
        _end_bars()
        print("error:", one_line(_of_output() or error), file=sys.stderr)
        return 2
    except Exception as error:
        _end_bars()
        if isinstance(error, ImportError) and (group := GROUPS.get((error.name or "").partition(".")[0])):
            print(f'error: this needs the package {error.name}, not installed: pip install "{group}"', file=sys.stderr)
            return 2
        # The last net: a fault of the program's own, which whoever runs it can do nothing about but tell.
        if os.environ.get("BIGROC_TRACEBACK"):
            raise
        print(
            f"error: {type(error).__name__}: {one_line(error)}. This is a fault of the program; please report it with "
            "this command, and with what BIGROC_TRACEBACK=1 in front of it prints",
            file=sys.stderr,
        )
        return 70
    except KeyboardInterrupt as interrupt:
        _end_bars()
        resumes = "; the same command continues where it stopped" if options.command in RESUMED else ""
        print(f"interrupted{resumes}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
