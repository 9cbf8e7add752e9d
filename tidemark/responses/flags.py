"""Flags of suspended customers in Redis: hashes that readers of limits read, kept in sync with the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from tidemark.core import redis
from tidemark.core.names import Names
from tidemark.core.settings import RedisSettings
from tidemark_client.keys import suspension_key

PIPELINE_FLAGS = 1_000
# Who wrote the flag, as it says itself.
BY = "tidemark/suspend"

# Every customer that has, or may still have, a flag: a flag is gone with the last period that it was written for, so
# that lifted suspensions of ended periods need no check. Without an end they are checked for a day.
_WANTED: LiteralString = """
SELECT tenant_id, customer_id,
       (array_agg(reason ORDER BY until DESC NULLS FIRST, since) FILTER (WHERE lifted_at IS NULL))[1],
       (extract(epoch FROM min(since) FILTER (WHERE lifted_at IS NULL)) * 1000)::bigint,
       CASE WHEN NOT coalesce(bool_or(until IS NULL) FILTER (WHERE lifted_at IS NULL), false)
            THEN (extract(epoch FROM max(until) FILTER (WHERE lifted_at IS NULL)) * 1000)::bigint END
FROM suspension
WHERE until > now() OR (until IS NULL AND (lifted_at IS NULL OR lifted_at > now() - interval '1 day'))
GROUP BY tenant_id, customer_id
"""
# Two writers that read the table at different times must not write in the other order.
_ALONE: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('tidemark flags ' || current_schema(), 0))"


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag as it should be: its key and its fields, empty for no flag."""

    key: str
    fields: dict[str, str]


class Flags:
    """Redis of a run, for its flags; connected when needed."""

    def __init__(self, server: RedisSettings, names: Names) -> None:
        self._server = server
        self._prefix = names.redis_prefix
        self._redis = redis.client(server)

    def sync(self, connection: psycopg.Connection) -> int:
        """Make all flags what the table says; returns how many were changed.

        Raises
        ------
        UnavailableError
            Redis cannot be reached, or takes no writes.
        """
        with connection.transaction():
            connection.execute(_ALONE)
            flags = [self._flag(row) for row in connection.execute(_WANTED)]
            with redis.translated(self._server, self._redis):
                return sum(self._write(part) for part in _parts(flags))

    def close(self) -> None:
        """Give the connection back."""
        self._redis.close()

    def _flag(self, row: Sequence[Any]) -> Flag:
        tenant, customer, reason, at_ms, until_ms = row
        key = suspension_key(self._prefix, tenant, customer)
        if reason is None:
            return Flag(key, {})
        until = "" if until_ms is None else str(until_ms)
        return Flag(key, {"reason": reason, "by": BY, "at": str(at_ms), "until": until})

    def _write(self, flags: Sequence[Flag]) -> int:
        reads = self._redis.pipeline(transaction=False)
        for flag in flags:
            reads.hgetall(flag.key)
        wrong = [flag for flag, fields in zip(flags, reads.execute(), strict=True) if fields != flag.fields]
        if wrong:
            # In a transaction of Redis: no reader sees a flag without its fields, and each has its end.
            writes = self._redis.pipeline(transaction=True)
            for flag in wrong:
                writes.delete(flag.key)
                if flag.fields:
                    writes.hset(flag.key, mapping=flag.fields)
                if flag.fields.get("until"):
                    writes.pexpireat(flag.key, int(flag.fields["until"]))
            writes.execute()
        return len(wrong)


def _parts(flags: Sequence[Flag]) -> Iterator[Sequence[Flag]]:
    return (flags[start : start + PIPELINE_FLAGS] for start in range(0, len(flags), PIPELINE_FLAGS))
