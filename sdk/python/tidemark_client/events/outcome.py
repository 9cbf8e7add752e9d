"""What became of a batch, whatever carried it; pure, so that every answer can be tried."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union


@dataclass(frozen=True)
class Rejection:
    """Why an event is not counted: a reason code of the server, and its words."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Delivered:
    """Outcomes of single events, by their place in the batch; what is in neither is sent again."""

    accepted: Sequence[int]
    rejected: Sequence[Rejection] = ()


@dataclass(frozen=True)
class Later:
    """Nothing is known to be counted: send the same events again, not before `after_s` if the server says so."""

    detail: str
    after_s: float | None = None
    # The key or the address is wrong: no matter how soon it is tried again, someone must act.
    refused: bool = False


@dataclass(frozen=True)
class Smaller:
    """The request was too large: in parts it may pass, and the part that does not is the event at fault."""

    reason: str
    detail: str


Outcome = Union[Delivered, Later, Smaller]

TOO_LARGE = 413
_OK = {200, 202}
_ALL_REJECTED = {400, 422}
# What the server says of an event that is fine, and came with the key of someone else.
_FOREIGN = "foreign_tenant"
# Of other answers, what time alone may change. Whatever else is said about no single event needs a person: the key, the
# address, or something between that speaks for the server.
_PASSING = {408, 425, 429, *range(500, 600)}


def outcome_of(status: int, headers: Mapping[str, str], body: bytes, count: int) -> Outcome:
    """What an answer of `POST /v1/events` to `count` events means."""
    document = _document(body)
    events = document.get("events")
    if isinstance(events, list) and (status in _OK or status in _ALL_REJECTED):
        return _by_event(events, count)
    if status in _OK:
        return _all_accepted(document, count)
    detail = f"{status} {document.get('title', '')}: {document.get('detail', '')}".strip(" :")
    if status == TOO_LARGE:
        return Smaller("too_large", detail)
    return Later(detail, retry_after_s(headers.get("retry-after")), refused=status not in _PASSING)


def retry_after_s(text: str | None) -> float | None:
    """Seconds of Retry-After; None for none, and for a date, which nobody's clock need agree on."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    # Whoever asks for more than an hour is asked again after one.
    return min(seconds, 3_600.0) if seconds >= 0 else None


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _all_accepted(document: Mapping[str, Any], count: int) -> Outcome:
    if document.get("accepted") == count:
        return Delivered(range(count))
    return Later(f"the answer names no events, and accepted is {document.get('accepted')!r} of {count}.")


def _by_event(events: Sequence[Any], count: int) -> Outcome:
    accepted, rejected = [], []
    for event in events:
        index = _index(event, count)
        if index is not None and event.get("status") == "accepted":
            accepted.append(index)
        elif index is not None and event.get("status") == "rejected":
            rejected.append(Rejection(index, str(event.get("reason") or "unknown"), str(event.get("detail") or "")))
    if not accepted and not rejected:
        return Later("the answer has an outcome for none of the events.")
    if any(one.reason == _FOREIGN for one in rejected):
        return Later(f"the API key is of another tenant: {rejected[0].detail}", refused=True)
    return Delivered(accepted, rejected)


def _index(event: Any, count: int) -> int | None:
    index = event.get("index") if isinstance(event, dict) else None
    return index if type(index) is int and 0 <= index < count else None
