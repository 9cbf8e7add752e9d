"""Pages of operators: tenants, what was not counted, what is not closed, and how the pipeline does."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.problem import Problem
from tidemark.api.reading import read_as
from tidemark.api.usage_query import place_of
from tidemark.api.usage_rows import LISTINGS
from tidemark.health import status
from tidemark.health.copies import copies
from tidemark.web import operator_reads
from tidemark.web.context import web_context_of
from tidemark.web.redrive import MOST
from tidemark.web.render import page
from tidemark.web.viewer import admin_of


async def overview(request: Request) -> Response:
    """Tenants, who uses most, and what was refused."""
    viewer = await admin_of(request)
    found = await read_as(request, viewer.key, lambda of: operator_reads.overview(of, every_tenant=viewer.is_operator))
    return page(request, "overview.html", viewer, found=found)


async def dead_letters(request: Request) -> Response:
    """Events that were not counted, and how they are redriven."""
    viewer = await admin_of(request)
    after = place_of(request.query_params.get("cursor", ""), len(LISTINGS["dead-letters"].keys))
    found = await read_as(
        request, viewer.key, lambda of: operator_reads.dead_letters(of, after), lambda made: len(made.rows)
    )
    return page(request, "dead_letters.html", viewer, found=found, most=MOST)


async def periods(request: Request) -> Response:
    """Periods that have ended and are open, and corrections of those that were closed."""
    viewer = await admin_of(request)
    found = await read_as(request, viewer.key, lambda of: operator_reads.periods(of, every_tenant=viewer.is_operator))
    why = None
    if request.query_params.get("why"):
        why = await to_thread.run_sync(operator_reads.refused, web_context_of(request).settings, viewer.tenant)
    return page(request, "periods.html", viewer, found=found, why=why)


async def pipeline(request: Request) -> Response:
    """What `tidemark status` reports, for operators."""
    viewer = await admin_of(request)
    if not viewer.is_operator:
        raise Problem(403, "forbidden", "the pipeline is shown to keys of the tenants in web.operators.")
    found = await read_as(request, viewer.key, lambda of: status.document(status.read(of.settings), of.settings))
    same = await to_thread.run_sync(copies, web_context_of(request).settings)
    return page(request, "pipeline.html", viewer, found=found, copies=same)
