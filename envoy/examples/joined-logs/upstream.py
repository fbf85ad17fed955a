"""A service whose log lines join the proxy's: each has the request's id and its trace.

GET /status?code=503 answers so; everything else is taken.
"""
import json
import os
import sys
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]


def trace_of(headers):
    """The trace's id: Google's front end sends the first header, others the second (W3C Trace Context)."""
    cloud = headers.get("x-cloud-trace-context", "").split("/")[0]
    return cloud or (headers.get("traceparent", "").split("-") + [""])[1]


def log(headers, severity, message):
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "severity": severity,
        "logger": "upstream",
        "message": message,
        "request_id": headers.get("x-request-id"),
    }
    trace = trace_of(headers)
    if trace:
        line["logging.googleapis.com/trace"] = f"projects/{PROJECT}/traces/{trace}"
    if "x-amzn-trace-id" in headers:
        line["amzn_trace_id"] = headers["x-amzn-trace-id"]
    print(json.dumps(line), flush=True)


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status = int(parse_qs(address.query).get("code", ["200"])[0]) if address.path == "/status" else 200
        # A healthy answer to a monitor is no news here either.
        if address.path != "/status" or status >= 400:
            severity = "INFO" if status < 400 else "ERROR"
            log(self.headers, severity, f"{self.command} {address.path}: {len(body)} bytes, answered {status}")
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        """Its own format has no ids."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
