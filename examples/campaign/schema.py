"""The database: its migrations and the rows that a new campaign starts with.

Invariants: `PRAGMA user_version` counts the migrations that were applied; a
migration that was once released never changes, a new one is appended; migrating
and seeding are one transaction, so a kill leaves the old database or the new one.
"""

import datetime
import random
import sqlite3
import zlib

MIGRATIONS = (
    """
    CREATE TABLE persons (
        id INTEGER PRIMARY KEY, first_name TEXT NOT NULL, last_name TEXT NOT NULL,
        email TEXT NOT NULL UNIQUE, phone TEXT NOT NULL, city TEXT NOT NULL, county TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('active', 'inactive')), created_at TEXT NOT NULL);
    CREATE INDEX persons_by_status ON persons (status);
    CREATE INDEX persons_by_name ON persons (last_name, first_name);
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, title TEXT NOT NULL, place TEXT NOT NULL, city TEXT NOT NULL,
        starts_at TEXT NOT NULL, capacity INTEGER NOT NULL);
    CREATE TABLE tags (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE person_tags (
        person_id INTEGER NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
        tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
        PRIMARY KEY (person_id, tag_id)) WITHOUT ROWID;
    CREATE TABLE segments (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL);
    CREATE TABLE communications (
        id INTEGER PRIMARY KEY, person_id INTEGER NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
        channel TEXT NOT NULL CHECK (channel IN ('email', 'phone', 'text', 'door')),
        subject TEXT NOT NULL, sent_at TEXT NOT NULL);
    """,
    """
    ALTER TABLE segments ADD COLUMN tag_id INTEGER REFERENCES tags (id) ON DELETE SET NULL;
    ALTER TABLE communications ADD COLUMN outcome TEXT NOT NULL DEFAULT 'none';
    CREATE INDEX communications_by_person ON communications (person_id, sent_at);
    """,
)

FIRST_NAMES = ("James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph "
               "Jessica Thomas Sarah Charles Karen Daniel Lisa Matthew Nancy Anthony Betty Mark Sandra Paul Ashley Steven "
               "Kimberly Andrew Donna Kenneth Emily Joshua Carol Kevin Michelle Brian Amanda George Melissa Aaliyah "
               "Mateo Sofia Diego Camila Wei Mei Priya Arjun Fatima Omar Zoe Maya Elijah Noah Ava").split()
LAST_NAMES = ("Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson "
              "Anderson Thomas Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis "
              "Robinson Walker Young Allen King Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall "
              "Rivera Campbell Mitchell Carter Roberts Patel Kim Chen Ali Okafor O'Brien Kowalski Schmidt").split()
PLACES = (("Louisville", "Jefferson"), ("Lexington", "Fayette"), ("Bowling Green", "Warren"), ("Owensboro", "Daviess"),
          ("Covington", "Kenton"), ("Richmond", "Madison"), ("Georgetown", "Scott"), ("Florence", "Boone"),
          ("Hopkinsville", "Christian"), ("Elizabethtown", "Hardin"), ("Henderson", "Henderson"), ("Paducah", "McCracken"))
EVENT_KINDS = ("Town hall", "Meet and greet", "Phone bank", "Door knocking", "Volunteer training", "Fundraising dinner",
               "Debate watch party", "Coffee with the candidate")
VENUES = ("Public Library", "Community Center", "High School Gym", "Veterans Hall", "Riverside Park", "Campaign Office",
          "Farmers Market", "Courthouse Steps")
TAGS = ("volunteer", "donor", "monthly-donor", "major-donor", "yard-sign", "host", "phone-banker", "canvasser", "poll-worker",
        "precinct-captain", "student", "teacher", "veteran", "nurse", "farmer", "small-business", "union", "retired", "parent",
        "first-time-voter", "early-voter", "absentee", "undecided", "strong-support", "lean-support", "opposed", "press",
        "endorser", "elected-official", "faith-leader", "spanish-speaker", "needs-ride", "no-phone", "no-email", "moved",
        "education", "health-care", "jobs", "roads", "taxes", "environment", "public-safety", "housing", "energy", "broadband")
SEGMENTS = (("Active volunteers", "Can be asked for a shift this week", "volunteer"),
            ("Donors", "Gave at least once", "donor"), ("Monthly donors", "Give every month", "monthly-donor"),
            ("Undecided voters", "Worth a visit", "undecided"), ("Early voters", "Reach before the polls open", "early-voter"),
            ("Yard signs", "Asked for a sign", "yard-sign"), ("Rides to the polls", "Need a driver", "needs-ride"),
            ("Students", "Registered at a campus address", "student"))
SUBJECTS = ("Thank you for signing up", "Will you knock on doors on Saturday?", "Your polling place", "Debate night reminder",
            "We are close to our goal", "How to vote early", "An update on roads and schools", "Can you host a house party?")
OUTCOMES = {"email": ("sent", "opened", "clicked", "bounced"), "phone": ("answered", "voicemail", "wrong number", "refused"),
            "text": ("sent", "replied", "stopped"), "door": ("talked", "not home", "left flyer", "refused")}

PERSONS, EVENTS, COMMUNICATIONS = 4200, 36, 1523


def connect(path, read_only=False):
    """Opens the database; a reader never creates it, and waits for a writer at most 5 s."""
    if read_only:
        uri = "file:{}?mode=ro".format(path.replace("%", "%25").replace("?", "%3f").replace("#", "%23"))
        return sqlite3.connect(uri, uri=True, timeout=5.0)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def prepare(connection, name, today=None):
    """Migrates and, once, seeds. Returns (version before, version after, whether rows were made)."""
    connection.execute("PRAGMA journal_mode = WAL")  # Health checks read on while an init of a new release writes.
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = connection.execute("PRAGMA user_version").fetchone()[0]
        for number, migration in enumerate(MIGRATIONS[before:], start=before + 1):
            for statement in migration.split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute("PRAGMA user_version = {}".format(number))
        # A new database is seeded, never an emptied one: somebody may have deleted the rows on purpose.
        seeded = before == 0
        if seeded:
            seed(connection, zlib.crc32(name.encode()), today or datetime.date.today())
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return before, max(before, len(MIGRATIONS)), seeded


def seed(connection, number, today):
    """Fills the tables; the same `number` and day give the same rows. Addresses and phones are of the reserved ranges."""
    rng = random.Random(number)
    midnight = datetime.datetime.combine(today, datetime.time())

    def moment(days_from, days_to, first_hour=8, last_hour=20):
        when = midnight + datetime.timedelta(days=rng.randint(days_from, days_to), hours=rng.randint(first_hour, last_hour),
                                             minutes=rng.choice((0, 15, 30, 45)))
        return when.isoformat() + "Z"

    def person(ident):
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        city, county = rng.choice(PLACES)
        email = "{}.{}.{}@example.org".format(first, last.replace("'", ""), ident).lower()
        status = "active" if rng.random() < 0.97 else "inactive"
        phone = "+1-{}-555-01{:02}".format(rng.choice((270, 502, 606, 859)), rng.randint(0, 99))
        return ident, first, last, email, phone, city, county, status, moment(-720, -1)

    connection.executemany("INSERT INTO persons VALUES (?,?,?,?,?,?,?,?,?)", (person(i) for i in range(1, PERSONS + 1)))
    connection.executemany("INSERT INTO tags VALUES (?,?)", enumerate(TAGS, start=1))
    pairs = ((i, tag) for i in range(1, PERSONS + 1) for tag in rng.sample(range(1, len(TAGS) + 1), rng.randint(0, 4)))
    connection.executemany("INSERT INTO person_tags VALUES (?,?)", pairs)
    connection.executemany("INSERT INTO segments (name, description, tag_id) VALUES (?,?,?)",
                           ((name, text, TAGS.index(tag) + 1) for name, text, tag in SEGMENTS))
    for ident in range(1, EVENTS + 1):
        kind, venue, (city, _) = rng.choice(EVENT_KINDS), rng.choice(VENUES), rng.choice(PLACES)
        connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?)", (ident, "{} in {}".format(kind, city), venue, city,
                                                                       moment(-60, 120), rng.choice((20, 40, 80, 150, 400))))
    for ident in range(1, COMMUNICATIONS + 1):
        channel = rng.choice(tuple(OUTCOMES))
        connection.execute("INSERT INTO communications VALUES (?,?,?,?,?,?)",
                           (ident, rng.randint(1, PERSONS), channel, rng.choice(SUBJECTS), moment(-90, -1),
                            rng.choice(OUTCOMES[channel])))
