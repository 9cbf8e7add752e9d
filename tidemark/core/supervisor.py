"""Runs the services of several roles in one process: a thread each, none dies unseen, all stop in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemark.core.service import MOST_RETRY_S, Health, Loop, Service, logger, retry_s

log = logger("serve")

# Of the 10 s that a stop may take; whoever ends the process has the rest.
STOP_WITHIN_S = 8.0
# How often threads are looked after.
CHECK_S = 1.0


class Supervisor:
    """Starts a thread for each service, starts it again if it dies, and ends them all when `stop` is set.

    Parameters
    ----------
    services:
        By role.
    stop:
        Ends everything; set by a signal.
    clock:
        Seconds that only grow.
    loop:
        Makes the loop of a service.
    """

    def __init__(
        self, services: Mapping[str, Sequence[Service[Any, Any]]], stop: threading.Event,
        clock: Callable[[], float] = time.monotonic, loop: Callable[..., Loop[Any, Any]] = Loop,
    ) -> None:  # fmt: skip
        self._stop = stop
        self._clock = clock
        self._checked_at = clock()
        self._runners = [
            Runner(loop(role, service, stop), clock) for role, many in services.items() for service in many
        ]

    def run(self, stop_within_s: float = STOP_WITHIN_S) -> list[str]:
        """Run until `stop` is set.

        Returns
        -------
        Services that did not end within `stop_within_s`, as `role/service`. Their threads die with the process: every
        step may be killed anywhere, and goes on where it was.
        """
        for runner in self._runners:
            runner.start()
        while not self._stop.wait(CHECK_S):
            self.check()
        return self._stopped(stop_within_s)

    def check(self) -> None:
        """Start threads again that have died and whose pause is over."""
        for runner in self._runners:
            runner.check()
        self._checked_at = self._clock()

    def unchecked_s(self) -> float:
        """Seconds since threads were last looked after; more than a few mean that the process hangs."""
        return self._clock() - self._checked_at

    def health(self) -> list[Health]:
        """How each service does, in the order they were given."""
        return [runner.health for runner in self._runners]

    def _stopped(self, within_s: float) -> list[str]:
        log("stopping")
        until = self._clock() + within_s
        for runner in self._runners:
            runner.join(max(until - self._clock(), 0.0))
        left = [f"{runner.health.role}/{runner.health.service}" for runner in self._runners if runner.is_alive]
        if left:
            log("left behind", level="warning", services=left, after_s=within_s)
        log("stopped")
        return left


class Runner:
    """The thread of one loop. A loop catches what steps raise; what still ends it (no log can be written) ends here."""

    def __init__(self, loop: Loop[Any, Any], clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._died = ""
        self._deaths = 0
        self._restart_at: float | None = None

    @property
    def health(self) -> Health:
        """How its service does."""
        return self._loop.health

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start a thread, which ends with the process at the latest."""
        self._died, self._restart_at = "", None
        self._thread = threading.Thread(target=self._run, name=self.health.service, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, for so long at most."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def check(self) -> None:
        """Log that the thread has died, once; start it again after a pause that grows."""
        if self.is_alive:
            return
        if self._restart_at is None:
            self._deaths += 1
            pause_s = retry_s(self._deaths, MOST_RETRY_S, jitter=0)
            self._restart_at = self._clock() + pause_s
            about = {"role": self.health.role, "service": self.health.service, "retry_s": round(pause_s, 1)}
            log("died", level="error", **about, error=self._died or "it ended without a reason")
        elif self._clock() >= self._restart_at:
            self.start()

    def _run(self) -> None:
        try:
            self._loop.run()
        except BaseException as error:  # noqa: BLE001  said by `check`, which starts the thread again
            self._died = repr(error)
