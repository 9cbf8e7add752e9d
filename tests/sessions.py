"""Sessions of Postgres that a test ends, as an administrator or a failover does."""

from __future__ import annotations

from tidemark.core import postgres
from tidemark.core.settings import Settings

_ENDED = """
SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE %s
  AND pid <> pg_backend_pid()
"""


def end_sessions(settings: Settings, part: str = "%") -> int:
    """End the sessions of a part of Tidemark, or of all, in this database alone: others are of other tests; how many.

    It returns when they are gone.
    """
    with postgres.connect(settings.postgres) as connection:
        return int(connection.execute(_ENDED, [f"tidemark {part}"]).fetchall()[0][0])
