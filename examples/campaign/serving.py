"""The HTTP plumbing that both servers share: listen, answer, log, stop.

Invariants: one line of JSON on stdout for each request; SIGTERM refuses new
connections at once, lets running requests end within `DRAIN_SECONDS` and exits
0; a broken client or a closed stdout never ends the process.
"""

import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Longer than any honest request of this application, far shorter than a supervisor's patience.
DRAIN_SECONDS = 2.0
# An idle keep-alive connection holds a thread, so it may not stay for ever.
IDLE_SECONDS = 30
# No route takes a body of any size; this is room for a client that sends one anyway.
MAX_BODY_BYTES = 64 * 1024

_stdout_lock = threading.Lock()


def log(level, message, **fields):
    """Prints one line of JSON. `ensure_ascii` keeps control characters of a request out of a terminal."""
    line = json.dumps(dict({"level": level, "message": message}, **fields)) + "\n"
    try:
        with _stdout_lock:
            sys.stdout.write(line)
            sys.stdout.flush()
    except (OSError, ValueError):
        pass  # Nobody reads our output any more; serving goes on.


class Handler(BaseHTTPRequestHandler):
    """Routes `GET`, `HEAD` and `POST` to `self.route(method, path, query)` and logs the answer."""

    protocol_version = "HTTP/1.1"
    server_version = "campaign"
    sys_version = ""
    timeout = IDLE_SECONDS
    # The whole answer leaves in one segment; without this, keep-alive clients wait 40 ms for the rest.
    wbufsize = -1

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def do_DELETE(self):
        self._answer("DELETE")

    def do_PATCH(self):
        self._answer("PATCH")

    def _answer(self, method):
        started = time.monotonic()
        self.status = 0
        path, _, query = self.path.partition("?")
        with self.server.in_flight:
            try:
                if self._read_body():
                    self.route(method, path, query)
            except (BrokenPipeError, ConnectionResetError, socket.timeout):
                self.close_connection = True
                return
            except Exception as error:  # A defect in one route must not take the connection's thread down unheard.
                self.error_text = "{}: {}".format(type(error).__name__, error)
                if not self.status:
                    self.send_json(500, {"error": "internal_error"})
            try:
                self.wfile.flush()
            except OSError:
                self.close_connection = True
        self._log_request(path, (time.monotonic() - started) * 1000)

    def _read_body(self):
        """Takes the body off the wire so that the next request on this connection starts where it should."""
        length = self.headers.get("Content-Length", "0")
        if self.headers.get("Transfer-Encoding"):
            problem = (411, "length_required")
        elif not (length.isascii() and length.isdigit()):
            problem = (400, "bad_request")
        elif int(length) > MAX_BODY_BYTES:
            problem = (413, "body_too_large")
        else:
            self.rfile.read(int(length))
            return True
        self.close_connection = True
        self.send_json(problem[0], {"error": problem[1]})
        return False

    def _log_request(self, path, duration_ms):
        # The query is left out on purpose: it holds what somebody searched for.
        if self.status >= 500:
            level = "error"
        elif self.status >= 400:
            level = "warn"
        else:
            level = "debug" if path == "/health" else "info"
        fields = {"method": self.command, "path": path, "status": self.status, "duration_ms": round(duration_ms, 2)}
        error = getattr(self, "error_text", None)
        if error:
            fields["error"] = error
            self.error_text = None
        log(level, "{} {} {}".format(self.command, path, self.status), **fields)

    def log_message(self, *_):
        """The base class would write its own format to stderr."""

    def send_bytes(self, status, content_type, body, headers=()):
        """Answers with `body`; a HEAD request gets its headers alone."""
        self.status = status
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, status, value, headers=()):
        """Answers with `value` as JSON, never cached: figures are live."""
        body = (json.dumps(value) + "\n").encode()
        self.send_bytes(status, "application/json", body, (("Cache-Control", "no-store"),) + tuple(headers))

    def bearer_is(self, token):
        """Whether the request presents `token`, compared in constant time."""
        scheme, _, presented = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(presented.strip().encode(), token.encode())


class InFlight:
    """Counts requests that are being answered, so that stopping can wait for them."""

    def __init__(self):
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self):
        with self._changed:
            self._count += 1

    def __exit__(self, *_):
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_for_none(self, seconds):
        """Waits until nothing is in flight, at most `seconds`; true when that came."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout=seconds)


class Server(ThreadingHTTPServer):
    """Serves on 127.0.0.1:`port`, or on the unix socket `socket_path` when that is given."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128  # The base class queues 5, which drops connections in any burst.

    def __init__(self, handler, port=0, socket_path=""):
        self.in_flight = InFlight()
        self.stopping = False
        self.socket_path = socket_path
        self._socket_inode = None
        if socket_path:
            self.address_family = socket.AF_UNIX
            _remove_dead_socket(socket_path)
        super().__init__(socket_path or ("127.0.0.1", port), handler)

    def server_bind(self):
        # The base class looks its own name up in the DNS here, which can take seconds.
        if self.allow_reuse_address and not self.socket_path:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name = "localhost"
        self.server_port = 0 if self.socket_path else self.server_address[1]
        if self.socket_path:
            self._socket_inode = os.stat(self.socket_path).st_ino

    def get_request(self):
        connection, address = super().get_request()
        if not self.socket_path:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address or ("unix", 0)

    def service_actions(self):
        if self.stopping:
            raise SystemExit  # Ends the accepting thread and nothing else.

    def handle_error(self, request, client_address):
        """A client that hangs up is its own affair."""

    def stop(self):
        """Refuses new connections, waits for running requests, removes the socket's file if it is still ours."""
        self.stopping = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        drained = self.in_flight.wait_for_none(DRAIN_SECONDS)
        if self.socket_path:
            try:
                if os.stat(self.socket_path).st_ino == self._socket_inode:
                    os.unlink(self.socket_path)
            except OSError:
                pass
        self.socket.close()
        return drained


def _remove_dead_socket(path):
    """Removes the file that a killed process left; a live one stays, and binding then fails as it should."""
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()


def run(name, server):
    """Serves until SIGTERM or SIGINT, then exits 0. Call it from the main thread."""
    # Blocked before any thread exists, so that every thread inherits it and only `sigwait` takes them.
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log("info", "{} listening".format(name), address=server.socket_path or "127.0.0.1:{}".format(server.server_port), pid=os.getpid())
    received = signal.sigwait(stop_signals)
    drained = server.stop()
    log("info", "{} stopped".format(name), signal=signal.Signals(received).name, drained=drained)
    sys.stdout.flush()
    os._exit(0)  # Idle keep-alive threads hold nothing that needs an orderly end.
