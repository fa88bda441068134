"""The smallest service that Tenantry can run: `/` greets, `/health` answers 200.

Listens on the unix socket `SOCKET_PATH`, else on 127.0.0.1 at `PORT`.
"""

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = os.environ.get("GREETING", "Hello")


class Hello(BaseHTTPRequestHandler):
    """Answers every path but `/health` with the greeting."""

    def do_GET(self):
        body = (b'{"status": "ok"}' if self.path == "/health" else GREETING.encode()) + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print("INFO", form % values, flush=True)


class Server(ThreadingHTTPServer):
    """Skips the name lookup of the base class, which a unix socket has no use for."""

    daemon_threads = True

    def server_bind(self):
        if self.address_family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def get_request(self):
        connection, address = super().get_request()
        return connection, address or ("unix", 0)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = os.environ.get("SOCKET_PATH")
    if path:
        Server.address_family = socket.AF_UNIX
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)  # Left by a process that was killed; an id runs once.
    server = Server(path or ("127.0.0.1", int(os.environ.get("PORT", "8080"))), Hello)
    print("INFO listening on", path or server.server_address, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
