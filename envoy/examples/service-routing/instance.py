#!/usr/bin/env python3
"""An instance of a service on each of these addresses: instance.py NAME PORT ADDRESS..."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, PORT, ADDRESSES = sys.argv[1], int(sys.argv[2]), sys.argv[3:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def answer(self):
        address = self.server.server_address[0]
        if self.path == f"/fails-at/{address}":
            status, said = 503, "I am ill"
        elif self.path == "/health":
            status, said = 200, "I am healthy!"
        elif self.path == "/sleep":
            time.sleep(10)
            status, said = 200, "I have slept"
        else:
            status, said = 200, f"{self.command} {self.path} for {self.headers['host']}"
        body = f"{NAME} at {address}: {said}\n".encode()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


for address in ADDRESSES:
    threading.Thread(target=ThreadingHTTPServer((address, PORT), Handler).serve_forever).start()
