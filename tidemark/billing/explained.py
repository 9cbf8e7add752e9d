"""What `explain` found, as a JSON document: decimals and instants are text."""

from __future__ import annotations

from typing import Any

from tidemark.billing.events import Event
from tidemark.billing.explain import Explained, Version
from tidemark.billing.lines import Line
from tidemark.core.times import arrival_text
from udfs.values import plain, rfc3339


def document_of(explained: Explained) -> dict[str, Any]:
    """The versions of a number, its present value, and the records behind it."""
    return {
        "tenant_id": explained.key.tenant_id,
        "customer_id": explained.key.customer_id,
        "meter": explained.meter,
        "period_start": rfc3339(explained.key.start),
        "period_end": rfc3339(explained.key.end),
        "run_id": explained.run_id,
        "versions": [_version(version) for version in explained.versions],
        "current": _lines(explained.current),
        "projected": _lines(explained.projected),
        "sources": [
            {
                "dims": source.dims,
                "topic": source.topic,
                "partition": source.partition,
                "first_offset": min(first for first, _ in source.ranges),
                "last_offset": max(last for _, last in source.ranges),
                "n": source.n,
                "samples": source.samples,
                "total": plain(source.total),
            }
            for source in explained.sources
        ],
        **({} if explained.events is None else _events(explained)),
    }


def _events(explained: Explained) -> dict[str, Any]:
    events = explained.events or ()
    return {
        "events": [event_document(event) for event in events],
        "adds_up": explained.adds_up,
        "copies_dropped": sum(event.copies or 0 for event in events),
        "copies_complete": explained.copies_complete,
    }


def event_document(event: Event) -> dict[str, Any]:
    """One event behind a number."""
    return {
        "event_id": event.event_id,
        "time": None if event.time_ms is None else rfc3339(event.time_ms),
        "arrival": arrival_text(event.arrival_ms),
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "dims": event.dims,
        "part": event.part,
        "samples": event.samples,
        "amount": plain(event.amount),
        "properties": event.properties or {},
        **({"source": event.source} if event.source else {}),
        **({"voids": event.voids} if event.voids else {}),
        "copies_dropped": event.copies,
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "cause": version.cause,
        "replay_id": version.replay_id,
        "at": rfc3339(version.at),
        "by": version.by,
        "lines": _lines(version.lines),
    }


def _lines(lines: Any) -> list[dict[str, Any]]:
    return [{"dims": dims, **_line(line)} for dims, line in sorted(lines.items())]


def _line(line: Line) -> dict[str, Any]:
    return {"unit": line.unit, "n": line.n, "samples": line.samples, "value": plain(line.value)}
