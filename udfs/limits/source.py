"""What stores limits, as those see it that ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from udfs.catalog.model import Pair
from udfs.limits.rule import Limit
from udfs.limits.timeline import CustomerRules


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """Limits of tenants and plans as of one revision, all versions; and which tenants have any limit at all."""

    revision: int
    limits: Sequence[Limit] = ()
    tenants: frozenset[str] = frozenset()


class LimitSource(Protocol):
    """Where limits are stored. Every call ends in bounded time; any exception counts as unavailable."""

    def shared(self, known_revision: int) -> SharedLimits | None:
        """Everything but what single customers have; None while the revision is the one known."""
        ...

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, CustomerRules]:
        """Plans and limits of the customers named; one without any is absent."""
        ...
