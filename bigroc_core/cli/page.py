"""`python -m bigroc_core page`, and what `python app.py` is made of: the web page, served until it is stopped."""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from bigroc_core.catalogue import add_for_this_run, load_for_lending, offer_hub, spaces, use_models
from bigroc_core.cli.classifier_options import add_classifier, classifier_entry
from bigroc_core.models_file import entry_named


def add_page_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `page` command."""
    add_page_options(commands.add_parser("page", help="serve the web page", description=__doc__))


def add_page_options(parser: argparse.ArgumentParser) -> None:
    """Where the page listens, and what it offers besides what comes along."""
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, or what the environment says)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument(
        "--root-path", metavar="PATH", help="path or address at which a proxy in front of it serves the page: /bigroc"
    )
    parser.add_argument("--share", action="store_true", help="also open a temporary public link through Gradio")
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as MCP tools, at /gradio_api/mcp/")
    parser.add_argument(
        "--no-live",
        dest="live",
        action="store_false",
        help="compute nothing beforehand: pictures do not follow while the strength is moved",
    )
    add_classifier(parser, default=None, purpose="one more to offer on the page", view=False)
    parser.add_argument(
        "--generator", metavar="NAME", help="one more to offer: a file, a pipeline's folder, a Hub name"
    )
    parser.add_argument(
        "--offline", action="store_true", help="offer nothing that has to be fetched from the Hugging Face Hub"
    )
    parser.add_argument(
        "--allow-checkpoints",
        action="store_true",
        help="let visitors use classifier checkpoints of their own, tensors alone, for as long as they are there",
    )


def page_of(options: argparse.Namespace) -> Any:
    """The page, a gr.Blocks, with the models that options name; ValueError, one line, for what is wrong with them."""
    # Nothing leaves the machine, so the page also works without a network. Gradio reads these when imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # what is cached still serves
    else:
        offer_hub()
    # Not Gradio's own folder, which other programs share: what is old in this one is removed.
    user = os.getuid() if hasattr(os, "getuid") else "user"
    os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / f"bigroc-page-{user}"))
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('the page needs Gradio, which is not installed: pip install "bigroc[page]"')
    if options.mcp and importlib.util.find_spec("mcp") is None:
        raise ValueError('--mcp needs Gradio\'s MCP extra: pip install "gradio[mcp]"')
    if options.allow_checkpoints and spaces is not None:
        raise ValueError("--allow-checkpoints: a ZeroGPU Space computes elsewhere, where a visitor's file is not")
    if options.models is not None:
        use_models(options.models)
    if options.classifier is not None:
        add_for_this_run(classifier_entry(options))
    if options.generator is not None:
        add_for_this_run(entry_named(options.generator, "generator"))
    from bigroc_core.ui.page import build_page

    load_for_lending()
    return build_page(options.live, options.allow_checkpoints)


def serve(page: Any, options: argparse.Namespace) -> None:
    """Serve the page until it is stopped; OSError where the address is not to be had."""
    from bigroc_core.ui.page import give_back_memory_regularly, launch_options, sweep_regularly

    sweep_regularly(page)
    give_back_memory_regularly()
    page.launch(
        server_name=options.host,
        server_port=options.port,
        root_path=options.root_path,
        share=options.share or None,
        mcp_server=options.mcp or None,
        **launch_options(options.allow_checkpoints),
    )


def run_page(options: argparse.Namespace) -> None:
    """Carry out a parsed `page` command."""
    serve(page_of(options), options)
