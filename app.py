"""The web page, here and on a Hugging Face Space: `python app.py`, then open the address it prints."""

from __future__ import annotations

import argparse
import sys

from bigroc_core.cli.page import add_page_options, page_of, serve


def build_parser() -> argparse.ArgumentParser:
    """The page's own options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        metavar="FILE",
        help="your own models by name (default: $BIGROC_MODELS, else models.toml here, else beside app.py)",
    )
    add_page_options(parser)
    return parser


options = build_parser().parse_args(None if __name__ == "__main__" else [])
try:
    # A Space that imports this file, and `gradio app.py`, look for this name.
    demo = page_of(options)
    if __name__ == "__main__":
        serve(demo, options)
except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
