"""Serves the test's page and npm's livekit-client to browsers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT = HERE / "node_modules" / "livekit-client" / "dist"
SCRIPTS = ("livekit-client.esm.mjs", "livekit-client.e2ee.worker.mjs")
FILES = {
    "/": (HERE / "browser" / "peer.html", "text/html"),
    "/peer.js": (HERE / "browser" / "peer.js", "text/javascript"),
    **{f"/{name}": (CLIENT / name, "text/javascript") for name in SCRIPTS},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, kind = FILES.get(self.path, (None, ""))
        self.send_response(200 if path else 404)
        self.send_header("content-type", kind)
        self.end_headers()
        if path:
            self.wfile.write(path.read_bytes())

    def log_message(self, format: str, *args: object) -> None:
        """Browsers' requests are of no interest."""


@contextmanager
def serve_pages() -> Iterator[str]:
    """The address of the page, on localhost: only there may a page without TLS use a microphone."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
