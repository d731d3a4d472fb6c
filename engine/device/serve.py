"""Answers pictures over HTTP: python serve.py [--host ADDRESS] [--port N] [--min-confidence P] [--threads N]

GET /health says that the model is open; POST /predict takes the bytes of a picture and answers with JSON.
Only this machine is served unless another address is named: whoever reaches the port may ask.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from classifier import MIN_CONFIDENCE, OTHER_RUNTIME, BadPackage, Classifier
from image import NoPicture

MOST_BYTES = 20_000_000
SILENT_S = 10  # a caller who says nothing for so long is let go


class Server(ThreadingMixIn, HTTPServer):
    """Serves one classifier; one picture at a time goes through it."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], classifier: Classifier, least: float | None = None):
        super().__init__(address, Handler)
        self.classifier, self.least, self.lock = classifier, least, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = SILENT_S

    def do_GET(self) -> None:
        """Answers GET /health."""
        if self.path != "/health":
            self.say(404, {"error": "there is /health, and POST /predict"})
            return
        model, metadata = self.server.classifier.model, self.server.classifier.metadata
        self.say(
            200,
            {"ready": True, "variant": metadata["variant"], "runtime": model.id, "version": model.version},
        )

    def do_POST(self) -> None:
        """Answers POST /predict with a picture as its body."""
        if self.path != "/predict":
            self.say(404, {"error": "there is POST /predict, and GET /health"})
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self.say(411, {"error": "say how long the picture is: Content-Length"})
            return
        if not 0 < length <= MOST_BYTES:
            self.close_connection = True
            self.say(413, {"error": "a picture has 1 to %d bytes" % MOST_BYTES})
            return
        try:
            picture = self.server.classifier.read(self.rfile.read(length))
        except NoPicture as error:
            self.say(400, {"error": "the body can't be read as a picture: it %s" % error})
            return
        with self.server.lock:
            answer = self.server.classifier.answer(picture, self.server.least)
        self.say(200, answer)

    def say(self, code: int, what: dict[str, Any]) -> None:
        """Sends JSON."""
        content = json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: Any) -> None:
        """Says nothing: a line a picture would fill a small device's disk."""


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--min-confidence", type=float, help=MIN_CONFIDENCE)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["opencv"], help=OTHER_RUNTIME)
    arguments = parser.parse_args()
    try:
        classifier = Classifier(arguments.threads, runtime=arguments.runtime)
        server = Server((arguments.host, arguments.port), classifier, arguments.min_confidence)
    except (BadPackage, OSError) as error:
        sys.exit(str(error))
    print("serving on http://%s:%d" % (arguments.host, server.server_address[1]), flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
