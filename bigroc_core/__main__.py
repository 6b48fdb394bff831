"""`python -m bigroc_core COMMAND`: bad input is one clear line and exit status 2, never a traceback."""

from __future__ import annotations

import argparse
import sys

from bigroc_core.training.commands import add_train_parser, run_train


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="python -m bigroc_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_train_parser(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "train":
            run_train(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
