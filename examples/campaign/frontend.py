"""The campaign's public site: pages, static files, and the few figures that the public may see.

The look is the tenant's `assets/theme.json`, read again with each request: the
control plane replaces that file whole, so a new theme shows without a restart.

Invariants: only files inside `static/` (and logos inside the tenant's
`assets/`) are ever read, by a known suffix, and none whose name starts with a
dot; the pass-through forwards the named reads and nothing else, so contacts and
backups stay behind the backend's own credential.
"""

import html
import http.client
import json
import os
from urllib.parse import quote, unquote, urlsplit

from serving import Handler, Server, run
from settings import Settings

STATIC = os.path.join(os.path.dirname(os.path.realpath(__file__)), "static")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
         ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".ico": "image/x-icon"}
LOGO_TYPES = (".png", ".jpg", ".webp", ".svg")
PAGES = {"/": "index.html", "/events": "events.html"}
PUBLIC_READS = ("/api/stats", "/api/persons/count", "/api/events")
POLICY = (("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
          ("Referrer-Policy", "same-origin"))
COLORS = (("--primary", "PRIMARY_COLOR", "#0e173e"), ("--secondary", "SECONDARY_COLOR", "#f1c613"),
          ("--accent", "ACCENT_COLOR", "#f1c613"), ("--text", "TEXT_COLOR", "#374151"),
          ("--surface", "SIDEBAR_COLOR", "#f8fafc"))
MAX_THEME_BYTES = 64 * 1024  # The control plane writes about one kilobyte.
# A logo that is opened by itself must not be a page that runs something.
LOGO_POLICY = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),)
BACKEND_SECONDS = 5
MAX_ANSWER_BYTES = 1_000_000  # The public reads answer a few kilobytes.


def file_below(root, relative):
    """The real path of `relative` inside `root`, or None: no escape, no dot file, no link that leads out."""
    if "\0" in relative or "\\" in relative:
        return None
    parts = relative.split("/")
    if any(part == "" or part.startswith(".") for part in parts):
        return None
    root = os.path.realpath(root)
    path = os.path.realpath(os.path.join(root, *parts))
    return path if path.startswith(root + os.sep) and os.path.isfile(path) else None


def color(value, default):
    """A `#rrggbb` value, else the default: nothing else may reach the style sheet."""
    digits = value[1:]
    valid = value.startswith("#") and len(digits) in (3, 6) and all(c in "0123456789abcdefABCDEF" for c in digits)
    return value if valid else default


def read_theme(directory):
    """What the control plane says of the look, as a dict; empty when it says nothing that can be read."""
    try:
        with open(os.path.join(directory, "assets", "theme.json"), encoding="utf-8") as file:
            theme = json.loads(file.read(MAX_THEME_BYTES))
    except (OSError, ValueError):
        return {}
    return theme if isinstance(theme, dict) else {}


def fetch(url, token):
    """(status, body) of a read of the backend. Raises OSError or HTTPException when it does not answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=BACKEND_SECONDS)
    try:
        headers = {"Authorization": "Bearer " + token} if token else {}
        connection.request("GET", parts.path + ("?" + parts.query if parts.query else ""), headers=headers)
        answer = connection.getresponse()
        body = answer.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES:
            raise OSError("the backend's answer is too large")
        return answer.status, body
    finally:
        connection.close()


class Frontend(Handler):
    """The routes."""

    settings = None

    def route(self, method, path, query):
        if method != "GET":
            return self.send_json(405, {"error": "method_not_allowed"}, (("Allow", "GET, HEAD"),))
        if path == "/health":
            return self.send_json(200, {"status": "ok"})
        if path.startswith("/api/"):
            return self.pass_through(path, query)
        if path in PAGES:
            return self.page(PAGES[path])
        if path == "/theme.css":
            return self.theme()
        if path.startswith("/static/"):
            return self.file(STATIC, unquote(path[len("/static/"):]), TYPES)
        if path.startswith("/assets/"):
            assets = os.path.join(self.settings.directory, "assets")
            return self.file(assets, unquote(path[len("/assets/"):]), LOGO_TYPES)
        return self.not_found()

    def page(self, name):
        with open(os.path.join(STATIC, name), encoding="utf-8") as file:
            text = file.read()
        logo = self.look().get("logo_icon")
        if not (isinstance(logo, str) and logo.startswith("/assets/logos/")):
            logo = "/static/star.svg"
        text = text.replace("{{LOGO}}", html.escape(logo))
        text = text.replace("{{APP_NAME}}", html.escape(self.settings.app_name))
        text = text.replace("{{ADMIN_EMAIL}}", html.escape(self.settings.get("ADMIN_EMAIL", "team@example.org")))
        self.send_bytes(200, TYPES[".html"], text.encode(), POLICY + (("Cache-Control", "no-cache"),))

    def look(self):
        return read_theme(self.settings.directory)

    def theme(self):
        look = self.look()
        rules = ""
        for name, key, default in COLORS:
            said = look.get(key.lower())
            chosen = color(said if isinstance(said, str) else "", color(self.settings.get(key), default))
            rules += "{}:{};".format(name, chosen)
        body = ":root{" + rules + "}\n"
        self.send_bytes(200, TYPES[".css"], body.encode(), (("Cache-Control", "no-cache"),))

    def file(self, root, relative, suffixes):
        path = file_below(root, relative)
        suffix = os.path.splitext(path)[1].lower() if path else ""
        if suffix not in suffixes:
            return self.not_found()
        with open(path, "rb") as file:
            body = file.read()
        policy = LOGO_POLICY if root != STATIC else POLICY
        return self.send_bytes(200, TYPES[suffix], body, policy + (("Cache-Control", "max-age=60"),))

    def not_found(self):
        return self.send_bytes(404, "text/plain; charset=utf-8", b"Not found\n")

    def pass_through(self, path, query):
        if path not in PUBLIC_READS:
            return self.send_json(403, {"error": "forbidden", "message": "this is not public; ask the campaign's API"})
        url = self.settings.backend_api_url(self.server.server_port) + path[len("/api"):]
        # Quoted again, so that nothing a visitor sends can add a header or a second request.
        query = quote(query, safe="=&%+-_.~")
        try:
            status, body = fetch(url + ("?" + query if query else ""), self.settings.api_token)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error_text = "{}: {}".format(type(error).__name__, error)
            return self.send_json(502, {"error": "backend_unavailable"})
        return self.send_bytes(status, "application/json", body, (("Cache-Control", "no-store"),))


def main():
    Frontend.settings = Settings()
    run("frontend", Server(Frontend, Frontend.settings.port(8000), Frontend.settings.socket_path))


if __name__ == "__main__":
    main()
