"""Checks the alerts about limits: what fires at the end was reached; each is published once, and none too early."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle

# Tenant, customer, meter, period start (epoch ms), threshold as the catalog states it, amount.
Reached = tuple[str, str, str, int, str, Decimal]


@dataclass(frozen=True, slots=True)
class AlertCheck:
    """What the alerts about limits say against the oracle.

    Parameters
    ----------
    begun, ended:
        Alerts that began and ended a condition.
    repeated:
        Ids that occur more than once, and conditions whose starts and ends do not alternate.
    early:
        Starts below their threshold, and ends at or above it while the limit was in force.
    missing, unexpected:
        Thresholds that the oracle says were reached and that do not fire, and those that fire and were not reached.

    """

    begun: int
    ended: int
    repeated: int
    early: int
    missing: frozenset[Reached]
    unexpected: frozenset[Reached]

    @property
    def equal(self) -> bool:
        """Whether every amount that was reached was published exactly once, and none before it was reached."""
        return not (self.repeated or self.early or self.missing or self.unexpected)


def committed_alerts(oracle: Oracle, settings: Settings) -> AlertCheck:
    """Check what a `read_committed` consumer sees of the run's alerts, from the start to the current end."""
    return check_alerts(oracle, (record.value for record in dump(settings.kafka, settings.names.alerts)))


def check_alerts(oracle: Oracle, values: Iterable[bytes | None]) -> AlertCheck:
    """Check alerts given as the values of their Kafka records; those of one tenant come in their order."""
    published: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ids: Counter[str] = Counter()
    for alert in (json.loads(value or b"{}") for value in values):
        if str(alert.get("type", "")).startswith("limit."):
            ids[alert["id"]] += 1
            published[alert["data"]["fingerprint"]].append(alert["data"])
    every = [data for alerts in published.values() for data in alerts]
    firing = frozenset(_reached(alerts[-1]) for alerts in published.values() if alerts[-1]["status"] == "firing")
    reached = frozenset((*row[:5], row[5].normalize()) for row in oracle.rows("reached"))
    return AlertCheck(
        begun=sum(data["status"] == "firing" for data in every),
        ended=sum(data["status"] == "resolved" for data in every),
        repeated=sum(count > 1 for count in ids.values()) + sum(not _alternate(a) for a in published.values()),
        early=sum(_is_early(data) for data in every),
        missing=reached - firing,
        unexpected=firing - reached,
    )


def _alternate(alerts: list[dict[str, Any]]) -> bool:
    statuses = [data["status"] for data in alerts]
    return statuses == [("firing", "resolved")[place % 2] for place in range(len(statuses))]


def _is_early(data: dict[str, Any]) -> bool:
    is_reached = Decimal(data["value"]) >= Decimal(data["threshold"])
    if data["status"] == "firing":
        return not is_reached
    # An end that a change of the limit caused says nothing about the total.
    return is_reached and bool(data["evidence"]["why"] == "usage")


def _reached(data: dict[str, Any]) -> Reached:
    start_ms = round(datetime.fromisoformat(data["period"]["start"]).timestamp() * 1_000)
    series = data["tenant_id"], data["customer_id"], data["meter"], start_ms
    return *series, data["evidence"]["threshold"], Decimal(data["threshold"]).normalize()
