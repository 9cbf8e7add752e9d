"""Which alerts are one notification: by tenant, cause and window of alert time; reading again groups the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from udfs.alerts.event import SEVERITIES, Alert, Severity, Status, fingerprint
from udfs.values import rfc3339

# Until an alert can be read: the checkpoint that commits it, and one more that was under way. Measured p99: 2 s.
SETTLE_MS = 5_000
# Customers named in the summary of a group.
NAMED = 5
DAY_MS = 86_400_000


def family(kind: str) -> str:
    """What alerts have in common: `limit` and `anomaly` of all types; each type about the pipeline is its own."""
    head = kind.partition(".")[0]
    return kind if head == "pipeline" else head


def cause(alert: Alert) -> str:
    """Why it came, as far as alerts share it: family and meter."""
    return "/".join(quote(part, safe="") for part in (family(alert.type), alert.meter) if part)


def window_ms(at_ms: int, wait_ms: int) -> tuple[int, int]:
    """The window of alert time that an instant is in: half-open, aligned to the epoch."""
    start = at_ms - at_ms % wait_ms
    return start, start + wait_ms


def group_key(alert: Alert, wait_ms: int) -> str:
    """Tenant, cause and window: it follows from the alert alone, whatever was read before."""
    start, _ = window_ms(alert.at_ms, wait_ms)
    return "|".join((quote(alert.tenant_id or "", safe=""), cause(alert), rfc3339(start)))


def due_ms(alert: Alert, wait_ms: int, now_ms: int) -> int:
    """When a group is closed: its window has ended and all of it could be read; counted from now for one read late."""
    return max(window_ms(alert.at_ms, wait_ms)[1], now_ms) + SETTLE_MS


def firing_id(receiver: str, key: str, part: int) -> str:
    """Id of the notification about a group; part 0 is one that cannot wait, 1 the group, more are stragglers."""
    return fingerprint("firing", receiver, key, str(part))


def resolved_id(firing: str, window_start_ms: int, part: int) -> str:
    """Id of the notification about ends in one window, of alerts that one notification announced."""
    return fingerprint("resolved", firing, str(window_start_ms), str(part))


def digest_id(receiver: str, day_ms: int) -> str:
    """Id of the digest of a receiver and UTC day."""
    return fingerprint("digest", receiver, rfc3339(day_ms))


def day_of(at_ms: int) -> int:
    """Start of a UTC day, epoch ms."""
    return at_ms - at_ms % DAY_MS


def worst(severities: Sequence[Severity]) -> Severity:
    """The greatest severity."""
    return max(severities, key=SEVERITIES.index)


def summary(events: Sequence[dict[str, Any]], count: int, status: Status) -> str:
    """What a group of `count` alerts is, in words, given the first of them; of one alert, its own summary."""
    first = events[0]
    if count == 1:
        return str(first["data"]["summary"])
    return f"{count} {family(first['type'])} alerts {status}{_of(first)}{_customers(events, count)}"


def _of(event: dict[str, Any]) -> str:
    data = event["data"]
    return "".join(
        f", {word} {data[name]}" for word, name in (("tenant", "tenant_id"), ("meter", "meter")) if name in data
    )


def _customers(events: Sequence[dict[str, Any]], count: int) -> str:
    names = dict.fromkeys(event["data"]["customer_id"] for event in events if "customer_id" in event["data"])
    if not names:
        return ""
    shown = ", ".join([*names][:NAMED])
    return f": {shown}{' …' if len(names) > NAMED or count > len(events) else ''}"
