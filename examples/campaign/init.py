"""Makes or migrates the campaign's database. Run for each release; running it again keeps the data."""

import os
import sqlite3
import sys

from schema import connect, prepare
from serving import log
from settings import Settings


def main():
    settings = Settings()
    path = settings.database_path
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        connection = connect(path)
        before, after, seeded = prepare(connection, settings.project_name)
        persons = connection.execute("SELECT count(*) FROM persons").fetchone()[0]
        connection.close()
    except (OSError, sqlite3.Error) as error:
        log("error", "database could not be prepared: {}".format(error), path=path)
        return 1
    log("info", "database ready", path=path, schema_from=before, schema_to=after, seeded=seeded, persons=persons)
    return 0


if __name__ == "__main__":
    sys.exit(main())
