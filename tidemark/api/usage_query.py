"""Questions about usage: what is asked for, checked, and how it becomes SQL. Pure.

Buckets are made from the rollups, whose rows are mergeable partial aggregates: any set of them has a value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import sql
from psycopg.types.json import Jsonb

import schemas
from tidemark.api.conditions import Condition, literal, sql_of
from tidemark.api.problem import Problem
from tidemark.core.errors import UsageError
from tidemark.core.times import given_instant
from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.values import instant

Grain = Literal["minute", "hour", "day", "month", "period", "total"]
# Name of the group of customers, beside the dimensions of the meter.
CUSTOMER = "customer_id"
_RELATIONS: Mapping[str, tuple[str, str]] = {
    "minute": ("usage_minute", "minute_start"),
    "hour": ("usage_hour", "hour_start"),
    "day": ("usage_day", "day"),
    "period": ("usage_period", "period_start"),
}
# Values of these are kept by local day and period alone; of weighted sums, by period.
_COARSE: Mapping[str, frozenset[str]] = {
    "unique": frozenset({"day", "period"}),
    "weighted_sum": frozenset(),
}
_HOUR_S = 3_600
_ALL_TIME = date.min, date.max
# No event is outside them, and no zone puts them beyond the ends of the calendar.
_FIRST, _LAST = instant(MIN_MS), instant(MAX_MS)
_BUCKETS = """
SELECT *
FROM (
    SELECT {bucket} AS start, {groups}
           {values},
           sum(n)::bigint AS n
    FROM {source} u
    JOIN meter_kind k USING (tenant_id, meter)
    WHERE u.tenant_id = %(tenant)s AND u.meter = %(meter)s
      AND (%(customers)s::text[] IS NULL OR u.customer_id = ANY (%(customers)s))
      AND u.{column} >= %(from)s AND u.{column} < %(to)s {filters}
    GROUP BY {keys}, k.aggregation
) buckets
WHERE value IS NOT NULL AND {after}
ORDER BY {keys}
LIMIT %(limit)s
"""

# A percent sign of the text stands for itself.
_VALUES = sql.SQL(schemas.value_columns().replace("%", "%%"))
# What a table has, and what of the archive stands in for what it has no longer.
_TIERS = """
(
    SELECT tenant_id, customer_id, meter, dims, part, {column}, n, samples, total, lo, hi, latest
    FROM {relation}
    WHERE {column} >= %(kept_from)s
    UNION ALL
    SELECT %(tenant)s, customer_id, %(meter)s, dims, part, start, n, samples, total, lo, hi, latest
    FROM jsonb_to_recordset(%(archived)s) AS archived (
        customer_id text, dims text, part text, start timestamptz, n bigint, samples bigint, total numeric, lo numeric,
        hi numeric, latest text
    )
)
"""


@dataclass(frozen=True, slots=True)
class MeterAsked:
    """A meter as the catalog has it: how it adds up, its unit, and what it groups by."""

    name: str
    aggregation: str
    unit: str
    group_by: Sequence[str]


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """A question about the usage of a meter.

    Parameters
    ----------
    meter, grain:
        Which meter, in buckets of which length; `month`: of the calendar; `total`: one bucket.
    customers:
        Whose; empty: of all customers of the tenant together.
    start, end:
        Half-open range of the starts of buckets, as text; empty for no bound.
    zone:
        Whose days and months; empty: local days of each customer, as rollups have them, and months of UTC.
    group_by:
        Dimensions of the meter, or CUSTOMER.
    where:
        Values by dimension, one of which it must have.
    cursor:
        Where the page before ended; empty for the first.
    limit:
        Most buckets of a page.
    conditions:
        What a dimension must meet, by its name.
    """

    meter: str
    grain: Grain
    customers: tuple[str, ...] = ()
    start: str = ""
    end: str = ""
    zone: str = ""
    group_by: tuple[str, ...] = ()
    where: Mapping[str, tuple[str, ...]] | None = None
    cursor: str = ""
    limit: int = 1_000
    conditions: Mapping[str, Condition] | None = None

    @property
    def has_dates(self) -> bool:
        """Whether buckets start with dates: the local days of each customer."""
        return self.grain == "day" and not self.zone


class Source(NamedTuple):
    """Where buckets come from.

    Parameters
    ----------
    relation, column:
        A table of rollups, and its column of time.
    bucket:
        Expression of the start of a bucket.
    bounds:
        Half-open range of that column.
    """

    relation: str
    column: str
    bucket: sql.Composable
    bounds: tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, its values, and the names of its columns after `start`, up to `value`."""

    text: sql.Composed
    values: Mapping[str, Any]
    groups: Sequence[str]


def filters_of(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Values by dimension from `dimension:value`, given again for a choice; raises Problem."""
    where: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name:
            raise invalid("filter", f"{text!r} is not DIMENSION:VALUE.")
        where[name] = (*where.get(name, ()), value)
    return where


def statement_of(
    asked: UsageAsked, tenant: str, source: Source, archived: tuple[datetime, Sequence[Mapping[str, Any]]] | None = None
) -> Statement:
    """The statement that answers a question.

    Parameters
    ----------
    asked, tenant:
        What is asked, and of whose usage.
    source:
        As `source_of` has it.
    archived:
        Where the table begins, and the rows before that, of `tidemark.api.tiers.as_document`; None for a whole table.
    """
    relation, column, bucket, bounds = source
    after = place_of(asked.cursor, 1 + len(asked.group_by))
    expressions = [_group(name) for name in asked.group_by]
    labels = [sql.Identifier(f"g{place}") for place in range(len(expressions))]
    keys = sql.SQL(", ").join([sql.SQL("start"), *labels])
    groups = [sql.SQL("{} AS {},").format(one, label) for one, label in zip(expressions, labels, strict=True)]
    values = {
        "tenant": tenant, "meter": asked.meter, "customers": list(asked.customers) or None, "from": bounds[0],
        "to": bounds[1], "limit": asked.limit + 1, **{f"a{place}": value for place, value in enumerate(after)},
        **{f"f{place}": list(one) for place, one in enumerate((asked.where or {}).values())},
    }  # fmt: skip
    table: sql.Composable = sql.Identifier(relation)
    if archived is not None:
        table = sql.SQL(_TIERS).format(relation=table, column=sql.Identifier(column))
        values |= {"kept_from": archived[0], "archived": Jsonb(archived[1])}
    text = sql.SQL(_BUCKETS).format(
        bucket=bucket, groups=sql.SQL(" ").join(groups), values=_VALUES, source=table, keys=keys,
        column=sql.Identifier(column), filters=_filters(asked), after=_after(keys, len(after)),
    )  # fmt: skip
    return Statement(text, {**values, "zone": asked.zone or "Etc/UTC"}, asked.group_by)


def cursor_of(row: Sequence[Any]) -> str:
    """Where a page ends whose last row begins with these columns."""
    place = [one.isoformat() if isinstance(one, date) else one for one in row]
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def invalid(name: str, detail: str) -> Problem:
    """The answer to a parameter that is not valid."""
    return Problem(422, "invalid_parameter", f"{name}: {detail}", more={"parameter": name})


def zone_of(name: str) -> ZoneInfo:
    """A time zone; raises Problem where there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise invalid("zone", f"{name!r} is not known; write for example Europe/Berlin.") from None


def has_whole_hours(zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    """Whether days of a zone begin on a full hour of UTC, in each half-year from one instant to another."""
    at, step = start, timedelta(days=90)
    while True:
        offset = at.astimezone(zone).utcoffset() or timedelta()
        if offset.total_seconds() % _HOUR_S:
            return False
        if at >= end:
            return True
        at = min(at + step, end)


def _check(asked: UsageAsked, meter: MeterAsked) -> None:
    known = {CUSTOMER, *meter.group_by}
    unknown = sorted({*asked.group_by, *(asked.where or {}), *(asked.conditions or {})} - known)
    if unknown:
        detail = f"meter {meter.name} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        raise invalid("group_by" if set(unknown) & set(asked.group_by) else "filter", detail)
    coarse = _COARSE.get(meter.aggregation)
    local = "" if asked.grain != "day" or not asked.zone else "in a zone of your own"
    if coarse is not None and (asked.grain not in coarse or local):
        detail = f"{asked.grain} {local} is not kept of {meter.aggregation} meters; read `period` without `group_by`."
        raise invalid("grain", detail)


def source_of(asked: UsageAsked, meter: MeterAsked) -> Source:
    """The coarsest rollup that answers a question exactly; raises Problem where none does."""
    _check(asked, meter)
    if asked.has_dates:
        return Source(*_RELATIONS["day"], sql.SQL("u.day"), _days(asked))
    start, end = instants_of(asked)
    if asked.grain in {"minute", "hour", "period"}:
        relation, column = _RELATIONS[asked.grain]
        return Source(relation, column, sql.SQL("u.{}").format(sql.Identifier(column)), (start, end))
    relation, column = _RELATIONS["hour" if _hours_do(asked, start, end) else "minute"]
    if asked.grain == "total":
        return Source(relation, column, sql.SQL("%(from)s::timestamptz"), (start, end))
    bucket = sql.SQL("date_trunc({}, u.{}, %(zone)s)").format(sql.Literal(asked.grain), sql.Identifier(column))
    return Source(relation, column, bucket, (start, end))


def _hours_do(asked: UsageAsked, start: datetime, end: datetime) -> bool:
    """Whether hours can be put together to what is asked for; else it takes minutes."""
    if any(at.minute or at.second or at.microsecond for at in (start, end)):
        return False
    return not asked.zone or has_whole_hours(zone_of(asked.zone), start, end)


def _days(asked: UsageAsked) -> tuple[date, date]:
    try:
        start, end = (date.fromisoformat(text) if text else None for text in (asked.start, asked.end))
    except ValueError:
        raise invalid("from", "days of customers are dates, 2026-03-01; with `zone` they are instants.") from None
    return start or _ALL_TIME[0], end or _ALL_TIME[1]


def instants_of(asked: UsageAsked) -> tuple[datetime, datetime]:
    """First and last bound of the starts of buckets, whole minutes where those are asked for; raises Problem."""
    start = _instant("from", asked.start, asked.zone) or _FIRST
    end = _instant("to", asked.end, asked.zone) or _LAST
    if end < start:
        raise invalid("to", "it is before `from`.")
    if asked.grain in {"minute", "hour", "total"} and any(at.second or at.microsecond for at in (start, end)):
        raise invalid("from", "the finest that is kept are minutes; give whole ones.")
    return start, end


def _instant(name: str, text: str, zone: str) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        day = min(max(day, _FIRST.date()), _LAST.date())
        return datetime(day.year, day.month, day.day, tzinfo=zone_of(zone) if zone else UTC).astimezone(UTC)
    try:
        return min(max(given_instant(text), _FIRST), _LAST)
    except UsageError as error:
        raise invalid(name, error.what) from None


def _group(name: str) -> sql.Composable:
    if name == CUSTOMER:
        return sql.SQL("u.customer_id")
    return sql.SQL("coalesce(nullif(u.dims, '')::jsonb ->> {}, '')").format(literal(name))


def _filters(asked: UsageAsked) -> sql.Composable:
    parts = [
        sql.SQL("AND {} = ANY ({})").format(_group(name), sql.Placeholder(f"f{place}"))
        for place, name in enumerate(asked.where or {})
    ]
    parts += [sql.SQL("AND {}").format(sql_of(one, _group(name))) for name, one in (asked.conditions or {}).items()]
    return sql.SQL(" ").join(parts)


def place_of(cursor: str, size: int) -> list[str]:
    """Where the page before ended, in so many texts, of which some is a time; [] for none; raises Problem."""
    if not cursor:
        return []
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, RecursionError):
        raise invalid("cursor", "it is not one of a page before.") from None
    if not isinstance(place, list) or len(place) != size or not all(isinstance(one, str) for one in place):
        raise invalid("cursor", "it is not one of a page before, of the same question.")
    if not _is_start(place[0]) or not all(map(_is_stored, place)):
        raise invalid("cursor", "it is not one of a page before.")
    return place


def _is_start(text: str) -> bool:
    """Whether `cursor_of` writes it of the start of a bucket; Postgres does not take all that Python does."""
    for kind in (date, datetime):
        try:
            at = kind.fromisoformat(text)
        except ValueError:
            continue
        if at.isoformat() == text:
            return not isinstance(at, datetime) or at.utcoffset() == timedelta()
    return False


def _is_stored(text: str) -> bool:
    """Whether a text can be in a table: Postgres has no NUL, and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _after(keys: sql.Composable, size: int) -> sql.Composable:
    if not size:
        return sql.SQL("true")
    places = [sql.Placeholder(f"a{place}") for place in range(size)]
    return sql.SQL("({}) > ({})").format(keys, sql.SQL(", ").join(places))
