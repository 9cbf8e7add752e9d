"""OpenMeter's API for what it covers: CloudEvents in, a meter in windows out. Its own clients work unchanged.

What they mean differs in one place: an event that is rejected makes the answer a 400 that names it, although the others
were kept, so that none is lost without a word. Sending all of them again counts none twice.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.access import authorized
from tidemark.api.conditions import Condition, fault_of
from tidemark.api.conditions import decode as conditions_of
from tidemark.api.ingest import read_body, taken
from tidemark.api.problem import Problem
from tidemark.api.reading import Asked, read
from tidemark.api.usage_query import CUSTOMER, Grain, UsageAsked, instants_of, invalid, zone_of
from tidemark.api.usage_rows import buckets, the_meter
from tidemark.core.csv_text import csv_of
from udfs.values import parse_rfc3339, rfc3339

Window = Literal["MINUTE", "HOUR", "DAY", "MONTH"]
SUBJECT = "subject"
MOST_ROWS = 10_000
# Its answers have numbers.
_encode = msgspec.json.Encoder(decimal_format="number").encode
_GRAINS: Mapping[str, Grain] = {"MINUTE": "minute", "HOUR": "hour", "DAY": "day", "MONTH": "month"}
_LENGTHS = {"MINUTE": timedelta(minutes=1), "HOUR": timedelta(hours=1)}
_UTC = "Etc/UTC"
FILTER = "filterGroupBy"
_LONGEST = 20_000


class MeterQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is asked of a meter, as OpenMeter has it; `clientId` is taken and not read."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    window_size: Window | None = None
    window_time_zone: str = _UTC
    subject: list[str] = []
    filter_customer_id: list[str] = []
    filter_group_by: dict[str, list[str]] = {}
    advanced_meter_group_by_filters: dict[str, Condition] = {}
    group_by: list[str] = []
    client_id: str = ""

    def asked(self, meter: str) -> UsageAsked:
        """The same as a question of ours."""
        grain: Grain = _GRAINS[self.window_size] if self.window_size else "total"
        groups = tuple(dict.fromkeys(map(_dimension, self.group_by)))
        zone = self.window_time_zone if grain in {"day", "month"} else ""
        where = {_dimension(name): tuple(values) for name, values in self.filter_group_by.items()}
        conditions = {_dimension(name): one for name, one in self.advanced_meter_group_by_filters.items()}
        return UsageAsked(
            meter, grain, tuple(self.customers), self.from_, self.to, zone, groups, where, limit=MOST_ROWS,
            conditions=conditions,
        )  # fmt: skip

    @property
    def customers(self) -> list[str]:
        """Customers that are asked for, by either name; empty: all of them, or none, which `is_empty` says."""
        both = [name for name in self.subject if name in self.filter_customer_id]
        return both if self.subject and self.filter_customer_id else self.subject or self.filter_customer_id

    @property
    def is_empty(self) -> bool:
        """Whether no customer has both names that are asked for."""
        return bool(self.subject and self.filter_customer_id and not self.customers)


_decode = msgspec.json.Decoder(MeterQuery).decode
_decode_filter = msgspec.json.Decoder(dict[str, str | list[str]]).decode


async def post_events(request: Request) -> Response:
    """Send CloudEvents, one or a batch, as OpenMeter takes them; each subject is a customer."""
    key = await authorized(request, "ingest")
    admitted = await taken(request, key)
    if admitted.rejected:
        detail = f"{admitted.rejected} of {len(admitted.outcomes)} events are rejected; the others were kept."
        raise Problem(400, "events_rejected", detail, more=admitted.document())
    return Response(status_code=204)


async def get_query(
    request: Request, slug: str,
    window: Annotated[Window | None, Query(alias="windowSize", description="Absent: one window.")] = None,
    zone: Annotated[str, Query(alias="windowTimeZone", max_length=64, description="Zone of days and months.")] = _UTC,
    start: Annotated[str, Query(alias="from", max_length=40, description="First instant.")] = "",
    to: Annotated[str, Query(max_length=40, description="First instant after it.")] = "",
    subject: Annotated[list[str] | None, Query(max_length=100, description="Only these customers.")] = None,
    group_by: Annotated[
        list[str] | None, Query(alias="groupBy", max_length=8, description="Dimensions, or `subject`.")
    ] = None,
    customers: Annotated[
        list[str] | None, Query(alias="filterCustomerId", max_length=100, description="The same as `subject`.")
    ] = None,
    advanced: Annotated[
        str, Query(alias="advancedMeterGroupByFilters", max_length=20_000, description="JSON: conditions by dimension.")
    ] = "",
    whole: Annotated[
        str | None, Query(alias=FILTER, max_length=_LONGEST, description="An object of values by dimension.")
    ] = None,
    client: Annotated[str, Query(alias="clientId", max_length=256, description="It is not read.")] = "",
) -> Response:  # fmt: skip
    """A meter in windows, as OpenMeter answers it; `filterGroupBy[NAME]=VALUE` narrows it to a dimension's value."""
    del client, whole
    where = filters_of(request.query_params)
    try:
        conditions = conditions_of(advanced.encode()) if advanced else {}
    except (msgspec.MsgspecError, RecursionError) as error:
        raise invalid("advancedMeterGroupByFilters", f"it is no object of conditions: {error}.") from None
    asked = MeterQuery(start, to, window, zone, subject or [], customers or [], where, conditions, group_by or [])
    return await _answered(request, slug, asked)


async def post_query(request: Request, slug: str) -> Response:
    """The same with the question in the body."""
    try:
        asked = _decode(await read_body(request))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Problem(400, "malformed_query", f"the body is no query of a meter: {error}.") from None
    return await _answered(request, slug, asked)


async def _answered(request: Request, slug: str, query: MeterQuery) -> Response:
    _check(query)

    def work(of: Asked) -> list[dict[str, Any]]:
        if query.is_empty:
            return []
        page = buckets(of, query.asked(slug), the_meter(of.db, of.tenant, slug))
        if page.next is not None:
            raise invalid("to", f"there are over {MOST_ROWS} rows; ask for a shorter time or fewer groups.")
        return list(_rows(query, page.rows))

    data = await read(request, work, len)
    if "text/csv" in request.headers.get("accept", ""):
        return Response(csv_of([_flat(row) for row in data]), media_type="text/csv")
    about = {"from": query.from_ or None, "to": query.to or None, "windowSize": query.window_size}
    document = {name: value for name, value in about.items() if value} | {"data": data}
    return Response(_encode(document), media_type="application/json")


def _check(query: MeterQuery) -> None:
    values = [value for many in query.filter_group_by.values() for value in many]
    names = (*query.group_by, *query.filter_group_by, *query.advanced_meter_group_by_filters)
    if any("\0" in text for text in (*query.subject, *query.filter_customer_id, *names, *values)):
        raise invalid("subject", "U+0000 is in no id.")
    for name, condition in query.advanced_meter_group_by_filters.items():
        if fault := fault_of(condition):
            raise invalid("advancedMeterGroupByFilters", f"{name}: {fault}")


def _rows(query: MeterQuery, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    alone = query.customers[0] if len(query.customers) == 1 else None
    for row in rows:
        start, customer = parse_rfc3339(row["start"]), row.get(CUSTOMER, alone)
        yield {
            "value": Decimal(row["value"]),
            "windowStart": row["start"],
            "windowEnd": rfc3339(window_end(query, start)),
            "subject": customer,
            "customerId": customer,
            "groupBy": row["dims"],
        }


def window_end(query: MeterQuery, start: datetime) -> datetime:
    """First instant after the window that begins at an instant; of the only one, the end that was asked for."""
    if query.window_size is None:
        return instants_of(query.asked(""))[1] if query.to else _next_minute(datetime.now(UTC))
    if query.window_size in _LENGTHS:
        return start + _LENGTHS[query.window_size]
    local = start.astimezone(zone_of(query.window_time_zone)).replace(tzinfo=None)
    monthly = query.window_size == "MONTH"
    later = local.replace(day=1) + timedelta(days=32) if monthly else local + timedelta(days=1)
    day = later.replace(day=1) if monthly else later
    return day.replace(hour=0, minute=0, tzinfo=zone_of(query.window_time_zone)).astimezone(UTC)


def _next_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


def filters_of(params: QueryParams) -> dict[str, list[str]]:
    """Values by dimension, from parameters `filterGroupBy[NAME]`, or from `filterGroupBy` with all of them.

    Their client for Python sends the latter, as Python prints a dictionary.
    """
    where: dict[str, list[str]] = {}
    for name, value in params.multi_items():
        if name == FILTER:
            for key, values in _whole_filter(value).items():
                where.setdefault(key, []).extend([values] if isinstance(values, str) else values)
        elif name.startswith(f"{FILTER}[") and name.endswith("]"):
            where.setdefault(name.removeprefix(f"{FILTER}[").removesuffix("]"), []).append(value)
    return where


def _whole_filter(text: str) -> dict[str, str | list[str]]:
    try:
        return _decode_filter(text)
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        return msgspec.convert(ast.literal_eval(text), dict[str, str | list[str]])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise invalid(FILTER, "it is no object of values by dimension.") from None


def _dimension(name: str) -> str:
    return CUSTOMER if name == SUBJECT else name


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV as OpenMeter has it: a column for each group."""
    head = {"window_start": row["windowStart"], "window_end": row["windowEnd"], "subject": row["subject"]}
    return head | dict(row["groupBy"]) | {"value": row["value"]}
