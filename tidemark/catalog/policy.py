"""The alert policy of the catalog as it holds at an instant: receivers, routes, suppressions, maintenance windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from udfs.meters.meter import BEGINNING_MS

_POLICY: LiteralString = """
SELECT kind, name, body, catalog.epoch_ms(valid_from)
FROM catalog.alert_policy
WHERE valid_from <= %(at)s AND valid_to > %(at)s
ORDER BY kind, name
"""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One entry of the alert policy.

    Parameters
    ----------
    kind:
        receiver, route, suppression or maintenance.
    name:
        Its name among those of its kind.
    body:
        The entry as the catalog file has it, every key there: a list that is empty matches any, `secret_file` is None
        where the file names none, and `from` and `until` are RFC 3339 in UTC.
    version_ms:
        Begin of this version, UTC epoch ms.
    """

    kind: str
    name: str
    body: dict[str, Any]
    version_ms: int


def read_policy(connection: psycopg.Connection, at: datetime) -> list[PolicyRow]:
    """The entries that hold at an instant, by kind and name.

    Raises
    ------
    ValueError
        The instant has no zone.
    psycopg.Error
        Postgres is away, or not migrated.

    """
    if at.utcoffset() is None:
        raise ValueError(f"{at} has no zone.")
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_POLICY, {"at": at}).fetchall()
    return [PolicyRow(kind, name, body, BEGINNING_MS if ms is None else ms) for kind, name, body, ms in rows]
