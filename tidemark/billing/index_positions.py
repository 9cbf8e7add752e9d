"""Where an index of a topic, kept in Postgres, goes on."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql


def next_offsets(
    connection: psycopg.Connection, topic: str, topic_id: str, stored: sql.Composed, forget: Iterable[sql.Composed]
) -> dict[int, int]:
    """Next offset by partition; rows of an earlier topic of the same name are deleted.

    Parameters
    ----------
    connection, topic, topic_id:
        The topic, and the id that Kafka knows it by now.
    stored:
        Gives partition, next offset and topic id, of the topic that is its parameter.
    forget:
        Statements that delete all rows of the topic that is their parameter.
    """
    rows = connection.execute(stored, [topic]).fetchall()
    if any(str(known) != topic_id for _, _, known in rows):
        with connection.transaction():
            for statement in forget:
                connection.execute(statement, [topic])
        return {}
    return {partition: offset for partition, offset, _ in rows}
