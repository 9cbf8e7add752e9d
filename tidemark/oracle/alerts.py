"""Checks the alerts about limits: what fires at the end is what was reached; each is told once, none early."""

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
        Ids that are there more than once, and conditions whose begins and ends do not take turns.
    early:
        Begins below their threshold, and ends at or above it while the limit held.
    missing, unexpected:
        What the oracle says was reached and does not fire, and what fires and was not reached.

    """

    begun: int
    ended: int
    repeated: int
    early: int
    missing: frozenset[Reached]
    unexpected: frozenset[Reached]

    @property
    def equal(self) -> bool:
        """Whether every amount that was reached was told exactly once, and none before it was."""
        return not (self.repeated or self.early or self.missing or self.unexpected)


def committed_alerts(oracle: Oracle, settings: Settings) -> AlertCheck:
    """Check what a `read_committed` consumer sees of the run's alerts, from the beginning to the present end."""
    return check_alerts(oracle, (record.value for record in dump(settings.kafka, settings.names.alerts)))


def check_alerts(oracle: Oracle, values: Iterable[bytes | None]) -> AlertCheck:
    """Check alerts given as the values of their Kafka records, those of a tenant in their order."""
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ids: Counter[str] = Counter()
    for alert in (json.loads(value or b"{}") for value in values):
        if str(alert.get("type", "")).startswith("limit."):
            ids[alert["id"]] += 1
            told[alert["data"]["fingerprint"]].append(alert["data"])
    every = [data for found in told.values() for data in found]
    firing = frozenset(_reached(found[-1]) for found in told.values() if found[-1]["status"] == "firing")
    reached = frozenset((*row[:5], row[5].normalize()) for row in oracle.rows("reached"))
    return AlertCheck(
        begun=sum(data["status"] == "firing" for data in every),
        ended=sum(data["status"] == "resolved" for data in every),
        repeated=sum(count > 1 for count in ids.values()) + sum(not _take_turns(found) for found in told.values()),
        early=sum(_is_early(data) for data in every),
        missing=reached - firing,
        unexpected=firing - reached,
    )


def _take_turns(found: list[dict[str, Any]]) -> bool:
    turns = [data["status"] for data in found]
    return turns == [("firing", "resolved")[place % 2] for place in range(len(turns))]


def _is_early(data: dict[str, Any]) -> bool:
    is_reached = Decimal(data["value"]) >= Decimal(data["threshold"])
    if data["status"] == "firing":
        return not is_reached
    # An end that the limit brought says nothing of the total.
    return is_reached and bool(data["evidence"]["why"] == "usage")


def _reached(data: dict[str, Any]) -> Reached:
    start_ms = round(datetime.fromisoformat(data["period"]["start"]).timestamp() * 1_000)
    whose = data["tenant_id"], data["customer_id"], data["meter"], start_ms
    return *whose, data["evidence"]["threshold"], Decimal(data["threshold"]).normalize()
