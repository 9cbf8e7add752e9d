"""Look-ups of customers in a thread, so that whoever needs them decides how long to wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from udfs.catalog.model import Pair
from udfs.limits.source import LimitSource
from udfs.limits.timeline import CustomerRules

log = logging.getLogger(__name__)

# The revision asked under, who was asked for, and the rules of those that have some.
Answer = tuple[int, Sequence[Pair], Mapping[Pair, CustomerRules]]


class Lookups:
    """Customers that are asked for, and the answers that have come; one asks, and one thread looks up.

    Parameters
    ----------
    source:
        Where rules of customers are stored; used by the thread alone.
    """

    def __init__(self, source: LimitSource) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._waiting: dict[Pair, int] = {}
        self._at_work: dict[Pair, int] = {}
        self._answers: list[Answer] = []
        self._failed = False
        self._closed = False
        self.failures = 0

    def start(self) -> None:
        """Begin to look up in a thread, which ends with `close`."""
        threading.Thread(target=self._run, name="limit-lookups", daemon=True).start()

    def ask(self, pairs: Sequence[Pair], revision: int) -> None:
        """Have customers looked up; those that are being looked up under this revision are not asked for again."""
        with self._changed:
            for pair in pairs:
                if self._at_work.get(pair) != revision:
                    self._waiting[pair] = revision
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all that was asked for was answered, or failed; False when that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._at_work, timeout_s)

    def taken(self) -> tuple[list[Answer], bool]:
        """Answers since the last call, and whether the last look-up failed."""
        with self._changed:
            answers, self._answers = self._answers, []
            failed, self._failed = self._failed, False
        return answers, failed

    def run_once(self) -> None:
        """Look up what is asked for now, in the calling thread."""
        with self._changed:
            self._at_work, self._waiting = self._waiting, {}
        for revision in {*self._at_work.values()}:
            self._look_up([pair for pair, asked in self._at_work.items() if asked == revision], revision)
        with self._changed:
            self._at_work = {}
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread after what it is doing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
            self.run_once()

    def _look_up(self, pairs: Sequence[Pair], revision: int) -> None:
        try:
            found = self._source.customers(pairs)
        except Exception as error:  # noqa: BLE001  by its contract any exception of a source means unavailable
            log.warning("limits of %d customers not looked up: %s", len(pairs), error)
            with self._changed:
                self.failures += 1
                self._failed = True
            return
        with self._changed:
            self._answers.append((revision, pairs, found))
            self._failed = False
