"""What the application is told from outside: the environment, else `.env`, else a default.

The control plane starts every process with the tenant's directory as its
working directory, so relative paths (the database, the backups, `.env`) belong
to the tenant and outlive a release. A variable of the environment always wins
over `.env`.
"""

import os


def parse_dotenv(text):
    """Reads `KEY=value` lines; quotes are taken off, `\\n`, `\\"` and `\\$` undone in double quotes."""
    values = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("export "):
            line = line[len("export "):].lstrip()
        if not line or line.startswith("#") or "=" not in line:
            continue
        key, value = line.split("=", 1)
        key, value = key.strip(), value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            quote, value = value[0], value[1:-1]
            if quote == '"':
                value = _unescape(value)
        if key:
            values[key] = value
    return values


def _unescape(value):
    plain, escaped = [], False
    for character in value:
        if escaped:
            plain.append({"n": "\n", "r": "\r", "t": "\t"}.get(character, character))
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            plain.append(character)
    return "".join(plain)


class Settings:
    """The values that the two servers and `init.py` use."""

    def __init__(self, environ=None, directory="."):
        self.directory = os.path.abspath(directory)
        self._values = {}
        try:
            with open(os.path.join(self.directory, ".env"), encoding="utf-8") as file:
                self._values.update(parse_dotenv(file.read()))
        except (OSError, UnicodeDecodeError):
            pass  # A tenant without a readable `.env` runs on the environment and the defaults.
        self._values.update(os.environ if environ is None else environ)

    def get(self, name, default=""):
        """The value of `name`; an empty one counts as not set."""
        return self._values.get(name) or default

    @property
    def app_name(self):
        """The campaign's name, as pages show it."""
        return self.get("APP_NAME", "Campaign")

    @property
    def project_name(self):
        """The short name that stands in file names; the tenant's directory by default."""
        name = self.get("PROJECT_NAME", os.path.basename(self.directory) or "campaign")
        safe = "".join(c for c in name.lower() if c.isascii() and (c.isalnum() or c in "-_"))
        return safe[:63] or "campaign"

    @property
    def api_token(self):
        """What callers of `/api/` must present; empty when the API is open."""
        return self.get("API_TOKEN")

    @property
    def database_path(self):
        """The absolute path of the SQLite file."""
        path = self.get("DATABASE_PATH", os.path.join("data", "app.db"))
        return os.path.join(self.directory, path)

    @property
    def backup_directory(self):
        """Where `POST /api/backup` writes."""
        return os.path.join(self.directory, "backups")

    @property
    def socket_path(self):
        """The unix socket to serve on; empty means TCP."""
        return self.get("SOCKET_PATH")

    def port(self, default):
        """The TCP port to serve on. 0 lets the system choose."""
        text = self.get("PORT", str(default))
        try:
            port = int(text)
        except ValueError:
            raise SystemExit("PORT must be a number, got {!r}".format(text))
        if not 0 <= port <= 65535:
            raise SystemExit("PORT must be between 0 and 65535, got {}".format(port))
        return port

    def backend_api_url(self, own_port):
        """The backend's API. A tenant holds a pair of ports: the backend's is the frontend's plus one."""
        return self.get("BACKEND_API_URL", "http://127.0.0.1:{}/api".format(own_port + 1)).rstrip("/")
