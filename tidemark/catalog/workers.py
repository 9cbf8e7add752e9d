"""When the workers of the jobs count by the newest catalog."""

from __future__ import annotations

from psycopg import sql

from tidemark.core.postgres import connect
from tidemark.core.settings import Settings

# A worker checks for a newer catalog with the first batch after `catalog.refresh_s`; this margin is for the check.
_MARGIN_S = 3.0


def settle_in_s(settings: Settings) -> float:
    """Seconds until every worker has the newest catalog; the old rules may reject events that are sent before.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached.
    """
    with connect(settings.postgres.ops, statement_timeout_s=10) as connection:
        revision = sql.Identifier(settings.catalog.schema_name, "revision")
        row = connection.execute(
            sql.SQL("SELECT extract(epoch FROM clock_timestamp() - applied_at)::float8 FROM {}").format(revision)
        ).fetchone()
    age_s = float(row[0]) if row else 0.0
    return max(0.0, settings.catalog.refresh_s + _MARGIN_S - age_s)
