"""One step of retention: what it removes, and why it removes less or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from udfs.values import rfc3339

NOTHING: Callable[[], None] = lambda: None  # noqa: E731  a name for doing nothing


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the plan.

    Parameters
    ----------
    target:
        Table, topic or archived topic.
    does:
        What it does, as text.
    days:
        The setting.
    before:
        What is older is removed; None for a topic, whose brokers remove records by age.
    count, size:
        Chunks or files to remove, and their bytes; 0 for a topic.
    limited:
        Why it removes less than the setting says; empty otherwise.
    refused:
        Why it does nothing although it is due; empty otherwise.
    act:
        Executes the step.
    atomic:
        Whether `act` is statements of the connection alone, which one transaction holds.
    """

    target: str
    does: str
    days: int
    before: datetime | None = None
    count: int = 0
    size: int = 0
    limited: str = ""
    refused: str = ""
    act: Callable[[], None] = field(default=NOTHING, repr=False, compare=False)
    atomic: bool = False

    @property
    def is_due(self) -> bool:
        """Whether there is something to do that is not refused."""
        return not self.refused and self.act is not NOTHING

    def document(self) -> dict[str, Any]:
        """The step for a JSON document."""
        before = None if self.before is None else rfc3339(self.before)
        return {
            "target": self.target, "does": self.does, "days": self.days, "before": before, "count": self.count,
            "bytes": self.size, "limited": self.limited, "refused": self.refused, "due": self.is_due,
        }  # fmt: skip


__all__ = ["NOTHING", "Step"]
