"""The answer to a request that a limit does not allow: problem+json, the same for both kinds of middleware."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from http import HTTPStatus

from tidemark_client.decision import Decision

_STATUS = {"suspended": HTTPStatus.FORBIDDEN, "limit_reached": HTTPStatus.TOO_MANY_REQUESTS,
           "would_exceed": HTTPStatus.TOO_MANY_REQUESTS}  # fmt: skip
# Usage is known again soon, or the policy is wrong.
_UNKNOWN_RETRY_S = 5


def denial(decision: Decision, now: datetime | None = None) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
    """Status, headers and body."""
    status = _STATUS.get(decision.reason, HTTPStatus.SERVICE_UNAVAILABLE)
    body = json.dumps(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": _detail(decision),
            "reason": decision.reason,
        }
    ).encode()
    headers = [("content-type", "application/problem+json"), ("content-length", str(len(body)))]
    retry_s = _retry_s(decision, now or datetime.now(timezone.utc))
    return status, headers + ([("retry-after", str(retry_s))] if retry_s else []), body


def _detail(decision: Decision) -> str:
    # By the reason, not by what is known: a suspended customer may have a limit, and old figures may be there.
    if decision.reason == "suspended":
        return "This customer is suspended."
    if decision.reason not in _STATUS:
        return "Usage is unknown at present."
    return f"{decision.used} of {decision.limit} are used."


def _retry_s(decision: Decision, now: datetime) -> int:
    if decision.reason == "suspended":
        return 0
    if decision.period_end is None or not decision.known:
        return _UNKNOWN_RETRY_S
    return max(1, int((decision.period_end - now).total_seconds()) + 1)
