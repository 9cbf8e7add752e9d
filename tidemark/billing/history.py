"""The newest records of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from udfs.values import rfc3339

_NEWEST = """
SELECT * FROM (
    SELECT closed_at AS at, closed_by AS by, 0 AS correction_no, 'close' AS cause, NULL AS replay_id,
           tenant_id, customer_id, period_start, period_end, lines, content_hash
    FROM {schema}.period_close
    UNION ALL
    SELECT made_at, made_by, correction_no, cause, replay_id, tenant_id, customer_id, period_start, period_end,
           (SELECT count(*) FROM {schema}.correction_line l
            WHERE (l.tenant_id, l.customer_id, l.period_start, l.period_end, l.correction_no)
                = (c.tenant_id, c.customer_id, c.period_start, c.period_end, c.correction_no))::integer,
           content_hash
    FROM {schema}.correction c
) records
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
ORDER BY at DESC, tenant_id, customer_id, period_start, correction_no
LIMIT %(limit)s
"""


def newest(settings: Settings, tenant: str | None, customer: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` closes (`correction_no` 0) and corrections; instants in RFC 3339 UTC.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    """
    statement = sql.SQL(_NEWEST).format(schema=sql.Identifier(settings.names.billing_schema))
    values = {"tenant": tenant, "customer": customer, "limit": limit}
    with connect(settings.postgres.ops) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    return [{name: _shown(value) for name, value in row.items()} for row in rows]


def _shown(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
