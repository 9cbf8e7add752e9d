"""Answers of the API: JSON, and refusals as `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from tidemark.api.problem import MEDIA_TYPE, Problem

encoded = msgspec.json.Encoder(decimal_format="string").encode


def answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(encoded(document), status, headers, "application/json")


def refusal(problem: Problem) -> Response:
    """A refusal, as RFC 9457 has it."""
    return Response(encoded(problem.document()), problem.status, problem.all_headers(), MEDIA_TYPE)
