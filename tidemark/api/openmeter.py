"""OpenMeter's API for what it covers: CloudEvents in, a meter in windows out. Its own clients work unchanged.

What they mean differs in one place: an event that is rejected makes the answer a 400 that names it, although the others
were kept, so that none is lost without a word. Sending all of them again counts none twice.
"""

from __future__ import annotations

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
_FILTER = "filterGroupBy["


class MeterQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is asked of a meter, as OpenMeter has it; `clientId` is taken and not read."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    window_size: Window | None = None
    window_time_zone: str = _UTC
    subject: list[str] = []
    filter_group_by: dict[str, list[str]] = {}
    group_by: list[str] = []
    client_id: str = ""

    def asked(self, meter: str) -> UsageAsked:
        """The same as a question of ours."""
        grain: Grain = _GRAINS[self.window_size] if self.window_size else "total"
        groups = tuple(CUSTOMER if name == SUBJECT else name for name in dict.fromkeys(self.group_by))
        zone = self.window_time_zone if grain in {"day", "month"} else ""
        where = {name: tuple(values) for name, values in self.filter_group_by.items()}
        return UsageAsked(meter, grain, tuple(self.subject), self.from_, self.to, zone, groups, where, limit=MOST_ROWS)


_decode = msgspec.json.Decoder(MeterQuery).decode


async def post_events(request: Request) -> Response:
    """Send CloudEvents, one or a batch, as OpenMeter takes them; each subject is a customer."""
    key = await authorized(request, "ingest")
    admitted = await taken(request, key.tenant)
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
) -> Response:  # fmt: skip
    """A meter in windows, as OpenMeter answers it; `filterGroupBy[NAME]=VALUE` narrows it to a dimension's value."""
    where = _filters(request.query_params)
    asked = MeterQuery(start, to, window, zone, subject or [], where, group_by or [])
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
        page = buckets(of.db, of.tenant, query.asked(slug), the_meter(of.db, of.tenant, slug))
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
    if any("\0" in text for text in (*query.subject, *query.group_by, *query.filter_group_by, *values)):
        raise invalid("subject", "U+0000 is in no id.")


def _rows(query: MeterQuery, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    alone = query.subject[0] if len(query.subject) == 1 else None
    for row in rows:
        start = parse_rfc3339(row["start"])
        yield {
            "value": Decimal(row["value"]),
            "windowStart": row["start"],
            "windowEnd": rfc3339(window_end(query, start)),
            "subject": row.get(CUSTOMER, alone),
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


def _filters(params: QueryParams) -> dict[str, list[str]]:
    """Values by dimension, from parameters `filterGroupBy[NAME]`."""
    where: dict[str, list[str]] = {}
    for name, value in params.multi_items():
        if name.startswith(_FILTER) and name.endswith("]"):
            where.setdefault(name.removeprefix(_FILTER).removesuffix("]"), []).append(value)
    return where


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV as OpenMeter has it: a column for each group."""
    head = {"window_start": row["windowStart"], "window_end": row["windowEnd"], "subject": row["subject"]}
    return head | dict(row["groupBy"]) | {"value": row["value"]}
