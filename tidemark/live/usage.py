"""Usage of one customer: the live counter and the stored total of each meter, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import redis
from psycopg import sql

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import Settings
from tidemark.dry_run.values import mean
from tidemark.live import active_version
from tidemark_client.keys import counter_key
from udfs.calendars.calendar import SEPARATOR
from udfs.live.counters import client
from udfs.postgres import connect, deadline, first_line

_TIMEOUT_MS = 10_000

# Percentiles are read from bins, weighted sums need the level that earlier periods have left.
WITHOUT_COUNTER = frozenset({"percentile", "weighted_sum"})
_METERS = "SELECT meter, aggregation FROM {schema}.meter_kind WHERE tenant_id = %s"
# The latest period of each meter, over all dimensions.
_STORED = """
SELECT DISTINCT ON (meter) meter, period_start, period_end, samples, value
FROM {schema}.usage_total
WHERE tenant_id = %s AND customer_id = %s
ORDER BY meter, period_start DESC
"""


@dataclass(frozen=True, slots=True)
class Total:
    """Usage of one period: its bounds in RFC 3339, samples, and the value of the meter as plain decimal text."""

    period_start: str
    period_end: str
    samples: int
    value: str


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """One meter of one customer; None on a side that has nothing, as the live one of what has no counter."""

    meter: str
    live: Total | None
    stored: Total | None
    has_counter: bool = True

    @property
    def equal(self) -> bool:
        """Whether both sides say the same; while events arrive the live one is ahead by seconds."""
        return not self.has_counter or self.live == self.stored


@dataclass(frozen=True, slots=True)
class Usage:
    """All meters of one customer that have usage, and the sides that could not be asked, with the reason."""

    tenant: str
    customer: str
    meters: tuple[MeterUsage, ...]
    unavailable: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Everything as JSON values; decimals are strings."""
        meters = [{**asdict(meter), "equal": meter.equal} for meter in self.meters]
        return {
            "tenant_id": self.tenant,
            "customer_id": self.customer,
            "meters": meters,
            "unavailable": dict(self.unavailable),
        }


def usage(settings: Settings, tenant: str, customer: str) -> Usage:
    """Live and stored totals of the latest period of each meter, of the version that people read.

    Raises
    ------
    UnavailableError
        Postgres could not be asked, which also knows the names of the meters. Redis away is told in the answer.

    """
    prefix, kinds, stored = _read_stored(settings, tenant, customer)
    unavailable: dict[str, str] = {}
    live: Mapping[str, Total] = {}
    try:
        live = _read_live(settings, prefix, (tenant, customer), kinds)
    except (redis.RedisError, OSError) as error:
        unavailable["live"] = f"Redis at {settings.redis_url} does not answer: {first_line(error)}"
    meters = tuple(
        MeterUsage(name, live.get(name), stored.get(name), kinds[name] not in WITHOUT_COUNTER)
        for name in sorted({*live, *stored})
    )
    return Usage(tenant, customer, meters, unavailable)


def normal(value: str | Decimal) -> str:
    """Plain decimal text in one form: no exponent, no trailing zeros, no minus zero; exact at any length."""
    text = format(Decimal(value), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def live_total(aggregation: str, fields: Mapping[str, str]) -> Total | None:
    """Read a counter from the fields of its Redis hash; None when it is not complete, or says nothing of this meter."""
    try:
        start, end, samples = (fields[name] for name in ("period_start", "period_end", "samples"))
        value = _live_value(aggregation, fields)
    except KeyError:
        return None
    return Total(_at(int(start)), _at(int(end)), int(samples), normal(value)) if value else None


def _live_value(aggregation: str, fields: Mapping[str, str]) -> str:
    """Text of the value; empty where the counter has none, as a weighted sum, which needs earlier periods."""
    match aggregation:
        case "count" | "sum" | "unique":
            return fields["total"]
        case "min":
            return fields["lo"]
        case "max":
            return fields["hi"]
        case "latest":
            return fields["latest"].rpartition(SEPARATOR)[2]
        case "avg":
            average = mean(Decimal(fields["total"]), int(fields["samples"]))
            return "" if average is None else str(average)
        case _:
            return ""


def _read_stored(settings: Settings, tenant: str, customer: str) -> tuple[str, dict[str, str], dict[str, Total]]:
    """Prefix of the live counters that go with them, aggregation by meter, and totals by meter."""
    names = settings.names
    try:
        with (
            connect(settings.postgres_url, statement_timeout_ms=_TIMEOUT_MS, application_name="tidemark usage") as db,
            deadline(db, _TIMEOUT_MS),
        ):
            stack = active_version.promoted(db, names)
            # A replay has no ledger: its own rollups.
            schema = sql.Identifier(names.usage_schema if stack is None else names.billing_schema)
            prefix = active_version.prefix_read(stack or [], names, tenant)
            kinds: dict[str, str] = dict(db.execute(sql.SQL(_METERS).format(schema=schema), [tenant]).fetchall())
            rows = db.execute(sql.SQL(_STORED).format(schema=schema), [tenant, customer]).fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise TidemarkError("the database has no current tables.", "run `tidemark db migrate`.") from error
    except psycopg.Error as error:
        raise UnavailableError(
            f"Postgres at {settings.postgres_url} does not answer: {first_line(error)}",
            "start it (`tidemark up`) or correct postgres_url and postgres_passfile.",
        ) from error
    return prefix, kinds, {row[0]: Total(_text(row[1]), _text(row[2]), row[3], normal(row[4])) for row in rows}


def _read_live(settings: Settings, prefix: str, whose: tuple[str, str], kinds: Mapping[str, str]) -> dict[str, Total]:
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    with closing(client(settings.redis_url, password, timeout_s=_TIMEOUT_MS / 1_000)) as connection:
        pipeline = connection.pipeline(transaction=False)
        for meter in kinds:
            pipeline.hgetall(counter_key(prefix, *whose, meter))
        answers = pipeline.execute()
    totals = {meter: live_total(kinds[meter], fields) for meter, fields in zip(kinds, answers, strict=True)}
    return {meter: total for meter, total in totals.items() if total is not None}


def _at(ms: int) -> str:
    return _text(datetime.fromtimestamp(ms / 1_000, UTC))


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
