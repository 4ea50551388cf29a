"""A reverse proxy as a desk puts it in front of the web process: it ends TLS, and tells caller and scheme by header."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive", "content-encoding"}


class _Forwarding(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = ""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        told = self.headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = ", ".join(filter(None, (told, self.client_address[0])))
        # Callers have come by TLS, whatever they claim.
        headers["X-Forwarded-Proto"] = "https"
        answer = requests.request(
            self.command,
            self.upstream + self.path,
            headers=headers,
            data=self.rfile.read(length),
            allow_redirects=False,
            timeout=10,
        )
        self.send_response(answer.status_code)
        for name, value in answer.raw.headers.items():
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_POST = do_GET  # noqa: N815 -- the base class calls it so

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests look at answers."""


@contextmanager
def proxy_before(upstream: str) -> Iterator[str]:
    """Run a proxy in front of an address; yields the proxy's address."""
    handler = type("Forwarding", (_Forwarding,), {"upstream": upstream.rstrip("/")})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
