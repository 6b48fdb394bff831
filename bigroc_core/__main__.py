"""`python -m bigroc_core COMMAND`: bad input is one clear line and exit status 2, never a traceback."""

from __future__ import annotations

import argparse
import sys

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
from bigroc_core.cli.tables import add_tables_parser, run_tables
from bigroc_core.cli.train import add_train_parser, run_train


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; each command's options carry the function that runs it as `carry_out`."""
    parser = argparse.ArgumentParser(
        prog="python -m bigroc_core", description="Boost generated images with adversarially robust classifiers."
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
    }
    for name, run in runs.items():
        commands.choices[name].set_defaults(carry_out=run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.carry_out(options)
    except (ValueError, OSError, MemoryError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
