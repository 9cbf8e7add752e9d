"""Steady streams: which event is due when, known to sender and readers alike; standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.events import CUSTOMERS, TYPES, event

CAP = 1_000
METER = next(iter(TYPES))


@dataclass(frozen=True, slots=True)
class Stage:
    """A rate for some seconds."""

    rate: int
    seconds: int

    @property
    def count(self) -> int:
        """Its events."""
        return self.rate * self.seconds


@dataclass(frozen=True, slots=True)
class Stream:
    """Stages one after another from an instant on, customers in turn: each event of a customer is a write of its own.

    Parameters
    ----------
    start_s:
        When the first event is due, epoch seconds.
    stages:
        In order.
    first:
        Number of the first event.
    caps:
        Each customer reaches CAP at one of its events of the first stage.
    """

    start_s: float
    stages: tuple[Stage, ...]
    first: int = 0
    caps: bool = False

    @property
    def count(self) -> int:
        """Events of all stages."""
        return sum(stage.count for stage in self.stages)

    def due_s(self, index: int) -> float:
        """When an event is due, epoch seconds."""
        at = self.start_s
        for stage in self.stages:
            if index < stage.count:
                return at + index / stage.rate
            index -= stage.count
            at += stage.seconds
        return at

    def stage_of(self, index: int) -> int:
        """Which stage an event belongs to."""
        for number, stage in enumerate(self.stages):
            if index < stage.count:
                return number
            index -= stage.count
        return len(self.stages) - 1

    @property
    def turns(self) -> int:
        """Events of a customer in the first stage."""
        return self.stages[0].count // CUSTOMERS

    def crossing(self, customer: int) -> int:
        """Which of its events takes a customer to its cap: spread evenly over all but the first and the last."""
        return 1 + customer % max(1, self.turns - 2)

    def quantity(self, index: int) -> str:
        """The first event leaves as much as the later ones, of one each, need to reach the cap at their turn."""
        turn, customer = divmod(index, CUSTOMERS)
        if not self.caps:
            return "1"
        return str(CAP - self.crossing(customer)) if turn == 0 else "1"

    def payload(self, index: int, at_s: float) -> tuple[int, bytes]:
        """Customer and event."""
        customer = index % CUSTOMERS
        return customer, event(self.first + index, customer, METER, int(at_s * 1_000), self.quantity(index))
