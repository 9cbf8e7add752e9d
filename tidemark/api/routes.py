"""All routes of the API, with what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from tidemark.api import live, openmeter, reads, shapes
from tidemark.api.forms import MEDIA_TYPES
from tidemark.api.ingest import post_events
from tidemark.api.parameters import ONLY_KNOWN
from tidemark.api.usage_rows import LISTINGS

_CSV: dict[str, Any] = {MEDIA_TYPES["csv"]: {"schema": {"type": "string"}}}
_ARROW: dict[str, Any] = {MEDIA_TYPES["arrow"]: {"schema": {"type": "string", "format": "binary"}}}


def add_routes(app: FastAPI) -> None:
    """Add every route to an app."""
    app.add_api_route(
        "/v1/events", post_events, methods=["POST"], status_code=202, tags=["events"], operation_id="sendEvents",
        summary="Send events", openapi_extra=shapes.EVENTS_BODY, response_model=None,
        responses={
            202: {"model": shapes.EventsAnswer, "description": "The brokers have what is accepted."},
            **shapes.problems(400, 422, model=shapes.AllRejected),
            **shapes.problems(401, 403, 408, 413, 415, 429, 503),
        },
    )  # fmt: skip
    _get(app, "/v1/usage", reads.get_usage, "getUsage", shapes.UsageAnswer, _CSV | _ARROW)
    _get(app, "/v1/usage/current", live.get_current, "getCurrentUsage", shapes.CurrentAnswer)
    _get(app, "/v1/meters", reads.get_meters, "listMeters", shapes.Rows)
    for name, listing in LISTINGS.items():
        operation = "list" + "".join(part.capitalize() for part in name.split("-"))
        _get(app, f"/v1/{name}", reads.reader_of(listing), operation, shapes.Rows, _CSV)
    _get(app, "/v1/explain", reads.get_explanation, "explain", shapes.Explanation)
    _get(app, "/v1/limits/check", live.get_check, "checkLimit", shapes.LimitAnswer)
    _get(app, "/v1/stream", live.get_stream, "streamUsage", None)
    _add_openmeter(app)


def _add_openmeter(app: FastAPI) -> None:
    app.add_api_route(
        "/api/v1/events", openmeter.post_events, methods=["POST"], status_code=204, tags=["openmeter"],
        operation_id="ingestEvents", openapi_extra=shapes.CLOUDEVENTS_BODY, response_model=None,
        responses={
            **shapes.problems(400, 422, model=shapes.AllRejected),
            **shapes.problems(401, 403, 408, 413, 415, 429, 503),
        },
    )  # fmt: skip
    query = "/api/v1/meters/{slug}/query"
    answers = {200: {"model": shapes.QueryAnswer, "content": _CSV}, **shapes.problems(400, 401, 403, 404, 422, 503)}
    app.add_api_route(
        query, openmeter.get_query, methods=["GET"], tags=["openmeter"], operation_id="queryMeter",
        response_model=None, responses=answers, dependencies=[ONLY_KNOWN],
    )  # fmt: skip
    app.add_api_route(
        query, openmeter.post_query, methods=["POST"], tags=["openmeter"], operation_id="queryMeterPost",
        response_model=None, openapi_extra=shapes.QUERY_BODY,
        responses={**answers, **shapes.problems(408, 413, 415)},
    )  # fmt: skip


def _get(
    app: FastAPI, path: str, handler: Callable[..., Any], operation: str, model: type[BaseModel] | None,
    forms: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    found: dict[str, Any] = {"description": "What was asked for."}
    refused = [401, 403, 404, 422, 503]
    if model is None:
        refused.append(429)
        found["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        found |= {"model": model, "content": dict(forms or {})}
    app.add_api_route(
        path, handler, methods=["GET"], tags=["usage"], operation_id=operation, response_model=None,
        dependencies=[ONLY_KNOWN],
        responses={200: found, 304: {"description": "It is what If-None-Match names."},
                   **shapes.problems(*refused)},
    )  # fmt: skip
