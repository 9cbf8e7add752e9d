"""Parameters that a route does not have are refused: a misspelt filter would be an answer to another question."""

from __future__ import annotations

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request

from tidemark.api.openmeter import FILTER
from tidemark.api.usage_query import invalid


async def _refuse_unknown(request: Request) -> None:
    route = request.scope["route"]
    assert isinstance(route, APIRoute)  # noqa: S101  a dependency of one
    known = sorted(field.alias for field in route.dependant.query_params)
    for name in request.query_params:
        if name not in known and not (FILTER in known and name.startswith(f"{FILTER}[")):
            raise invalid(name, f"there is no such parameter; there are {', '.join(known) or 'none'}.")


ONLY_KNOWN = Depends(_refuse_unknown)
