"""What the stored usage says about alerts, as far as Postgres answers in time: weights, rates, dimensions, history.

The usage is that of the active version, which people read too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tidemark.alerts.grouping import DAY_MS, family
from tidemark.alerts.impact import Weight
from tidemark.core.names import Names
from udfs.alerts.event import Alert
from udfs.values import EXACT, instant, plain, rfc3339, rounded, total_of

# All reading for one batch; what is not read by then is left out: alerts go on without.
BUDGET_S = 3.0
# One statement of it.
TIMEOUT_MS = 2_000
# Alerts asked about in one statement, so that a slow one costs the evidence of few.
CHUNK = 50
# Totals of tenants are sums over all their customers: asked for once a minute.
TOTAL_AGE_S = 60.0
_SHARE_DECIMALS = 6

_PERIOD_TOTAL: LiteralString = """
SELECT sum(CASE WHEN part = '' THEN total ELSE 1 END)
FROM usage_period p
WHERE p.tenant_id = {tenant} AND {customer} AND p.meter = {meter} AND p.period_start <= {at} AND p.period_end > {at}
  AND (part = '' OR (part LIKE 'u%%' AND samples > 0))
"""
_TENANT: LiteralString = _PERIOD_TOTAL.format(
    tenant="%(tenant)s", customer="true", meter="%(meter)s", at="%(at)s::timestamptz"
)
_GIVEN: LiteralString = """
unnest(%(tenants)s::text[], %(customers)s::text[], %(meters)s::text[], %(ats)s::timestamptz[], %(seen)s::timestamptz[],
       %(families)s::text[], %(ids)s::text[])
    WITH ORDINALITY AS s (tenant_id, customer_id, meter, at, seen_at, family, alert_id, place)
"""
_OF_PERIOD: LiteralString = _PERIOD_TOTAL.format(
    tenant="s.tenant_id", customer="p.customer_id = s.customer_id", meter="s.meter", at="s.at"
)
_WEIGHTS: LiteralString = f"""
SELECT ({_OF_PERIOD}),
       (SELECT revenue_weight
        FROM catalog.customer c
        WHERE c.tenant_id = s.tenant_id AND c.customer_id = s.customer_id
          AND c.valid_from <= s.at AND c.valid_to > s.at)
FROM {_GIVEN}
ORDER BY place
"""
# Whole hours alone: the running one would seem to be a slump.
_HISTORY: LiteralString = """
SELECT rates.last_hour, rates.last_day, top.found, history.found
FROM {given}
CROSS JOIN LATERAL (
    SELECT sum(total) FILTER (WHERE hour_start >= date_trunc('hour', s.at) - interval '1 hour') AS last_hour,
           sum(total) / 24                                                                     AS last_day
    FROM usage_hour u
    WHERE u.tenant_id = s.tenant_id AND {customer} AND u.meter = s.meter AND part = ''
      AND hour_start >= date_trunc('hour', s.at) - interval '24 hours' AND hour_start < date_trunc('hour', s.at)
) rates
CROSS JOIN LATERAL (
    SELECT json_agg(
               json_build_object('dims', dims, 'value', trim_scale(total)::text) ORDER BY total DESC, dims
           ) AS found
    FROM (
        SELECT dims, sum(total) AS total
        FROM usage_hour u
        WHERE u.tenant_id = s.tenant_id AND {customer} AND u.meter = s.meter AND part = '' AND dims <> ''
          AND hour_start > s.at - interval '25 hours' AND hour_start <= s.at
        GROUP BY dims
        ORDER BY 2 DESC, 1
        LIMIT 5
    ) dims
) top
LEFT JOIN LATERAL (
    SELECT json_build_object('id', alert_id, 'type', type, 'at', at, 'outcome', outcome, 'note', note) AS found
    FROM alert a
    WHERE a.tenant_id = s.tenant_id AND {similar} AND a.meter = s.meter AND a.at < s.seen_at
      AND status = 'firing' AND alert_id <> s.alert_id AND split_part(type, '.', 1) = s.family
    ORDER BY at DESC
    LIMIT 1
) AS history ON true
ORDER BY place
"""
_OF_CUSTOMER: LiteralString = _HISTORY.format(
    given=_GIVEN, customer="u.customer_id = s.customer_id", similar="a.customer_id = s.customer_id"
)
_OF_TENANT: LiteralString = _HISTORY.format(given=_GIVEN, customer="true", similar="a.customer_id IS NULL")


@dataclass(slots=True)
class _Clock:
    """Time that is left for the reading of one batch."""

    until: float

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until


class Researcher:
    """Asks the stored usage; remembers totals of tenants for TOTAL_AGE_S.

    Parameters
    ----------
    names:
        The run whose alerts they are. Views of its ledger have the active version; a run without one has rollups alone.
    """

    def __init__(self, names: Names) -> None:
        schemas = map(sql.Identifier, (names.billing_schema, names.usage_schema))
        # A schema that does not exist is passed over.
        self._path = sql.SQL("SET LOCAL search_path TO {}, public").format(sql.SQL(", ").join(schemas))
        self._totals: dict[tuple[str, str, int], tuple[float, Decimal | None]] = {}

    def weights(self, connection: psycopg.Connection, alerts: Sequence[Alert]) -> list[Weight]:
        """Weight of the customer of each alert; unknown without a customer, and where Postgres took too long.

        Raises
        ------
        psycopg.Error
            Postgres cannot be reached.

        """
        clock = _Clock(time.monotonic() + BUDGET_S)
        weights = {index: Weight() for index in range(len(alerts))}
        for places in _chunks(
            [i for i, alert in enumerate(alerts) if alert.tenant_id and alert.customer_id and alert.meter]
        ):
            chunk = [alerts[place] for place in places]
            rows = self._rows(connection, clock, _WEIGHTS, _given(chunk))
            for place, (total, revenue) in zip(places, rows or [], strict=False):
                tenant = self._total(connection, clock, alerts[place])
                weights[place] = Weight(share(alerts[place], total, tenant), revenue)
        return [weights[index] for index in range(len(alerts))]

    def _total(self, connection: psycopg.Connection, clock: _Clock, alert: Alert) -> Decimal | None:
        at_ms = _usage_ms(alert)
        key = (alert.tenant_id or "", alert.meter or "", at_ms // DAY_MS)
        read_at, total = self._totals.get(key, (-TOTAL_AGE_S, None))
        if time.monotonic() - read_at < TOTAL_AGE_S:
            return total
        given = {"tenant": key[0], "meter": key[1], "at": instant(at_ms)}
        rows = self._rows(connection, clock, _TENANT, given)
        self._totals = {key: kept for key, kept in self._totals.items() if time.monotonic() - kept[0] < TOTAL_AGE_S}
        self._totals[key] = (time.monotonic(), rows[0][0] if rows else None)
        return self._totals[key][1]

    def enriched(self, connection: psycopg.Connection, alerts: Sequence[Alert]) -> list[Alert]:
        """Firing alerts with recent_rates, top_dimensions and last_similar in their evidence, as far as they are known.

        Raises
        ------
        psycopg.Error
            Postgres cannot be reached.

        """
        clock, enriched = _Clock(time.monotonic() + BUDGET_S), [*alerts]
        indexes = [i for i, alert in enumerate(alerts) if alert.status == "firing" and alert.tenant_id and alert.meter]
        for query, of_customer in ((_OF_CUSTOMER, True), (_OF_TENANT, False)):
            for places in _chunks([i for i in indexes if bool(alerts[i].customer_id) == of_customer]):
                chunk = [alerts[place] for place in places]
                rows = self._rows(connection, clock, query, _given(chunk))
                for place, row in zip(places, rows or [], strict=False):
                    enriched[place] = with_evidence(alerts[place], *row)
        return enriched

    def _rows(
        self, connection: psycopg.Connection, clock: _Clock, query: LiteralString, given: dict[str, Any]
    ) -> list[tuple[Any, ...]] | None:
        """The rows, or None when the time is over, or Postgres ended the statement."""
        if clock.over:
            return None
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
                connection.execute(self._path)
                return connection.execute(query, given).fetchall()
        except psycopg.errors.QueryCanceled:
            return None


def share(alert: Alert, stored: Decimal | None, tenant: Decimal | None) -> Decimal | None:
    """Share of the customer in what its tenant has used, 0 to 1 with 6 decimals; None where it cannot be said.

    The value of an alert about a limit is newer than what is stored.
    """
    sent = total_of(alert.value) if family(alert.type) == "limit" else None
    customer = max((total for total in (stored, sent) if total is not None), default=None)
    if customer is None or tenant is None or customer < 0:
        return None
    whole = EXACT.add(tenant, EXACT.subtract(customer, stored or Decimal(0)))
    return min(rounded(EXACT.divide(customer, whole), _SHARE_DECIMALS), Decimal(1)) if whole > 0 else None


def with_evidence(alert: Alert, last_hour: Decimal | None, last_day: Decimal | None, top: Any, similar: Any) -> Alert:
    """An alert with what the stored usage says, where the sender said nothing of it.

    Parameters
    ----------
    alert:
        What was sent.
    last_hour, last_day:
        Usage an hour, of the last whole hour and averaged over a day.
    top, similar:
        The most used dimensions, and the last alert of its kind; None where there are none.
    """
    more: dict[str, Any] = {}
    if last_day is not None:
        more["recent_rates"] = {
            "last_hour": plain(rounded(last_hour or Decimal(0), 9)),
            "last_day": plain(rounded(last_day, 9)),
            "per": "hour",
        }
    if top:
        more["top_dimensions"] = top
    if similar:
        at = datetime.fromisoformat(similar.pop("at"))
        kept = {name: value for name, value in similar.items() if value is not None}
        more["last_similar"] = {**kept, "at": rfc3339(at)}
    # What the sender saw itself is nearer to the moment.
    return replace(alert, evidence={**more, **alert.evidence})


def _given(alerts: Sequence[Alert]) -> dict[str, list[Any]]:
    return {
        "tenants": [alert.tenant_id for alert in alerts],
        "customers": [alert.customer_id for alert in alerts],
        "meters": [alert.meter for alert in alerts],
        "ats": [instant(_usage_ms(alert)) for alert in alerts],
        "seen": [instant(alert.at_ms) for alert in alerts],
        "families": [family(alert.type).partition(".")[0] for alert in alerts],
        "ids": [alert.id for alert in alerts],
    }


def _usage_ms(alert: Alert) -> int:
    """Event time of the usage it is about: when it was seen, but inside its period."""
    return alert.at_ms if alert.period_ms is None else min(max(alert.at_ms, alert.period_ms[0]), alert.period_ms[1] - 1)


def _chunks(places: Sequence[int]) -> list[Sequence[int]]:
    return [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
