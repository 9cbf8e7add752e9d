"""Pages of customers: whom there is, and what one has used; in a session, or embedded by a token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.live import current_of, stream_of
from tidemark.api.problem import Problem
from tidemark.api.reading import read_as
from tidemark.core.csv_text import csv_of
from tidemark.web import charts, usage_reads
from tidemark.web.context import web_context_of
from tidemark.web.meter_cards import Card, cards
from tidemark.web.render import page
from tidemark.web.usage_reads import Chosen
from tidemark.web.viewer import Viewer, embedded_viewer_of, still_signed_in, viewer_of

_MOST_CSV = 10_000
_LONGEST_ID = 256


async def customer_list(request: Request) -> Response:
    """Customers of the tenant with usage, by id."""
    viewer = await viewer_of(request)
    begins, after = _text(request, "begins"), _text(request, "after")
    found = await read_as(request, viewer.key, lambda of: usage_reads.customers(of, begins, after), len)
    shown, more = found[: usage_reads.MOST_CUSTOMERS], len(found) > usage_reads.MOST_CUSTOMERS
    return page(request, "customers.html", viewer, customers=shown, begins=begins, after=shown[-1] if more else "")


async def usage(request: Request) -> Response:
    """What a customer has used."""
    viewer = await viewer_of(request)
    return await _usage(request, viewer, _customer(request), "/usage")


async def embedded(request: Request) -> Response:
    """The same in an iframe."""
    viewer = await embedded_viewer_of(request)
    return await _usage(request, viewer, viewer.customer, "/embed")


async def stream(request: Request) -> Response:
    """What changes of it, as server-sent events."""
    viewer = await viewer_of(request)
    return await stream_of(request, viewer.key, _customer(request), lambda: still_signed_in(request))


async def embedded_stream(request: Request) -> Response:
    """The same for an iframe."""
    viewer = await embedded_viewer_of(request)
    return await stream_of(request, viewer.key, viewer.customer, lambda: embedded_viewer_of(request))


async def periods_csv(request: Request) -> Response:
    """Periods of a customer as CSV."""
    viewer = await viewer_of(request)
    return await _periods_csv(request, viewer, _customer(request))


async def embedded_periods_csv(request: Request) -> Response:
    """The same for an iframe."""
    viewer = await embedded_viewer_of(request)
    return await _periods_csv(request, viewer, viewer.customer)


async def _usage(request: Request, viewer: Viewer, customer: str, base: str) -> Response:
    current = await current_of(request, viewer.key, customer)
    made = cards(current, [], datetime.now(UTC))
    card = _chosen(made, _text(request, "meter"))
    whole_year = request.query_params.get("days") == "year"
    start, end = ("", "") if card is None else (card.start, card.end)
    chosen = Chosen(customer, "" if card is None else card.meter, start, end, whole_year, viewer.zone)
    found = await read_as(request, viewer.key, lambda of: usage_reads.details(of, chosen))
    # With what their periods say of when they are final.
    made = cards(current, found.periods, datetime.now(UTC))
    values = [value for _, value in found.days or ()]
    return page(
        request, "usage.html", viewer, base=base, customer=customer, cards=made, chosen=card, found=found,
        bars=charts.bars(found.days or []), most=max(values, default="0", key=float), whole_year=whole_year,
        unavailable=current["unavailable"], height=charts.HEIGHT, width=charts.WIDTH,
    )  # fmt: skip


async def _periods_csv(request: Request, viewer: Viewer, customer: str) -> Response:
    if "periods" in web_context_of(request).settings.web.brand_of(viewer.tenant).hidden:
        raise Problem(404, "not_found", "the pages of this tenant have no periods.")
    found = await read_as(
        request, viewer.key, lambda of: usage_reads.periods(of, customer, _MOST_CSV), lambda made: len(made.rows)
    )
    headers = {"Content-Disposition": 'attachment; filename="periods.csv"', "Cache-Control": "private, no-store"}
    return Response(csv_of(found.rows), headers=headers, media_type="text/csv; charset=utf-8")


def _chosen(made: Sequence[Card], meter: str) -> Card | None:
    return next((one for one in made if one.meter == meter), made[0] if made else None)


def _customer(request: Request) -> str:
    customer = _text(request, "customer")
    if not customer:
        raise Problem(422, "invalid_parameter", "customer: name the customer whose page it is.")
    return customer


def _text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if len(text) > _LONGEST_ID or "\0" in text:
        raise Problem(422, "invalid_parameter", f"{name}: it has at most {_LONGEST_ID} characters, and no NUL.")
    return text
