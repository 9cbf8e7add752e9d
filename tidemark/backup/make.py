"""Makes a backup: the tables of one snapshot, and what they belong to in Kafka, Flink and the archive.

By COPY and not by pg_dump: tables are made by migrations, so their rows are all that is nowhere else. A dump of
TimescaleDB can be restored by a superuser alone, into the same version of the extension, and needs programs of the
server's version beside the tools; rows go into any version of both that the migrations run on, as who owns the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import Any

import psycopg

from jobs.flink.rest import FlinkRest
from jobs.flink.restore import savepoint_dir
from tidemark.archive.index import Index
from tidemark.backup import copying, tables
from tidemark.backup.manifest import MANIFEST, Manifest
from tidemark.backup.surroundings import committed, topics
from tidemark.core import access
from tidemark.core.errors import TidemarkError
from tidemark.core.places import Place
from tidemark.core.postgres import use_schema
from tidemark.core.settings import Settings
from udfs.values import rfc3339

Say = Callable[[str], None]
DISTRIBUTION = "tidemark-metering"

# When the transaction began: what was committed before is in its snapshot.
_NOW = """
SELECT now(), current_setting('server_version'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')
"""


def run(settings: Settings, to: str, say: Say, *, savepoint: bool = True) -> tuple[Place, Manifest]:
    """Make a backup in a new folder below a place; the folder, and what is in it.

    1. A savepoint of `rollup`, which goes on: the tables of the snapshot have all that it counts.
    2. The tables of one snapshot, a file each.
    3. Offsets of topics and jobs, for people: where the tables stood.
    4. The manifest, with which it becomes a backup.

    Raises
    ------
    UnavailableError
        Postgres does not answer, or the place cannot be written. Without Kafka or Flink there is a backup without what
        they would have said.
    TidemarkError
        The database was not migrated.
    """
    # Step 1
    state = _savepoint(settings, say) if savepoint else {}
    with access.connect_owner(settings.postgres) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        made_at, postgres, timescaledb = connection.execute(_NOW).fetchall()[0]
        place = Place(f"{to.rstrip('/')}/{_name(settings, made_at)}", settings.s3, "the place of the backup")
        # Step 2
        manifest = Manifest(
            made_at=rfc3339(made_at), version=version(DISTRIBUTION), postgres=postgres, timescaledb=timescaledb,
            run_id=settings.run_id, archive=_archive(connection, settings), state=state,
            **_unloaded(connection, place, say),
        )  # fmt: skip
    # Step 3
    whole = replace(
        manifest,
        topics=_if_there(lambda: topics(settings), say),
        committed=_if_there(lambda: committed(settings), say),
    )
    # Step 4
    place.write(MANIFEST, whole.text())
    return place, whole


def _unloaded(connection: psycopg.Connection, place: Place, say: Say) -> dict[str, Any]:
    schemas = tables.schemas(connection)
    if "catalog" not in schemas:
        raise TidemarkError(
            "the database has no tables of Tidemark.", "`tidemark db migrate`, or correct postgres.url."
        )
    written = []
    for table in tables.tables(connection, schemas):
        written.append(copying.unload(connection, table, place))
        say(f"{table.schema}.{table.name}: {written[-1].rows:,} rows")
    migrations = {schema: tables.migrations(connection, schema) for schema in schemas}
    return {"tables": written, "migrations": migrations, "sequences": tables.sequences(connection, schemas)}


def _savepoint(settings: Settings, say: Say) -> dict[str, str]:
    """Where `rollup` begins to make the tables of this backup whole; nothing when it does not run."""
    name = settings.names.job("rollup")
    rest = FlinkRest(settings.flink)
    try:
        job = rest.active(name)
        if job is None:
            say(
                f"{name} does not run: the backup names no state, and what comes after it is counted from the beginning"
            )
            return {}
        say(f"taking a savepoint of {name} …")
        return {"rollup": rest.savepoint(job.id, savepoint_dir(settings.flink, name))}
    except TidemarkError as error:
        say(f"no savepoint of {name}: {error.what}")
        return {}


def _archive(connection: psycopg.Connection, settings: Settings) -> dict[str, Any]:
    use_schema(connection, settings.names.billing_schema)
    index = Index(connection)
    nexts = {topic: _text(index.next_offsets(topic)) for topic in index.topics()}
    return {"dir": settings.archive.dir, "id": index.archive_id(), "next": nexts}


def _if_there(read: Callable[[], dict[str, Any]], say: Say) -> dict[str, Any]:
    try:
        return read()
    except TidemarkError as error:
        say(f"offsets are not in the backup: {error.what}")
        return {}


def _name(settings: Settings, at: datetime) -> str:
    return f"{settings.run_id or 'live'}-{at:%Y%m%dT%H%M%S%fZ}"


def _text(offsets: dict[int, int]) -> dict[str, int]:
    return {str(part): offset for part, offset in offsets.items()}
