"""Refusals of requests, as RFC 9457 has them: what is wrong, and what to do, in `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - an answer of the API, not a failure of it
    """A request that is refused.

    Parameters
    ----------
    status:
        HTTP status.
    code:
        What is wrong, for programs; stays the same when words change.
    detail:
        What is wrong, the value against the limit, and what to do.
    retry_after_s:
        When the same request may succeed; None when it never will.
    headers:
        Further headers of the answer.
    more:
        Further members of the document.
    """

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "code": self.code,
                "detail": self.detail, **self.more}  # fmt: skip

    def all_headers(self) -> dict[str, str]:
        """The headers of the answer."""
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return {**self.headers, **retry}
