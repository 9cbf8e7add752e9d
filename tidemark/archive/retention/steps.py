"""One step of retention: what it does, to how much, and why it does less or nothing."""

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
        What it does, in words.
    days:
        The setting.
    before:
        What is older goes; None for a topic, whose records go by their age.
    count, size:
        Chunks or files that go, and their bytes; of a topic, 0: its brokers remove them.
    held:
        Why it does less than the setting says; empty when it does all.
    refused:
        Why it does nothing although it is due; empty when it does.
    act:
        Does it.
    """

    target: str
    does: str
    days: int
    before: datetime | None = None
    count: int = 0
    size: int = 0
    held: str = ""
    refused: str = ""
    act: Callable[[], None] = field(default=NOTHING, repr=False, compare=False)

    @property
    def is_due(self) -> bool:
        """Whether there is something to do that may be done."""
        return not self.refused and self.act is not NOTHING

    def document(self) -> dict[str, Any]:
        """The step for a JSON document."""
        before = None if self.before is None else rfc3339(self.before)
        return {
            "target": self.target, "does": self.does, "days": self.days, "before": before, "count": self.count,
            "bytes": self.size, "held": self.held, "refused": self.refused, "due": self.is_due,
        }  # fmt: skip


__all__ = ["NOTHING", "Step"]
