"""Routes that only read: usage by any grain, periods and what was closed, what is behind a number, meters."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.arrow import stream_of
from tidemark.api.cached_usage import cached
from tidemark.api.context import read_context_of
from tidemark.api.forms import Body, as_csv, chosen
from tidemark.api.reading import Asked, read, versioned
from tidemark.api.usage_query import Grain, MeterAsked, UsageAsked, filters_of, place_of
from tidemark.api.usage_rows import Listing, Page, buckets, listed, meters, the_meter
from tidemark.billing.explain import explain
from tidemark.billing.explained import document_of
from tidemark.billing.moments import moment

MOST_ROWS = 10_000
Forms = dict[str, Callable[[Mapping[str, Any]], Body]]
# No id is longer, and Postgres stores no NUL.
_ID = r"^[^\x00]{1,256}$"
Customer = Annotated[str, Query(pattern=_ID, description="The customer.")]
SomeCustomer = Annotated[str | None, Query(pattern=_ID, description="Only this customer.")]
Customers = Annotated[
    list[Annotated[str, Query(pattern=_ID)]] | None,
    Query(max_length=100, description="Only these customers; absent: all together."),
]
Meter = Annotated[str, Query(pattern=_ID, description="The meter.")]
SomeMeter = Annotated[str | None, Query(pattern=_ID, description="Only this meter.")]
From = Annotated[str, Query(alias="from", max_length=40, description="First start of a bucket: RFC 3339, or a date.")]
To = Annotated[str, Query(max_length=40, description="Starts of buckets are before it.")]
Zone = Annotated[
    str,
    Query(
        max_length=64, pattern=r"^[A-Za-z0-9_+/-]*$",
        description="Time zone of days and of dates; absent: the days of each customer, and UTC.",
    ),
]  # fmt: skip
Names = Annotated[
    list[Annotated[str, Query(pattern=_ID)]] | None,
    Query(max_length=8, description="Dimensions of the meter, or `customer_id`."),
]
Filters = Annotated[
    list[Annotated[str, Query(max_length=600, pattern=r"^[^\x00]+:[^\x00]*$")]] | None,
    Query(max_length=20, description="DIMENSION:VALUE; several of one dimension: any of them."),
]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows of a page.")]
Cursor = Annotated[str, Query(max_length=4_000, description="`next` of the page before.")]
Form = Annotated[
    Literal["json", "csv"] | None,
    Query(alias="format", description="Absent: by `Accept`. Of a CSV the next page is in the header Link."),
]
UsageForm = Annotated[
    Literal["json", "csv", "arrow"] | None,
    Query(alias="format", description="Absent: by `Accept`. Of CSV and Arrow the next page is in the header Link."),
]


async def get_usage(
    request: Request, meter: Meter, grain: Grain = "period", customer: Customers = None, start: From = "", to: To = "",
    zone: Zone = "", group_by: Names = None, filter_: Annotated[Filters, Query(alias="filter")] = None,
    limit: Limit = 1_000, cursor: Cursor = "", form: UsageForm = None,
) -> Response:  # fmt: skip
    """Usage of a meter in buckets, from the rollups: so far, where a bucket is not over.

    Each bucket has its version `n`, which grows with every event that is counted in it. Values are exact decimals in
    text. For what periods were closed with, read `/v1/periods`.
    """
    groups, where = tuple(dict.fromkeys(group_by or ())), filters_of(filter_ or ())
    asked = UsageAsked(meter, grain, tuple(customer or ()), start, to, zone, groups, where, cursor, limit)

    def work(of: Asked) -> dict[str, Any]:
        found = the_meter(of.db, of.tenant, meter)
        return cached(of, asked, found, read_context_of(request).answers, lambda: made(of, found))

    def made(of: Asked, found: MeterAsked) -> dict[str, Any]:
        page = buckets(of, asked, found)
        about = {"meter": found.name, "aggregation": found.aggregation, "unit": found.unit, "grain": grain}
        return {**about, "zone": zone or None, "rows": page.rows, "next": page.next}

    document = await read(request, work, _rows_of)
    forms: Forms = {
        "csv": lambda found: as_csv(_flat(found["rows"])),
        "arrow": lambda found: stream_of(found, groups, dates=asked.has_dates),
    }
    return versioned(request, document, _form(request, form, forms))


async def get_meters(request: Request) -> Response:
    """Meters of the tenant: how they add up, their units, and what they can be grouped by."""

    def work(of: Asked) -> dict[str, Any]:
        found = meters(of.db, of.tenant)
        return {
            "rows": [
                {"meter": one.name, "aggregation": one.aggregation, "unit": one.unit, "group_by": one.group_by}
                for one in found
            ],
            "next": None,
        }

    return versioned(request, await read(request, work, _rows_of))


async def get_explanation(
    request: Request, customer: Customer, meter: Meter,
    period: Annotated[
        str, Query(max_length=40, description="2026-11, 2026-11-30 or an instant in the period; absent: now.")
    ] = "",
) -> Response:  # fmt: skip
    """What is behind a number: its versions in the ledger, its value now, and the offsets of the events in it."""

    def work(of: Asked) -> dict[str, Any]:
        the_meter(of.db, of.tenant, meter)
        at = moment(period) if period else None
        return document_of(explain(of.settings, of.tenant, customer, meter, at))

    return versioned(request, await read(request, work))


def reader_of(listing: Listing) -> Callable[..., Coroutine[Any, Any, Response]]:
    """The handler of a listing."""

    async def get_listing(
        request: Request, customer: SomeCustomer = None, meter: SomeMeter = None, limit: Limit = 1_000,
        cursor: Cursor = "", form: Form = None,
    ) -> Response:  # fmt: skip
        after = place_of(cursor, len(listing.keys))

        def work(of: Asked) -> dict[str, Any]:
            values = {"tenant": of.tenant, "customer": customer, "meter": meter}
            page: Page = listed(of.db, listing, values, after, limit)
            return {"rows": page.rows, "next": page.next}

        document = await read(request, work, _rows_of)
        forms: Forms = {"csv": lambda found: as_csv(found["rows"])}
        return versioned(request, document, _form(request, form, forms))

    get_listing.__doc__ = listing.meaning
    return get_listing


def _form(request: Request, asked: str | None, forms: Forms) -> Callable[[Mapping[str, Any]], Body] | None:
    return forms.get(chosen(request.headers.get("accept", ""), asked, forms))


def _rows_of(document: Mapping[str, Any]) -> int:
    return len(document["rows"])


def _flat(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a column for each dimension."""
    return [
        {name: value for name, value in row.items() if name != "dims"}
        | {f"dims.{k}": v for k, v in row["dims"].items()}
        for row in rows
    ]
