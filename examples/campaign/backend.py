"""The campaign's API, over its own SQLite database.

Invariants: `/health` is 200 only when the database answers; with `API_TOKEN`
set nothing below `/api/` answers without it; a backup appears under its name
complete or not at all, and never replaces another.
"""

import datetime
import os
import sqlite3
from urllib.parse import parse_qs

from schema import connect
from serving import Handler, Server, log, run
from settings import Settings

MAX_LIMIT = 200  # One page of contacts; a client that wants more asks again.
MAX_OFFSET = 10_000_000
COUNTED = ("persons", "events", "tags", "segments", "communications")


class BadParameter(ValueError):
    """The caller's query is wrong; the text says how."""


def megabytes(path):
    """The size of the database's file in MB, two decimals."""
    return round(os.path.getsize(path) / 1_000_000, 2)


def stats(db, path):
    answer = {table: db.execute("SELECT count(*) FROM {}".format(table)).fetchone()[0] for table in COUNTED}
    answer["database_size_mb"] = megabytes(path)
    return answer


def persons_count(db):
    by_status = {"active": 0, "inactive": 0}
    by_status.update(db.execute("SELECT status, count(*) FROM persons GROUP BY status"))
    return {"total": sum(by_status.values()), "by_status": by_status}


def persons(db, query):
    limit, offset = page(query)
    words = query.get("search", [""])[0][:100].split()
    # Each word must stand in a name, the city or the address; LIKE's own signs are taken literally.
    where = " AND ".join(["(first_name || ' ' || last_name || ' ' || city || ' ' || email) LIKE ? ESCAPE '\\'"] * len(words)) or "1"
    values = ["%{}%".format(w.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")) for w in words]
    total = db.execute("SELECT count(*) FROM persons WHERE " + where, values).fetchone()[0]
    rows = db.execute("SELECT id, first_name, last_name, email, phone, city, county, status, created_at FROM persons WHERE "
                      + where + " ORDER BY last_name, first_name, id LIMIT ? OFFSET ?", values + [limit, offset])
    return {"persons": records(rows), "total": total, "limit": limit, "offset": offset}


def upcoming_events(db, query):
    limit, offset = page(query)
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    total = db.execute("SELECT count(*) FROM events WHERE starts_at >= ?", (now,)).fetchone()[0]
    rows = db.execute("SELECT id, title, place, city, starts_at, capacity FROM events WHERE starts_at >= ? "
                      "ORDER BY starts_at, id LIMIT ? OFFSET ?", (now, limit, offset))
    return {"events": records(rows), "total": total, "limit": limit, "offset": offset}


def records(rows):
    names = [column[0] for column in rows.description]
    return [dict(zip(names, row)) for row in rows]


def page(query):
    """`limit` and `offset` of a list; out of range is refused, not clamped."""
    found = []
    for name, default, low, high in (("limit", 50, 1, MAX_LIMIT), ("offset", 0, 0, MAX_OFFSET)):
        text = query.get(name, [str(default)])[0]
        if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
            raise BadParameter("{} must be a number from {} to {}".format(name, low, high))
        found.append(int(text))
    return found


def back_up(settings, now):
    """Writes a consistent copy aside while the application runs, syncs it, then gives it its name."""
    os.makedirs(settings.backup_directory, exist_ok=True)
    partial = os.path.join(settings.backup_directory, ".{}-{}.partial".format(os.getpid(), now.strftime("%H%M%S%f")))
    try:
        source, target = connect(settings.database_path, read_only=True), connect(partial)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # The copy is one file that needs no companion.
        finally:
            source.close()
            target.close()
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        return name_backup(settings, partial, now)
    finally:
        os.unlink(partial)


def name_backup(settings, partial, now):
    """Links the copy to the first free name: by day, then by second, then by microsecond."""
    for stamp in ("%Y%m%d", "%Y%m%d-%H%M%S", "%Y%m%d-%H%M%S-%f"):
        path = os.path.join(settings.backup_directory, "{}-{}.db".format(settings.project_name, now.strftime(stamp)))
        try:
            os.link(partial, path)
        except FileExistsError:
            continue
        directory = os.open(settings.backup_directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return path
    raise FileExistsError("two backups in one microsecond")


class Backend(Handler):
    """The routes."""

    settings = None

    def route(self, method, path, query):
        if path == "/health":
            return self.health() if method == "GET" else self.send_json(405, {"error": "method_not_allowed"})
        if not path.startswith("/api/"):
            return self.send_json(404, {"error": "not_found"})
        token = self.settings.api_token
        if token and not self.bearer_is(token):
            return self.send_json(401, {"error": "unauthorized"}, (("WWW-Authenticate", "Bearer"),))
        if path == "/api/backup":
            return self.backup() if method == "POST" else self.send_json(405, {"error": "method_not_allowed"})
        if method != "GET" and path in self.reads:
            return self.send_json(405, {"error": "method_not_allowed"})
        return self.read(path, query)

    reads = {
        "/api/stats": lambda db, query, path: stats(db, path),
        "/api/persons/count": lambda db, query, path: persons_count(db),
        "/api/persons": lambda db, query, path: persons(db, query),
        "/api/events": lambda db, query, path: upcoming_events(db, query),
    }

    def read(self, path, query):
        answer = self.reads.get(path)
        if answer is None:
            return self.send_json(404, {"error": "not_found"})
        database = self.settings.database_path
        try:
            db = connect(database, read_only=True)
            try:
                value = answer(db, parse_qs(query, max_num_fields=20), database)
            finally:
                db.close()
        except (sqlite3.Error, OSError) as error:
            self.error_text = str(error)
            return self.send_json(503, {"error": "database_unavailable"})
        except ValueError as error:
            return self.send_json(400, {"error": "bad_request", "message": str(error)})
        return self.send_json(200, value)

    def health(self):
        try:
            db = connect(self.settings.database_path, read_only=True)
            try:
                db.execute("SELECT id FROM persons LIMIT 1").fetchone()
            finally:
                db.close()
        except sqlite3.Error as error:
            self.error_text = str(error)
            return self.send_json(503, {"status": "error", "database": "unavailable"})
        return self.send_json(200, {"status": "ok", "database": "ok"})

    def backup(self):
        try:
            path = back_up(self.settings, datetime.datetime.now(datetime.timezone.utc))
            size = megabytes(path)
        except (OSError, sqlite3.Error) as error:
            self.error_text = str(error)
            return self.send_json(503, {"error": "backup_failed"})
        return self.send_json(200, {"message": "Backup initiated", "backup_path": path, "size_mb": size})


def main():
    settings = Settings()
    Backend.settings = settings
    if not os.path.exists(settings.database_path):
        log("warn", "no database yet, run init.py first", path=settings.database_path)
    run("backend", Server(Backend, settings.port(8001), settings.socket_path))


if __name__ == "__main__":
    main()
