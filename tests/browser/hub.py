"""A stand-in for the Hugging Face Hub: one file, as much of the protocol as fetching it takes, and slowly."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECES, PAUSE = 20, 0.2


@contextmanager
def standing_in(path: str, data: bytes) -> Iterator[str]:
    """Serve `data` at /path as the Hub does, everything else as not there; yields the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _head(self) -> bool:
            known = self.path.split("?")[0] == f"/{path}"
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(data) if known else 0))
            if known:
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return known

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            if self._head():
                size = -(-len(data) // PIECES)
                for start in range(0, len(data), size):
                    self.wfile.write(data[start : start + size])
                    time.sleep(PAUSE)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
