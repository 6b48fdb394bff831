"""As much of the Hugging Face Hub as pushing and fetching a model takes, on this machine alone."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 40


class Repositories(BaseHTTPRequestHandler):
    """Repositories in memory, by name: their files by path."""

    files: dict[str, dict[str, bytes]]

    def _answer(self, body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            asked = json.loads(said)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.files.setdefault(name, {})
            self._answer(json.dumps({"url": f"{self._address}/{name}", "id": name}).encode())
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(said)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer(json.dumps({"files": modes}).encode())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.partition("?")[0]):
            for line in map(json.loads, said.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[found[1]][line["value"]["path"]] = content
            self._answer(
                json.dumps({"commitUrl": f"{self._address}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT}).encode()
            )
        else:
            self._answer(b"{}", 200 if "validate-yaml" in self.path else 404)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
            if found[1] in self.files:
                named = [{"rfilename": name} for name in self.files[found[1]]]
                return self._answer(json.dumps({"id": found[1], "sha": COMMIT, "siblings": named}).encode())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+", path):
            files = self.files.get(found[1], {}).items()
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files
            ]
            return self._answer(json.dumps(listed).encode())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            content = self.files.get(found[1], {}).get(found[2])
            if content is not None:
                digest = f'"{hashlib.sha1(content).hexdigest()}"'
                return self._answer(content, kind="application/octet-stream", ETag=digest, X_Repo_Commit=COMMIT)
        return self._answer(b'{"error": "not found"}', 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def log_message(self, *_said: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def hub() -> Iterator[tuple[str, dict[str, dict[str, bytes]]]]:
    """The stand-in's address, for HF_ENDPOINT, and its repositories."""
    files: dict[str, dict[str, bytes]] = {}
    handler = type("Handler", (Repositories,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
