"""Usage of one customer: the live counter and the stored total of each meter, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import redis
from psycopg import sql

from jobs.errors import TidemarkError, UnavailableError
from jobs.settings import Settings
from udfs.live import client, redis_key
from udfs.postgres import connect, deadline, first_line

_TIMEOUT_MS = 10_000

_METERS = "SELECT DISTINCT meter FROM catalog.meter WHERE tenant_id IS NULL OR tenant_id = %s"
# The latest period of each meter, over all dimensions.
_STORED = """
SELECT DISTINCT ON (meter) meter, period_start, period_end, n, total
FROM {schema}.usage_total
WHERE tenant_id = %s AND customer_id = %s
ORDER BY meter, period_start DESC, period_end DESC
"""


@dataclass(frozen=True, slots=True)
class Total:
    """Total of one period: its bounds in RFC 3339, events applied, and the exact sum as plain decimal text."""

    period_start: str
    period_end: str
    n: int
    total: str


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """One meter of one customer; None on a side that has nothing."""

    meter: str
    live: Total | None
    stored: Total | None

    @property
    def equal(self) -> bool:
        """Whether both sides say the same; while events arrive the live one is ahead by seconds."""
        return self.live == self.stored


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
    """Live and stored totals of the latest period of each meter.

    Raises
    ------
    UnavailableError
        Postgres could not be asked, which also knows the names of the meters. Redis away is told in the answer.

    """
    names, stored = _read_stored(settings, tenant, customer)
    unavailable: dict[str, str] = {}
    live: Mapping[str, Total] = {}
    try:
        live = _read_live(settings, tenant, customer, sorted({*names, *stored}))
    except (redis.RedisError, OSError) as error:
        unavailable["live"] = f"Redis at {settings.redis_url} does not answer: {first_line(error)}"
    meters = tuple(MeterUsage(name, live.get(name), stored.get(name)) for name in sorted({*live, *stored}))
    return Usage(tenant, customer, meters, unavailable)


def normal(value: str | Decimal) -> str:
    """Plain decimal text in one form: no exponent, no trailing zeros, no minus zero; exact at any length."""
    text = format(Decimal(value), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def live_total(fields: Mapping[str, str]) -> Total | None:
    """Read a counter from the fields of its Redis hash; None when it is not complete."""
    try:
        start, end, n, total = (fields[name] for name in ("period_start", "period_end", "n", "total"))
    except KeyError:
        return None
    return Total(_at(int(start)), _at(int(end)), int(n), normal(total))


def _read_stored(settings: Settings, tenant: str, customer: str) -> tuple[list[str], dict[str, Total]]:
    statement = sql.SQL(_STORED).format(schema=sql.Identifier(settings.names.usage_schema))
    try:
        with (
            connect(settings.postgres_url, statement_timeout_ms=_TIMEOUT_MS, application_name="tidemark usage") as db,
            deadline(db, _TIMEOUT_MS),
        ):
            names = [row[0] for row in db.execute(_METERS, [tenant])]
            rows = db.execute(statement, [tenant, customer]).fetchall()
    except psycopg.errors.UndefinedTable as error:
        raise TidemarkError("the database has no current tables.", "run `tidemark db migrate`.") from error
    except psycopg.Error as error:
        raise UnavailableError(
            f"Postgres at {settings.postgres_url} does not answer: {first_line(error)}",
            "start it (`tidemark up`) or correct postgres_url and postgres_passfile.",
        ) from error
    return names, {meter: Total(_text(start), _text(end), n, normal(total)) for meter, start, end, n, total in rows}


def _read_live(settings: Settings, tenant: str, customer: str, meters: Sequence[str]) -> dict[str, Total]:
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    with closing(client(settings.redis_url, password, timeout_s=_TIMEOUT_MS / 1_000)) as connection:
        pipeline = connection.pipeline(transaction=False)
        for meter in meters:
            pipeline.hgetall(redis_key(settings.names.redis_prefix, tenant, customer, meter))
        answers = pipeline.execute()
    totals = {meter: live_total(fields) for meter, fields in zip(meters, answers, strict=True)}
    return {meter: total for meter, total in totals.items() if total is not None}


def _at(ms: int) -> str:
    return _text(datetime.fromtimestamp(ms / 1_000, UTC))


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
