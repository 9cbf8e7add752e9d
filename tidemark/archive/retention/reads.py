"""Records of reads over the HTTP API that are old enough to be removed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import LiteralString

import psycopg

from tidemark.archive.retention.steps import NOTHING, Step
from tidemark.core.names import Names
from tidemark.core.settings import RetentionSettings

_TABLE = "api.read_audit"
_OLD: LiteralString = "FROM api.read_audit WHERE run_id = %s AND at < %s"


def steps(connection: psycopg.Connection, names: Names, retention: RetentionSettings, now: datetime) -> Iterator[Step]:
    """A step for the records of this run; the table is that of all runs."""
    if not retention.reads_days:
        return
    old = names.run_id, now - timedelta(days=retention.reads_days)
    row = connection.execute(f"SELECT count(*) {_OLD}", old).fetchone()
    count = int(row[0]) if row else 0
    yield Step(
        target=_TABLE, does="remove rows" if count else "nothing is due", days=retention.reads_days, before=old[1],
        count=count, act=partial(_remove, connection, old) if count else NOTHING, atomic=True,
    )  # fmt: skip


def _remove(connection: psycopg.Connection, old: tuple[str, datetime]) -> None:
    connection.execute(f"DELETE {_OLD}", old)
