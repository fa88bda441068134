"""Tests of the sample application: `python3 -m unittest discover -s examples/campaign`."""

import datetime
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)

import backend  # noqa: E402  (found through the line above)
import frontend  # noqa: E402
import schema  # noqa: E402
import settings  # noqa: E402

DEADLINE_SECONDS = 20  # For one process to start or end on a loaded machine.


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Running:
    """One server of the application, started as the control plane would: a command, an environment, a directory."""

    def __init__(self, script, directory, **environ):
        environ.setdefault("PORT", "0")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, script)], cwd=directory, env=environ,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.address = None
        for line in self.process.stdout:
            record = json.loads(line)
            if record["message"].endswith("listening"):
                self.address = record["address"]
                break

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def ask(self, method, path, headers=None):
        """(status, headers, body) of one request."""
        if self.address.startswith("/"):
            connection = UnixConnection(self.address)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method, path, headers=None):
        status, _, body = self.ask(method, path, headers)
        return status, json.loads(body)

    def log_line(self):
        return json.loads(self.process.stdout.readline())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        self.process.stdout.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class InDirectory(unittest.TestCase):
    """Gives each test a tenant's directory of its own."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="smith-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.database = os.path.join(self.directory, "data", "app.db")

    def init(self, **environ):
        return subprocess.run([sys.executable, os.path.join(HERE, "init.py")], cwd=self.directory, env=environ,
                              capture_output=True, text=True, timeout=DEADLINE_SECONDS)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


class Init(InDirectory):
    def test_makes_a_few_thousand_rows_and_keeps_them_when_run_again(self):
        first = self.init(PROJECT_NAME="smith")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        with sqlite3.connect(self.database) as db:
            db.execute("DELETE FROM persons WHERE id = 7")
            db.execute("UPDATE persons SET city = 'Changed' WHERE id = 8")
        db.close()
        second = self.init(PROJECT_NAME="smith")
        self.assertEqual(second.returncode, 0, second.stdout + second.stderr)
        self.assertFalse(json.loads(second.stdout)["seeded"])
        db = sqlite3.connect(self.database)
        self.assertEqual(db.execute("SELECT count(*) FROM persons").fetchone()[0], schema.PERSONS - 1)
        self.assertEqual(db.execute("SELECT city FROM persons WHERE id = 8").fetchone()[0], "Changed")
        db.close()

    def test_migrates_a_database_of_the_first_release_without_losing_a_row(self):
        os.makedirs(os.path.dirname(self.database))
        db = sqlite3.connect(self.database)
        db.executescript(schema.MIGRATIONS[0])
        db.execute("INSERT INTO persons VALUES (1,'Ada','Byron','ada@example.org','+1-502-555-0100','Paducah','McCracken',"
                   "'active','2025-01-01T00:00:00Z')")
        db.execute("PRAGMA user_version = 1")
        db.commit()
        db.close()
        done = self.init()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        db = sqlite3.connect(self.database)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone()[0], len(schema.MIGRATIONS))
        self.assertEqual(db.execute("SELECT count(*) FROM persons").fetchone()[0], 1)
        db.execute("SELECT outcome FROM communications").fetchall()
        db.close()

    def test_leaves_a_database_of_a_later_release_as_it_is(self):
        self.init()
        db = sqlite3.connect(self.database)
        db.execute("PRAGMA user_version = 99")
        db.commit()
        db.close()
        done = self.init()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(json.loads(done.stdout)["schema_to"], 99)

    def test_the_same_name_and_day_give_the_same_rows(self):
        dumps = []
        for name in ("smith", "smith", "gallrein"):
            db = schema.connect(":memory:")
            schema.prepare(db, name, datetime.date(2025, 11, 13))
            dumps.append("\n".join(db.iterdump()))
            db.close()
        self.assertEqual(dumps[0], dumps[1])
        self.assertNotEqual(dumps[0], dumps[2])

    def test_fails_with_a_reason_when_the_directory_cannot_be_made(self):
        self.write("data", "a file stands where the directory belongs")
        done = self.init()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["level"], "error")


class Backend(InDirectory):
    def start(self, **environ):
        running = Running("backend.py", self.directory, **environ)
        self.addCleanup(running.__exit__)
        return running

    def test_is_unhealthy_until_its_database_is_there(self):
        api = self.start()
        self.assertEqual(api.json("GET", "/health")[0], 503)
        self.assertEqual(api.json("GET", "/api/stats")[0], 503)
        self.assertFalse(os.path.exists(self.database))
        self.init()
        self.assertEqual(api.json("GET", "/health"), (200, {"status": "ok", "database": "ok"}))

    def test_answers_the_documented_figures(self):
        self.init()
        api = self.start()
        status, stats = api.json("GET", "/api/stats")
        self.assertEqual(status, 200)
        self.assertEqual(set(stats), {"persons", "events", "tags", "segments", "communications", "database_size_mb"})
        self.assertEqual(stats["persons"], schema.PERSONS)
        self.assertGreater(stats["database_size_mb"], 0)
        status, count = api.json("GET", "/api/persons/count")
        self.assertEqual(count["total"], schema.PERSONS)
        self.assertEqual(sum(count["by_status"].values()), schema.PERSONS)

    def test_lists_and_searches_persons_taking_wildcards_literally(self):
        self.init()
        api = self.start()
        status, found = api.json("GET", "/api/persons?limit=3&offset=2&search=mary%20smith")
        self.assertEqual(status, 200)
        self.assertTrue(all(p["first_name"] == "Mary" and p["last_name"] == "Smith" for p in found["persons"]))
        self.assertEqual(api.json("GET", "/api/persons?search=%25")[1]["total"], 0)
        self.assertEqual(api.json("GET", "/api/persons?search=%27%20OR%201=1")[1]["total"], 0)
        for bad in ("limit=0", "limit=201", "limit=x", "offset=-1", "limit=%D9%A3", "offset=99999999999"):
            self.assertEqual(api.json("GET", "/api/persons?" + bad)[0], 400, bad)

    def test_a_backup_is_a_whole_database_and_never_replaces_another(self):
        self.init()
        api = self.start(PROJECT_NAME="smith-campaign")
        paths = []
        for _ in range(3):
            status, answer = api.json("POST", "/api/backup")
            self.assertEqual(status, 200, answer)
            self.assertEqual(answer["message"], "Backup initiated")
            self.assertGreater(answer["size_mb"], 0)
            paths.append(answer["backup_path"])
        self.assertEqual(len(set(paths)), 3)
        folder = os.path.realpath(os.path.join(self.directory, "backups"))
        self.assertEqual(sorted(os.path.basename(p) for p in paths), sorted(os.listdir(folder)))
        for path in paths:
            self.assertRegex(path, r"/backups/smith-campaign-\d{8}(-\d{6}(-\d{6})?)?\.db$")
            db = sqlite3.connect(path)
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            self.assertEqual(db.execute("SELECT count(*) FROM persons").fetchone()[0], schema.PERSONS)
            db.close()

    def test_a_token_guards_everything_but_health(self):
        self.init()
        api = self.start(API_TOKEN="s3cret")
        for method, path in (("GET", "/api/stats"), ("POST", "/api/backup"), ("GET", "/api/nothing")):
            self.assertEqual(api.json(method, path)[0], 401)
            self.assertEqual(api.json(method, path, {"Authorization": "Bearer s3cre"})[0], 401)
        self.assertEqual(api.json("GET", "/api/stats", {"Authorization": "Bearer s3cret"})[0], 200)
        self.assertEqual(api.json("GET", "/health")[0], 200)
        self.assertFalse(os.path.exists(os.path.join(self.directory, "backups")))

    def test_serves_on_a_unix_socket_left_behind_by_a_killed_process(self):
        self.init()
        path = os.path.join(self.directory, "app.sock")
        self.start(SOCKET_PATH=path).end(signal.SIGKILL)
        self.assertTrue(os.path.exists(path))
        api = self.start(SOCKET_PATH=path)
        self.assertEqual(api.json("GET", "/health")[0], 200)
        self.assertEqual(api.end(), 0)
        self.assertFalse(os.path.exists(path))

    def test_does_not_take_a_socket_that_another_process_serves(self):
        path = os.path.join(self.directory, "app.sock")
        self.start(SOCKET_PATH=path)
        second = subprocess.run([sys.executable, os.path.join(HERE, "backend.py")], cwd=self.directory,
                                env={"SOCKET_PATH": path}, capture_output=True, timeout=DEADLINE_SECONDS)
        self.assertNotEqual(second.returncode, 0)

    def test_ends_with_zero_on_term_although_a_client_keeps_its_connection(self):
        self.init()
        api = self.start()
        idle = http.client.HTTPConnection("127.0.0.1", api.port, timeout=DEADLINE_SECONDS)
        idle.request("GET", "/health")
        idle.getresponse().read()
        self.assertEqual(api.end(), 0)
        idle.close()

    def test_prints_one_structured_line_for_each_request_without_the_query(self):
        self.init()
        api = self.start()
        api.ask("GET", "/api/persons?search=Smith")
        line = api.log_line()
        self.assertEqual((line["level"], line["path"], line["status"]), ("info", "/api/persons", 200))
        self.assertNotIn("Smith", json.dumps(line))
        api.ask("GET", "/nothing")
        self.assertEqual(api.log_line()["level"], "warn")

    def test_refuses_a_large_body_and_other_methods(self):
        api = self.start()
        self.assertEqual(api.ask("POST", "/api/backup", {"Content-Length": "999999"})[0], 413)
        self.assertEqual(api.ask("DELETE", "/api/stats")[0], 405)
        self.assertEqual(api.ask("GET", "/api/backup")[0], 405)


class Frontend(InDirectory):
    def start(self, **environ):
        running = Running("frontend.py", self.directory, **environ)
        self.addCleanup(running.__exit__)
        return running

    def test_shows_the_campaigns_name_as_text(self):
        site = self.start(APP_NAME="<b>Smith</b> & Co")
        status, headers, body = site.ask("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn(b"&lt;b&gt;Smith&lt;/b&gt; &amp; Co", body)
        self.assertNotIn(b"<b>Smith", body)
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])

    def test_passes_public_figures_through_and_nothing_else(self):
        self.init()
        api = Running("backend.py", self.directory, API_TOKEN="s3cret")
        self.addCleanup(api.__exit__)
        site = self.start(API_TOKEN="s3cret", BACKEND_API_URL="http://127.0.0.1:{}/api".format(api.port))
        self.assertEqual(site.json("GET", "/api/stats")[1]["persons"], schema.PERSONS)
        self.assertEqual(site.json("GET", "/api/persons/count")[0], 200)
        self.assertLessEqual(len(site.json("GET", "/api/events?limit=2")[1]["events"]), 2)
        for path in ("/api/persons", "/api/persons?limit=1", "/api/backup", "/api/../api/persons", "/api/persons%2fcount"):
            self.assertEqual(site.ask("GET", path)[0], 403, path)
        self.assertEqual(site.ask("POST", "/api/backup")[0], 405)

    def test_says_502_when_the_backend_is_away_and_stays_healthy(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            site = self.start(BACKEND_API_URL="http://127.0.0.1:{}/api".format(free.getsockname()[1]))
            self.assertEqual(site.ask("GET", "/api/stats")[0], 502)
        self.assertEqual(site.ask("GET", "/health")[0], 200)

    def test_serves_static_files_and_logos_but_nothing_beside_them(self):
        self.write(".env", "SECRET=1\n")
        self.write("assets/logos/logo-full.png", "not really a picture")
        self.write("assets/logos/.hidden.png", "x")
        self.write("assets/page.html", "<script>")
        self.write("private.png", "beside the assets")
        os.symlink(os.path.join(self.directory, "private.png"), os.path.join(self.directory, "assets", "link.png"))
        site = self.start()
        for path in ("/static/style.css", "/static/stats.js", "/static/star.svg", "/assets/logos/logo-full.png", "/events"):
            self.assertEqual(site.ask("GET", path)[0], 200, path)
        for path in ("/.env", "/static/../.env", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py", "/assets/../.env",
                     "/assets/%2e%2e%2f.env", "/assets/.env", "/assets/logos/.hidden.png", "/assets/page.html",
                     "/assets/link.png", "/static/", "/static", "/static//style.css", "/static/style.css%00.png",
                     "/static/..%5csettings.py", "/static//etc/passwd", "/assets/%2fetc/passwd"):
            self.assertEqual(site.ask("GET", path)[0], 404, path)

    def test_puts_only_colours_into_the_style_sheet(self):
        site = self.start(PRIMARY_COLOR="red;}body{display:none", ACCENT_COLOR="#abcdef")
        body = site.ask("GET", "/theme.css")[2].decode()
        self.assertIn("--primary:#0e173e;", body)
        self.assertIn("--accent:#abcdef;", body)

    def test_shows_another_theme_without_a_restart(self):
        site = self.start(PRIMARY_COLOR="#abcdef")
        self.assertIn(b"--primary:#abcdef;", site.ask("GET", "/theme.css")[2])
        self.write("assets/logos/logo-icon.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
        self.write("assets/theme.json", '{"primary_color": "#123456", "accent_color": "red;}", "logo_icon": "/assets/logos/logo-icon.svg"}')
        body = site.ask("GET", "/theme.css")[2]
        self.assertIn(b"--primary:#123456;", body)
        self.assertIn(b"--accent:#f1c613;", body)
        self.assertIn(b'<img src="/assets/logos/logo-icon.svg"', site.ask("GET", "/")[2])
        status, headers, _ = site.ask("GET", "/assets/logos/logo-icon.svg")
        self.assertEqual((status, headers["Content-Type"]), (200, "image/svg+xml"))
        self.assertIn("sandbox", headers["Content-Security-Policy"])
        for broken in ("{", "[]", '{"primary_color": 3, "logo_icon": "https://evil.example/x.svg"}'):
            self.write("assets/theme.json", broken)
            self.assertIn(b"--primary:#abcdef;", site.ask("GET", "/theme.css")[2], broken)
            self.assertIn(b'<img src="/static/star.svg"', site.ask("GET", "/")[2], broken)

    def test_reads_the_name_from_dotenv_and_lets_the_environment_win(self):
        self.write(".env", 'APP_NAME="From the file"\nADMIN_EMAIL=file@example.org\n')
        body = self.start(APP_NAME="From outside").ask("GET", "/")[2]
        self.assertIn(b"From outside", body)
        self.assertIn(b"file@example.org", body)

    def test_ends_with_zero_on_term(self):
        self.assertEqual(self.start().end(), 0)


class Units(unittest.TestCase):
    def test_dotenv_quotes_and_comments(self):
        text = "# note\nA=1\nexport B='two words'\nC=\"line\\nnext \\$HOME \\\"q\\\"\"\nbroken\n=x\nD=\n"
        self.assertEqual(settings.parse_dotenv(text),
                         {"A": "1", "B": "two words", "C": 'line\nnext $HOME "q"', "D": ""})

    def test_a_project_name_never_leaves_the_backup_directory(self):
        self.assertEqual(settings.Settings({"PROJECT_NAME": "../../etc/x"}, "/tmp").project_name, "etcx")
        self.assertEqual(settings.Settings({"PROJECT_NAME": "///"}, "/tmp").project_name, "campaign")

    def test_a_port_out_of_range_is_refused(self):
        for text in ("x", "-1", "65536"):
            with self.assertRaises(SystemExit):
                settings.Settings({"PORT": text}, "/tmp").port(1)

    def test_pages_bound_their_size(self):
        self.assertEqual(backend.page({}), [50, 0])
        with self.assertRaises(backend.BadParameter):
            backend.page({"limit": ["1000"]})

    def test_colors(self):
        self.assertEqual(frontend.color("#fff", "d"), "#fff")
        self.assertEqual(frontend.color("#ffff", "d"), "d")
        self.assertEqual(frontend.color("", "d"), "d")


if __name__ == "__main__":
    unittest.main()
