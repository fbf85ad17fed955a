#!/usr/bin/env python3
"""A Go module proxy (go.dev/ref/mod#goproxy-protocol): modules/NAME@VERSION/ each, below /go. It says what it is asked."""

import io
import json
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

MODULES = Path(__file__).parent / "modules"


def answer(path):
    """What stands at a path, or None."""
    name, _, file = path.removeprefix("/go/").partition("/@v/")
    if file == "list":
        return "".join(f"{found.name.split('@')[1]}\n" for found in MODULES.glob(f"{name}@*")).encode()
    version, _, kind = file.rpartition(".")
    source = MODULES / f"{name}@{version}"
    if not path.startswith("/go/") or ".." in path or not source.is_dir():
        return None
    if kind == "info":
        return json.dumps({"Version": version}).encode()
    if kind == "mod":
        return (source / "go.mod").read_bytes()
    if kind == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for part in sorted(source.rglob("*")):
                archive.write(part, f"{name}@{version}/{part.relative_to(source)}")
        return packed.getvalue()
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        agent, host = self.headers.get("user-agent"), self.headers["host"]
        # The token was for the front end; what else is there would be the client's own.
        others = sum("authorization" in name.lower() for name in self.headers)
        print(f"modules: GET {self.path} host={host} other-credentials={others} user-agent={agent}", flush=True)
        found = answer(urlsplit(self.path).path)
        body = found if found is not None else b"not found\n"
        self.send_response(404 if found is None else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
