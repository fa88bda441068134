"""The demo behind `make run`: starts Tenantry, deploys one tenant, says what to try, and ends what it started.

    demo.py [run]      until Ctrl-C
    demo.py once       the same, but ends by itself when the tenant answers
    demo.py clean      ends what still runs and removes the data directory

Environment: TENANTRY (the binary), DATA_DIR, MANAGER and INSTANCES (addresses or ports), TENANTRY_ADMIN_PASSWORD.
Everything is bounded, so that a control plane which hangs ends the demo with a reason.
"""

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import quote

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
SAMPLE = os.path.join(ROOT, "examples", "campaign")
CONFIG = os.path.join(ROOT, "examples", "tenantry.toml")

READY_SECONDS = 30
DEPLOY_SECONDS = 120
HEALTHY_SECONDS = 30
# The control plane promises to exit within 8 s of a TERM.
SERVE_STOP_SECONDS = 15
STOP_ALL_SECONDS = 60
LEFTOVER_SECONDS = 5
POLL_SECONDS = 0.2
ENDED = ("success", "failed", "cancelled", "rolled_back")

TENANT = {
    "name": "John Smith for Senate",
    "slug": "smith-campaign",
    "domain": "smith.localhost",
    "api_domain": "smithapi.localhost",
    "notes": "The demo's tenant",
}


class DemoFailed(Exception):
    """Something that the demo needs did not come; the text says what to do."""


class Interrupted(Exception):
    """Somebody pressed Ctrl-C or sent a TERM."""


class Stopper:
    """Turns a stop signal into `Interrupted` where the demo waits, and into nothing once it is ending."""

    def __init__(self):
        self.ending = False
        self.held = self.pending = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.handle)

    def handle(self, *_):
        if self.held:
            self.pending = True
        elif not self.ending:
            self.ending = True
            raise Interrupted

    def __enter__(self):
        """Holds signals back, so that a process which was just started is always known to whoever ends it."""
        self.held = True

    def __exit__(self, *_):
        self.held = False
        if self.pending:
            self.pending = False
            self.handle()


class Places:
    """Where things are, from the environment."""

    def __init__(self, environ):
        target = environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        self.binary = os.path.abspath(environ.get("TENANTRY") or os.path.join(target, "release", "tenantry"))
        self.data_dir = os.path.abspath(environ.get("DATA_DIR") or os.path.join(ROOT, "data"))
        self.manager = address(environ.get("MANAGER") or "32201")
        self.instances = address(environ.get("INSTANCES") or "8000")
        self.demo = os.path.join(self.data_dir, "demo")
        self.repository = os.path.join(self.demo, "campaign")
        self.log = os.path.join(self.demo, "serve.log")
        self.password_file = os.path.join(self.data_dir, "admin-password")
        self.given_password = environ.get("TENANTRY_ADMIN_PASSWORD", "")


def address(text):
    """A listening address; a port alone means 127.0.0.1."""
    return text if ":" in text else "127.0.0.1:" + text


def reachable(listening):
    """The address to connect to for a listening one."""
    host, _, port = listening.rpartition(":")
    return "127.0.0.1:" + port if host in ("0.0.0.0", "[::]", "") else listening


class Api:
    """The manager's API, spoken as its document prints it."""

    def __init__(self, listening):
        self.address = reachable(listening)
        self.token = ""

    def ask(self, method, path, body=None, timeout=30):
        """(status, value) of one request. Raises OSError when nothing answers."""
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        headers = {"Authorization": "Bearer " + self.token} if self.token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except http.client.HTTPException as error:
            raise OSError("{} {} got an answer that is not HTTP: {!r}".format(method, path, error)) from error
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, {"error": text[:200]}

    def must(self, method, path, body=None, timeout=30):
        """The value of a request that has to succeed."""
        status, value = self.ask(method, path, body, timeout)
        if not 200 <= status < 300:
            said = value.get("detail") or value.get("message") or value.get("error") if isinstance(value, dict) else value
            raise DemoFailed("{} {} answered {}: {}".format(method, path, status, said))
        return value


def git(places, *arguments):
    """Runs git on the demo's repository, unmoved by what the user's own configuration says."""
    environ = dict(os.environ, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        environ.pop(name, None)
    identity = ["-c", "user.name=Tenantry demo", "-c", "user.email=demo@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git"] + identity + ["-C", places.repository] + list(arguments), env=environ,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise DemoFailed("git {} failed: {}".format(arguments[0], done.stderr.strip()))
    return done.stdout


def make_repository(places):
    """Commits the sample application into a repository of its own. True when that made a new commit."""
    os.makedirs(places.repository, exist_ok=True)
    if not os.path.isdir(os.path.join(places.repository, ".git")):
        git(places, "init", "--quiet")
    for name in os.listdir(places.repository):
        path = os.path.join(places.repository, name)
        if name != ".git":
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    shutil.copytree(SAMPLE, places.repository, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "data", "backups"))
    git(places, "add", "--all")
    if not git(places, "status", "--porcelain"):
        return False
    git(places, "commit", "--quiet", "--message", "The sample application as it is in the repository")
    return True


def admin_password(places):
    """The given password, else the one that an earlier run kept, else a new one."""
    if places.given_password:
        return places.given_password
    try:
        with open(places.password_file, encoding="utf-8") as file:
            kept = file.read().strip()
        if kept:
            return kept
    except FileNotFoundError:
        pass
    password = secrets.token_urlsafe(18)
    descriptor = os.open(places.password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(password + "\n")
    return password


def start_serve(places, password):
    """Starts `tenantry serve` in a session of its own, so that Ctrl-C reaches this script alone."""
    command = [places.binary, "serve", "--config", CONFIG, "--data-dir", places.data_dir,
               "--manager", places.manager, "--instances", places.instances]
    environ = dict(os.environ, TENANTRY_ADMIN_PASSWORD=password)
    with open(places.log, "wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True)


def refuse_taken_addresses(places):
    """A server that already listens there would answer in place of ours."""
    for name, listening in (("MANAGER", places.manager), ("INSTANCES", places.instances)):
        connection = http.client.HTTPConnection(reachable(listening), timeout=2)
        try:
            connection.connect()
        except OSError:
            continue
        finally:
            connection.close()
        raise DemoFailed("something already listens on {}. End it, or choose another address with {}=PORT.".format(listening, name))


def wait_until(what, seconds, check, serve):
    """Asks `check` until it gives something, at most `seconds`; ends early when the server has."""
    deadline = time.monotonic() + seconds
    while True:
        if serve.poll() is not None:
            raise DemoFailed("tenantry serve ended with code {}".format(serve.returncode))
        try:
            found = check()
        except OSError:
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise DemoFailed("waited {} s in vain for {}".format(seconds, what))
        time.sleep(POLL_SECONDS)


def log_in(api, places, password):
    status, value = api.ask("POST", "/api/auth/login", {"username": "admin", "password": password})
    if status == 401:
        raise DemoFailed("the login was refused. The data in {} was made with another password: set TENANTRY_ADMIN_PASSWORD, "
                         "or `make clean-demo`.".format(places.data_dir))
    if status != 200:
        raise DemoFailed("the login answered {}: {}".format(status, value))
    api.token = value["access_token"]


def find_or_create(api, places):
    """The demo's tenant, made when it is not there yet."""
    listed = api.must("GET", "/api/tenants?search=" + quote(TENANT["domain"]))
    for tenant in listed["tenants"]:
        if tenant["slug"] == TENANT["slug"]:
            return api.must("GET", "/api/tenants/" + tenant["id"])
    made = api.must("POST", "/api/tenants", dict(TENANT, github_repo="file://" + quote(places.repository)))
    return api.must("GET", "/api/tenants/" + made["id"])


def deploy(api, tenant, serve):
    """Deploys and prints each step as it ends."""
    answer = api.must("POST", "/api/tenants/{}/deploy".format(tenant["id"]),
                      {"skip_ssl": False, "skip_nginx": False, "skip_services": False})
    path = "/api/deployments/" + answer["deployment_id"]
    printed = set()

    def ended():
        deployment = api.must("GET", path)
        for step in deployment["steps"]:
            if step["status"] not in ("pending", "running") and step["name"] not in printed:
                printed.add(step["name"])
                seconds = step.get("duration")
                took = "" if seconds is None else "  {} s".format(seconds)
                print("  {:<28}{}{}".format(step["name"], step["status"], took), flush=True)
        return deployment if deployment["status"] in ENDED else None

    deployment = wait_until("the deployment", DEPLOY_SECONDS, ended, serve)
    if deployment["status"] != "success":
        raise DemoFailed("the deployment ended as {}. Its log:\n{}".format(deployment["status"], deployment.get("logs", "")))


def bring_up(api, places, changed, serve):
    """Leaves the tenant deployed, started and healthy, whatever an earlier run left."""
    tenant = find_or_create(api, places)
    if changed or not tenant.get("deployed_at") or tenant["status"] in ("pending", "error"):
        print("Deploying {} ({})".format(tenant["name"], tenant["slug"]), flush=True)
        deploy(api, tenant, serve)
    elif tenant["status"] == "deploying":
        print("A deployment of an earlier run goes on.", flush=True)
        wait_until("the deployment of an earlier run", DEPLOY_SECONDS,
                   lambda: api.must("GET", "/api/tenants/" + tenant["id"])["status"] != "deploying", serve)
    elif tenant["status"] == "stopped":
        api.must("POST", "/api/tenants/{}/start".format(tenant["id"]), timeout=60)
    health = "/api/tenants/{}/health-check".format(tenant["id"])
    wait_until("the tenant to be healthy", HEALTHY_SECONDS,
               lambda: api.ask("POST", health)[1].get("overall_status") == "healthy", serve)
    return api.must("GET", "/api/tenants/" + tenant["id"])


def print_tour(places, tenant, password):
    manager, instances = "http://" + reachable(places.manager), "http://" + reachable(places.instances)
    if places.given_password:
        shown, in_shell = "as in $TENANTRY_ADMIN_PASSWORD", "$TENANTRY_ADMIN_PASSWORD"
    else:
        shown, in_shell = "{}   (kept in {})".format(password, places.password_file), "$(cat '{}')".format(places.password_file)
    print("""
Tenantry is running.
  dashboard  {manager}/
  manager    {manager}
  instances  {instances}
  login      admin / {shown}
  tenant     {name}: http://127.0.0.1:{frontend}/   API: http://127.0.0.1:{backend}/api/stats
  log        {log}

To try, in another terminal:

  TOKEN=$(curl -s {manager}/api/auth/login -H 'Content-Type: application/json' \\
    -d '{{"username":"admin","password":"'"{in_shell}"'"}}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')

  curl -s -H "Authorization: Bearer $TOKEN" {manager}/api/tenants
  curl -s -H "Authorization: Bearer $TOKEN" {manager}/api/tenants/{id}/health
  curl -sN -H "Authorization: Bearer $TOKEN" '{manager}/api/events/stream?from_seq=1'
""".format(manager=manager, instances=instances, shown=shown, in_shell=in_shell, name=tenant["name"], id=tenant["id"],
           frontend=tenant["frontend_port"], backend=tenant["backend_port"], log=places.log), flush=True)


def tail(path, lines=20):
    """The last lines of a file, for a failure's report."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 16_384))
            return b"\n".join(file.read().splitlines()[-lines:]).decode("utf-8", "replace")
    except OSError:
        return ""


def end(places, serve):
    """TERM for the server, then every instance. True when both went well."""
    well = True
    if serve.poll() is None:
        serve.terminate()
    try:
        serve.wait(SERVE_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print("tenantry serve did not end within {} s of a TERM and was killed".format(SERVE_STOP_SECONDS), file=sys.stderr)
        serve.kill()
        serve.wait()
        well = False
    well = stop_all(places) and well
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while leftovers(places) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid, command in leftovers(places):
        print("still running: {} {}".format(pid, command), file=sys.stderr)
        well = False
    return well


def leftovers(places):
    """Processes of other sessions, without a terminal, that belong to the data directory by their command or where they run.

    A shell that merely stands there, a `tail` of the log, or whoever started this demo is none of them.
    """
    found, parents, session = [], {}, str(os.getsid(0))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/stat".format(pid)) as file:
                fields = file.read().rpartition(")")[2].split()
            with open("/proc/{}/cmdline".format(pid), "rb") as file:
                words = file.read().decode("utf-8", "replace").rstrip("\0").split("\0")
            where = os.readlink("/proc/{}/cwd".format(pid))
        except OSError:
            continue  # It ended while we looked, or is not ours to look at.
        state, parents[pid], its_session, terminal = fields[0], fields[1], fields[3], fields[4]
        # As a whole path or the beginning of one, so that /data is not found in /database.
        ours = any(places.data_dir + os.sep in word + os.sep for word in words + [where])
        if ours and terminal == "0" and its_session != session and state != "Z":
            found.append((pid, " ".join(words)))
    ancestors, pid = set(), str(os.getpid())
    while pid in parents and pid not in ancestors:
        ancestors.add(pid)
        pid = parents[pid]
    return [(pid, command) for pid, command in found if pid not in ancestors]


def stop_all(places):
    """Ends every instance; their keeper outlives the server on purpose, so this is a step of its own."""
    try:
        done = subprocess.run([places.binary, "stop", "--all", "--data-dir", places.data_dir], cwd=ROOT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STOP_ALL_SECONDS,
                              start_new_session=True)
    except subprocess.TimeoutExpired:
        print("tenantry stop --all did not end within {} s".format(STOP_ALL_SECONDS), file=sys.stderr)
        return False
    if done.returncode:
        print("tenantry stop --all failed: {}".format(done.stderr.strip()), file=sys.stderr)
    return done.returncode == 0


def run(places, once):
    """One demo from start to end. Returns the exit code."""
    if not os.access(places.binary, os.X_OK):
        raise DemoFailed("there is no {}. Run `cargo build --release` first, or `make run`.".format(places.binary))
    os.makedirs(places.demo, mode=0o700, exist_ok=True)
    stopper, serve, code = Stopper(), None, 0
    try:
        refuse_taken_addresses(places)
        changed = make_repository(places)
        password = admin_password(places)
        with stopper:
            serve = start_serve(places, password)
        api = Api(places.manager)
        wait_until("GET /ready to answer 200", READY_SECONDS, lambda: api.ask("GET", "/ready", timeout=2)[0] == 200, serve)
        log_in(api, places, password)
        tenant = bring_up(api, places, changed, serve)
        print_tour(places, tenant, password)
        if not once:
            print("Ctrl-C ends everything.", flush=True)
            raise DemoFailed("tenantry serve ended with code {}".format(serve.wait()))
    except Interrupted:
        print("\nEnding.", flush=True)
    except (DemoFailed, OSError, KeyError, subprocess.SubprocessError) as error:
        code = 1
        print("The demo failed: {}".format(error if isinstance(error, (DemoFailed, OSError)) else repr(error)), file=sys.stderr)
        if serve is not None:
            print("The end of {}:\n{}".format(places.log, tail(places.log)), file=sys.stderr)
    finally:
        stopper.ending = True
        if serve is not None and not end(places, serve):
            code = 1
    return code


def clean(places):
    """Ends what runs on the data directory, then removes it; only one that this demo made."""
    if not os.path.isdir(places.demo):
        print("{} holds no demo, nothing is removed".format(places.data_dir))
        return 0
    if os.access(places.binary, os.X_OK) and not stop_all(places):
        print("nothing is removed while something may still run on {}".format(places.data_dir), file=sys.stderr)
        return 1
    shutil.rmtree(places.data_dir)
    print("removed {}".format(places.data_dir))
    return 0


def main(arguments):
    places = Places(os.environ)
    word = arguments[0] if arguments else "run"
    try:
        if word in ("run", "once") and len(arguments) < 2:
            return run(places, once=word == "once")
        if word == "clean" and len(arguments) < 2:
            return clean(places)
    except DemoFailed as error:
        print("The demo failed: {}".format(error), file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
