"""How many of the events that `meter` accepted were copies; it stores none, so Flink alone knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.flink.rest import FlinkRest
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings

_DEDUPE = re.compile(r"(Deduplicate.*)\.(numRecordsIn|numRecordsOut)$")


@dataclass(frozen=True, slots=True)
class Copies:
    """Events that could be counted, and copies among them, of all tenants since the job was started or restarted."""

    events: int
    copies: int

    @property
    def percent(self) -> float:
        """Copies of 100 events; 0 of none."""
        return 100 * self.copies / self.events if self.events else 0.0


def copies(settings: Settings) -> Copies | None:
    """What Flink says; None where it does not answer, or the job does not run."""
    rest = FlinkRest(settings.flink)
    try:
        job = rest.active(settings.names.job("meter"))
        return None if job is None else copies_of(rest.metrics(job.id, _DEDUPE))
    except UnavailableError:
        return None


def copies_of(metrics: Mapping[str, float]) -> Copies | None:
    """By the records of the operators that drop copies: that of events is the one that reads most."""
    read: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if match := _DEDUPE.search(name):
            read.setdefault(match[1], {})[match[2]] = value
    whole = [both for both in read.values() if len(both) == 2]  # noqa: PLR2004  in and out
    if not whole:
        return None
    of_events = max(whole, key=lambda both: both["numRecordsIn"])
    taken = int(of_events["numRecordsIn"])
    return Copies(taken, taken - int(of_events["numRecordsOut"]))
