"""How long to wait before the next try: full jitter, so that services that failed together do not return together."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE_S, CAP_S = 0.2, 30.0
# 2 to this power is past any cap.
_ENOUGH = 32


class Backoff:
    """Counts failures in a row.

    Parameters
    ----------
    base_s, cap_s:
        Bound of the first wait, which doubles with each failure, and of all.
    uniform:
        A random number between two.
    """

    def __init__(
        self,
        base_s: float = BASE_S,
        cap_s: float = CAP_S,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._base_s, self._cap_s, self._uniform = base_s, cap_s, uniform
        self.failures = 0

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0

    def failed(self, at_least_s: float | None = None, *, refused: bool = False) -> float:
        """Seconds to wait; never less than the server asked for, and long where only a person can help."""
        self.failures += 1
        bound_s = self._cap_s if refused else min(self._cap_s, self._base_s * 2 ** min(self.failures - 1, _ENOUGH))
        if at_least_s is None:
            return self._uniform(bound_s / 2 if refused else 0.0, bound_s)
        return at_least_s + self._uniform(0.0, self._base_s)
