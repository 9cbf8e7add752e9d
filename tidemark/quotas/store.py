"""What the watch over tenants asks Postgres: touched hours, open periods, and the alarms in `guard_alarm`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.core.errors import TidemarkError
from tidemark.core.names import Names
from tidemark.core.settings import PostgresSettings
from tidemark.quotas.rules import Alarm, Decision, Reading
from udfs.alerts.event import Status
from udfs.postgres import connect
from udfs.values import rfc3339

STATEMENT_TIMEOUT_MS = 30_000
TOP = 5

_HOURS = "SELECT DISTINCT hour_start FROM usage_hour WHERE updated_at >= %s"
# Hours are named, so that chunks and pages of all others are left out.
_ACTIVITY = """
SELECT tenant_id, hour_start, measurements, series
FROM tenant_activity
WHERE hour_start = ANY(%s) AND updated_at >= %s
"""
# A period is open until it ends, and as long as it is written to: history that is loaded, usage within grace.
_UNIQUE = """
WITH written AS (
    SELECT DISTINCT tenant_id, customer_id, meter, period_start
    FROM usage_period
    WHERE updated_at >= now() - %(hold)s AND part LIKE 'u%%' AND period_end <= now()
), held AS (
    SELECT tenant_id FROM usage_period WHERE period_end > now() AND part LIKE 'u%%'
    UNION ALL
    SELECT p.tenant_id
    FROM usage_period p
    JOIN written USING (tenant_id, customer_id, meter, period_start)
    WHERE p.part LIKE 'u%%' AND p.period_end <= now()
)
SELECT tenant_id, count(*) FROM held GROUP BY tenant_id
"""
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
WHERE tenant_id = %(tenant)s AND (period_end > now() OR updated_at >= now() - %(hold)s)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_TOPS = {"tenant_volume": _TOP_VOLUME, "tenant_series": _TOP_SERIES, "tenant_unique": _TOP_UNIQUE}
_COLUMNS: LiteralString = "tenant_id, rule, since, bound, value, hour_start, seen_at, hours, resolved_at"
_KNOWN: LiteralString = f"SELECT {_COLUMNS} FROM guard_alarm WHERE resolved_at IS NULL OR resolved_at >= %s"
_UNANNOUNCED: LiteralString = f"""
SELECT {_COLUMNS}, evidence, announced_at IS NOT NULL FROM guard_alarm
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY since, tenant_id, rule
"""
_BEGIN = """
INSERT INTO guard_alarm (tenant_id, rule, since, bound, value, hour_start, seen_at, hours, evidence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_OF_ALARM: LiteralString = "WHERE tenant_id = %s AND rule = %s AND since = %s"
_GROW: LiteralString = (
    f"UPDATE guard_alarm SET bound = %s, value = %s, hour_start = %s, seen_at = %s, hours = %s {_OF_ALARM}"
)
_END: LiteralString = f"UPDATE guard_alarm SET resolved_at = %s {_OF_ALARM}"
_ANNOUNCED: dict[Status, LiteralString] = {
    "firing": f"UPDATE guard_alarm SET announced_at = clock_timestamp() {_OF_ALARM}",
    "resolved": f"UPDATE guard_alarm SET resolved_announced_at = clock_timestamp() {_OF_ALARM}",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """An alarm as stored: the evidence of its beginning, and whether that was announced."""

    alarm: Alarm
    evidence: dict[str, Any]
    announced: bool


def opened(postgres: PostgresSettings, names: Names) -> psycopg.Connection:
    """Connection in the schema of the run."""
    connection = connect(postgres.url, statement_timeout_ms=STATEMENT_TIMEOUT_MS, application_name="tidemark watch")
    connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(names.usage_schema)))
    return connection


def claim(connection: psycopg.Connection, names: Names) -> None:
    """Be the one watch of this run; the claim goes with the connection.

    Raises
    ------
    TidemarkError
        Another connection has it.

    """
    name = f"tidemark watch {names.usage_schema}"
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    if row is None or not row[0]:
        raise TidemarkError(f"another watch of {names.usage_schema} is at work.", "end one of the two.")


def clock(connection: psycopg.Connection) -> datetime:
    """Time of the transaction: the one clock of all decisions."""
    now: datetime = connection.execute("SELECT now()").fetchall()[0][0]
    return now


def read(connection: psycopg.Connection, since: datetime, hold: timedelta) -> list[Reading]:
    """Figures of the hours touched since then, and unique values of all open periods."""
    hours = [row[0] for row in connection.execute(_HOURS, [since])]
    readings = []
    for tenant, hour, measurements, series in connection.execute(_ACTIVITY, [hours, since]):
        readings.append(Reading(tenant, "tenant_volume", measurements, hour))
        readings.append(Reading(tenant, "tenant_series", series, hour))
    held = connection.execute(_UNIQUE, {"hold": hold})
    return [*readings, *(Reading(tenant, "tenant_unique", count) for tenant, count in held)]


def known(connection: psycopg.Connection, since: datetime) -> list[Alarm]:
    """Alarms that run, and those that ended since then."""
    return [_alarm(row) for row in connection.execute(_KNOWN, [since])]


def store(connection: psycopg.Connection, decision: Decision, hold: timedelta) -> None:
    """Write what was decided, not announced yet."""
    for alarm in decision.begun:
        shown = Jsonb(_evidence(connection, alarm, hold))
        begun = (*_key(alarm), alarm.bound, alarm.value, alarm.hour, alarm.seen_at, _hours(alarm), shown)
        connection.execute(_BEGIN, begun)
    for alarm in decision.grown:
        grown = (alarm.bound, alarm.value, alarm.hour, alarm.seen_at, _hours(alarm), *_key(alarm))
        connection.execute(_GROW, grown)
    for alarm in decision.ended:
        connection.execute(_END, (alarm.resolved_at, *_key(alarm)))


def unannounced(connection: psycopg.Connection) -> list[Stored]:
    """Alarms whose beginning or end is still to be announced, oldest first."""
    rows = connection.execute(_UNANNOUNCED)
    return [Stored(_alarm(columns), shown, announced) for *columns, shown, announced in rows]


def announced(connection: psycopg.Connection, alarm: Alarm, status: Status) -> None:
    """Remember that the brokers have the alert."""
    connection.execute(_ANNOUNCED[status], _key(alarm))


def _evidence(connection: psycopg.Connection, alarm: Alarm, hold: timedelta) -> dict[str, Any]:
    """Figures of an alarm that begins: value, bound, hour, and where most of it is."""
    shown: dict[str, Any] = {"tenant_id": alarm.tenant, "value": alarm.value, "bound": alarm.bound}
    if alarm.hour is not None:
        shown["hour"] = rfc3339(alarm.hour)
    given = {"tenant": alarm.tenant, "hour": alarm.hour, "hold": hold, "top": TOP}
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
