"""Quotas in Postgres: the clock, and the alarms in `quota_alarm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.quotas.rules import Alarm, Decision
from udfs.alerts.event import Status
from udfs.values import rfc3339

STATEMENT_TIMEOUT_MS = 30_000
TOP = 5

_TOP_VOLUME: LiteralString = """
SELECT {column}, sum(n)::bigint FROM usage_hour
WHERE tenant_id = %(tenant)s AND hour_start = %(hour)s AND part <> 'm'
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_TOP_SERIES: LiteralString = """
SELECT {column}, count(*) FROM usage_hour
WHERE tenant_id = %(tenant)s AND hour_start = %(hour)s
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_TOP_UNIQUE: LiteralString = """
SELECT {column}, sum(value_count)::bigint FROM tenant_unique
WHERE tenant_id = %(tenant)s AND (period_end > now() OR updated_at >= now() - %(quiet)s)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_TOPS = {"tenant_volume": _TOP_VOLUME, "tenant_series": _TOP_SERIES, "tenant_unique": _TOP_UNIQUE}
_COLUMNS: LiteralString = "tenant_id, rule, since, bound, value, hour_start, seen_at, hours, resolved_at"
_KNOWN: LiteralString = f"SELECT {_COLUMNS} FROM quota_alarm WHERE resolved_at IS NULL OR resolved_at >= %s"
_UNANNOUNCED: LiteralString = f"""
SELECT {_COLUMNS}, evidence, announced_at IS NOT NULL FROM quota_alarm
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY since, tenant_id, rule
"""
_BEGIN = """
INSERT INTO quota_alarm (tenant_id, rule, since, bound, value, hour_start, seen_at, hours, evidence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_OF_ALARM: LiteralString = "WHERE tenant_id = %s AND rule = %s AND since = %s"
_GROW: LiteralString = (
    f"UPDATE quota_alarm SET bound = %s, value = %s, hour_start = %s, seen_at = %s, hours = %s {_OF_ALARM}"
)
_END: LiteralString = f"UPDATE quota_alarm SET resolved_at = %s {_OF_ALARM}"
_ANNOUNCED: dict[Status, LiteralString] = {
    "firing": f"UPDATE quota_alarm SET announced_at = clock_timestamp() {_OF_ALARM}",
    "resolved": f"UPDATE quota_alarm SET resolved_announced_at = clock_timestamp() {_OF_ALARM}",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """An alarm as stored: the evidence of its start, and whether that was announced."""

    alarm: Alarm
    evidence: dict[str, Any]
    announced: bool


def clock(connection: psycopg.Connection) -> datetime:
    """Time of the transaction: the one clock of all decisions."""
    now: datetime = connection.execute("SELECT now()").fetchall()[0][0]
    return now


def known(connection: psycopg.Connection, since: datetime) -> list[Alarm]:
    """Alarms that fire, and those that ended since then."""
    return [_alarm(row) for row in connection.execute(_KNOWN, [since])]


def store(connection: psycopg.Connection, decision: Decision, quiet: timedelta) -> None:
    """Write what was decided, not announced yet."""
    for alarm in decision.begun:
        shown = Jsonb(_evidence(connection, alarm, quiet))
        begun = (*_key(alarm), alarm.bound, alarm.value, alarm.hour, alarm.seen_at, _hours(alarm), shown)
        connection.execute(_BEGIN, begun)
    for alarm in decision.grown:
        grown = (alarm.bound, alarm.value, alarm.hour, alarm.seen_at, _hours(alarm), *_key(alarm))
        connection.execute(_GROW, grown)
    for alarm in decision.ended:
        connection.execute(_END, (alarm.resolved_at, *_key(alarm)))


def unannounced(connection: psycopg.Connection) -> list[Stored]:
    """Alarms whose start or end is still to be announced, oldest first."""
    rows = connection.execute(_UNANNOUNCED)
    return [Stored(_alarm(columns), shown, announced) for *columns, shown, announced in rows]


def announced(connection: psycopg.Connection, alarm: Alarm, status: Status) -> None:
    """Store that the brokers have the alert."""
    connection.execute(_ANNOUNCED[status], _key(alarm))


def _evidence(connection: psycopg.Connection, alarm: Alarm, quiet: timedelta) -> dict[str, Any]:
    """Figures of an alarm that starts: value, bound, hour, and where most of it is."""
    shown: dict[str, Any] = {"tenant_id": alarm.tenant, "value": alarm.value, "bound": alarm.bound}
    if alarm.hour is not None:
        shown["hour"] = rfc3339(alarm.hour)
    given = {"tenant": alarm.tenant, "hour": alarm.hour, "quiet": quiet, "top": TOP}
    for name, column in (("top_meters", "meter"), ("top_customers", "customer_id")):
        query = sql.SQL(_TOPS[alarm.rule]).format(column=sql.Identifier(column))
        shown[name] = [{column: label, "value": value} for label, value in connection.execute(query, given)]
    return shown


def _alarm(row: Sequence[Any]) -> Alarm:
    tenant, rule, since, bound, value, hour, seen_at, hours, resolved_at = row
    parsed = {datetime.fromisoformat(text): count for text, count in hours.items()}
    return Alarm(tenant, rule, since, bound, value, hour, seen_at, parsed, resolved_at)


def _key(alarm: Alarm) -> tuple[str, str, datetime]:
    return alarm.tenant, alarm.rule, alarm.since


def _hours(alarm: Alarm) -> Jsonb:
    return Jsonb({rfc3339(hour): value for hour, value in alarm.hours.items()})
