"""What a figure should be, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["met", "missed"]


@dataclass(frozen=True, slots=True)
class Target:
    """Bounds of the median of one figure; a target of a full run is not compared with a quick one by hand.

    Parameters
    ----------
    subject, quantity:
        Name the figure.
    at_least, at_most:
        The bounds, both inclusive; one is enough.
    why_missed:
        What limits it, written by hand once it was missed; shown beside the outcome.
    full_only:
        Only the sizes of a full run have such a figure.
    """

    subject: str
    quantity: str
    at_least: float | None = None
    at_most: float | None = None
    why_missed: str = ""
    full_only: bool = False

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError(f"the target of {self.subject}, {self.quantity} has no bound.")

    def outcome(self, value: float) -> Outcome:
        """Whether a value keeps the bounds."""
        low = self.at_least is not None and value < self.at_least
        high = self.at_most is not None and value > self.at_most
        return "missed" if low or high else "met"
