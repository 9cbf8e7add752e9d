"""What the state of a job belongs to: topics, whose offsets it holds, and tables, which have the rows it wrote before.

A topic that was deleted and made again has the same name and other offsets; tables that were made anew, or restored
from a backup, lack rows that nothing writes again unless they change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from jobs.flink.restore import local_path, named
from tidemark.core import topics
from tidemark.core.errors import UsageError
from tidemark.core.kafka import offsets_at
from tidemark.core.settings import Settings
from udfs.values import rfc3339

# Of `--accept`: tables that were moved without a loss, as by a dump and a restore while nothing ran.
DATABASE = "database"
_TOPICS = "topic_ids"
# A copy by Postgres' own means, as a standby or a base backup, has the same one.
_IDENTITY = """
SELECT concat_ws('/', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()),
                 to_regclass(format('%%I.usage_period', %s::text))::oid)
FROM pg_control_system()
"""
# The last restore: the instant of its backup, the state of that backup, and when it was done.
_RESTORED = """
SELECT (detail->>'made_at')::timestamptz, detail->>'state', at FROM audit.entry
WHERE action = 'database.restore' AND run_id = %s
ORDER BY entry_id DESC LIMIT 1
"""


class Restored(NamedTuple):
    """The last restore of tables: the instant of the backup, its savepoint of `rollup`, and when it was done."""

    made_at: datetime
    savepoint: str | None
    at: datetime


def surroundings(connection: psycopg.Connection, settings: Settings, job: str) -> dict[str, Any]:
    """Ids of the topics that a job reads and, of `rollup`, of the tables it writes, to be kept beside its state."""
    names = settings.names
    read = [settings.topics.events, settings.topics.redrive] if job == "meter" else [names.deltas]
    found: dict[str, Any] = {_TOPICS: topics.ids(settings.kafka, read)}
    if job == "rollup":
        found[DATABASE] = connection.execute(_IDENTITY, [names.usage_schema]).fetchall()[0][0]
    return found


def check(
    connection: psycopg.Connection, settings: Settings, state: str, then: Mapping[str, Any], now: Mapping[str, Any],
    accepted: Collection[str],
) -> None:  # fmt: skip
    """Refuse to restore state beside topics or tables that are not those it was made with.

    Parameters
    ----------
    connection, settings:
        Of the run.
    state:
        What is restored.
    then, now:
        `surroundings` when the job of the state was submitted, as far as they were kept, and at present.
    accepted:
        DATABASE, if whoever submits knows that the tables have all that the state has written.

    Raises
    ------
    UsageError
        Names the topic, or the instants.
    """
    refuse_other_topics(then.get(_TOPICS, {}), now[_TOPICS])
    if DATABASE not in now or DATABASE in accepted:
        return
    moved = DATABASE in then and then[DATABASE] != now[DATABASE]
    restored = connection.execute(_RESTORED, [settings.run_id]).fetchone()
    if restored is not None:
        refuse_older_tables(settings, state, Restored(*restored), moved=moved)
    elif moved:
        raise UsageError(
            f"the tables were made anew since {state}: rows that do not change again would be missing.",
            "count anew with --from-beginning, or restore a backup; --accept database if nothing is missing.",
        )


def check_whole(settings: Settings) -> None:
    """Refuse a start of `rollup` from the beginning of a topic that has lost its first records.

    Raises
    ------
    UsageError
        Totals would be too small, and nothing would correct them.
    """
    topic = settings.names.deltas
    cut = {part: first for part, first in offsets_at(settings.kafka, topic, None).items() if first}
    if cut:
        part, first = min(cut.items())
        raise UsageError(
            f"{topic} begins at offset {first} of partition {part}, not at its first record: totals would lack what is "
            "gone.",
            "name the state with --from-savepoint, or rebuild from the events: docs/operations.md#state-is-lost.",
        )


def refuse_other_topics(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse if a topic has another id than then; raises UsageError."""
    for topic in then.keys() & now.keys():
        if then[topic] != now[topic]:
            raise UsageError(
                f"{topic} was deleted and made again since this state: its offsets mean other records.",
                "docs/operations.md#kafka-is-lost.",
            )


def refuse_older_tables(settings: Settings, state: str, restored: Restored, *, moved: bool) -> None:
    """Refuse state that is newer than restored tables, unless it was made with them.

    Parameters
    ----------
    settings, state:
        Of the run; what would be restored.
    restored:
        What the tables were restored from.
    moved:
        Whether the state was made with other tables.

    Raises
    ------
    UsageError
        Names both.
    """
    if local_path(state) == local_path(restored.savepoint or ""):
        return
    at = _taken_at(settings, state)
    if at is not None and (at <= restored.made_at.timestamp() or (at >= restored.at.timestamp() and not moved)):
        return
    raise UsageError(
        f"the tables are of {rfc3339(restored.made_at)}, restored from a backup, and {state} is newer: what changed in "
        "between and does not change again would be missing.",
        "name the savepoint of that backup with --from-savepoint, or count anew with --from-beginning.",
    )


def _taken_at(settings: Settings, state: str) -> float | None:
    """Unix time in seconds; None where the state is not there, or cannot be listed from here."""
    try:
        return named(settings, state).taken_at
    except UsageError:
        return None
