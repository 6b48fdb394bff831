"""The web page, here and on a Hugging Face Space: `python app.py`, then open the address it prints."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

# Nothing leaves the machine, so the page also works without a network. Gradio reads these when imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "--offline" in sys.argv:  # read when imported, too; what is cached still serves
    os.environ["HF_HUB_OFFLINE"] = "1"

from bigroc_core.catalogue import add_for_this_run, offer_hub, use_models
from bigroc_core.cli.classifier_options import add_classifier, classifier_entry
from bigroc_core.models_file import entry_named
from bigroc_core.ui.page import build_page, launch_options


def build_parser() -> argparse.ArgumentParser:
    """The page's own options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, or what the environment says)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a temporary public link through Gradio")
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as MCP tools, at /gradio_api/mcp/")
    parser.add_argument(
        "--models",
        metavar="FILE",
        help="your own models by name (default: $BIGROC_MODELS, else models.toml here, else beside app.py)",
    )
    add_classifier(parser, default=None, purpose="one more to offer on the page", view=False)
    parser.add_argument(
        "--generator", metavar="NAME", help="one more to offer: a file, a pipeline's folder, a Hub name"
    )

    parser.add_argument(
        "--offline", action="store_true", help="offer nothing that has to be fetched from the Hugging Face Hub"
    )
    return parser


def know_models(options: argparse.Namespace) -> None:
    """Make the models that options name known to the page; ValueError, one line, for what is wrong with them."""
    if options.models is not None:
        use_models(options.models)
    if options.classifier is not None:
        add_for_this_run(classifier_entry(options))
    if options.generator is not None:
        add_for_this_run(entry_named(options.generator, "generator"))
    if not options.offline:
        offer_hub()


options = build_parser().parse_args(None if __name__ == "__main__" else [])
try:
    know_models(options)
    demo = build_page()
except (ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Serve the page."""
    if options.mcp and importlib.util.find_spec("mcp") is None:
        print('error: --mcp needs Gradio\'s MCP extra: pip install "gradio[mcp]"', file=sys.stderr)
        sys.exit(2)
    try:
        demo.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share or None,
            mcp_server=options.mcp or None,
            **launch_options(),
        )
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
