"""Shared by the tests of the recorder: events, spools, and a transport that answers what a test says."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from tidemark_client.events import slots
from tidemark_client.events.backoff import Backoff
from tidemark_client.events.event import Encoded, Recorded
from tidemark_client.events.outcome import Delivered, Outcome
from tidemark_client.events.sender import Sender, Sending
from tidemark_client.events.spool import Pending, Rejected, Spool

AT_NS = 1_709_633_862_250_123_456


def event(number: int = 0, size: int = 100) -> Encoded:
    return Encoded(f"e-{number}", "c", b"x" * size)


def recorded(number: int = 0) -> Recorded:
    return Recorded(number, number, AT_NS, "call", "c", 1, {})


def rejected(number: int = 0) -> Rejected:
    return Rejected(f"e-{number}", "c", b"{}", "unknown_tenant", "no tenant", 1)


class Answers:
    """A transport: one answer a batch, from a function of it; all are accepted where none is left."""

    def __init__(self, *answers: Outcome | Callable[[Sequence[Pending]], Outcome]) -> None:
        self.answers = [*answers]
        self.sent: list[list[str]] = []

    def send(self, batch: Sequence[Pending]) -> Outcome:
        self.sent.append([one.id for one in batch])
        answer = self.answers.pop(0) if self.answers else Delivered(range(len(batch)))
        return answer(batch) if callable(answer) else answer

    def forget(self) -> None:
        """There is no connection."""

    def close(self) -> None:
        """There is no connection."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def sender(folder: Path, transport: Answers, clock: Clock, **changes: float) -> tuple[Sender, list[Rejected]]:
    """A sender of the first free slot and what it reported; waits are the longest that the jitter allows."""
    reported: list[Rejected] = []
    settings = {"batch_events": 4, "linger_s": 1.0, "most_rejected": 100, "spool_bytes": 10_000} | changes
    sending = Sending(folder=folder, **settings)  # type: ignore[arg-type]
    backoff = Backoff(uniform=lambda _, high: high)
    slot = slots.first_free(folder)
    made = Sender(Spool(slot.file), transport, sending, reported.extend, lambda: None, clock, backoff)
    weakref.finalize(made, slot.release)
    return made, reported
