"""What a replay rebuilds: events of some tenants and some time; others only take part in finding duplicates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A range of event time, for some tenants.

    Parameters
    ----------
    start_ms, end_ms:
        Half-open, UTC epoch ms; None: open on that side.
    tenants:
        Those meant; none for all.
    """

    start_ms: int | None = None
    end_ms: int | None = None
    tenants: frozenset[str] = frozenset()

    def holds(self, tenant: str, event_ms: int) -> bool:
        """Whether an event of this tenant and event time is meant."""
        if self.start_ms is not None and event_ms < self.start_ms:
            return False
        if self.end_ms is not None and event_ms >= self.end_ms:
            return False
        return not self.tenants or tenant in self.tenants
