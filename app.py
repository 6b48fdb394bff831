"""The web page, here and on a Hugging Face Space: `python app.py`, then open the address it prints."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

# Nothing leaves the machine, so the page also works without a network. Gradio reads these when imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from bigroc_core.ui.page import build_page, launch_options

try:
    demo = build_page()
except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Serve the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, or what the environment says)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a temporary public link through Gradio")
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as MCP tools, at /gradio_api/mcp/")
    options = parser.parse_args()
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
