"""How services go on: one loop takes a step again and again; failures are logged, counted and tried again.

A service is a description: how its worker is made, what one step of it is, how often it is taken. `Loop` runs one of
them; `core.supervisor` runs many, a thread each.
"""

from __future__ import annotations

import json
import logging
import math
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

from tidemark.core.errors import StandbyError, TidemarkError
from tidemark.core.escape import safe_json
from udfs.values import rfc3339

Log = Callable[..., None]
Level = Literal["info", "warning", "error"]
State = Literal["starting", "running", "failing", "standby", "stopped"]

# A failure is tried again after about this long, then after twice as long each time, up to the service's own interval
# but within these bounds: counters are promised within 30 s of an outage's end, and a costly step is not retried hotly.
FIRST_RETRY_S = 1.0
MOST_RETRY_S = 15.0
LONGEST_RETRY_S = 300.0
# How often a standby asks whether the active instance is gone.
STANDBY_S = 2.0
# 2 ** 20 s is past every bound; what fails for weeks must not make a number that no float holds.
_MOST_DOUBLINGS = 20

# Fields of every line of this process: its run, and the role of what belongs to none.
_PROCESS: dict[str, Any] = {}
# Fields of every line that this thread logs.
_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039  never changed in place


class Worker(Protocol):
    """What a service works with: it keeps connections, remakes them after expected failures, and gives them back."""

    def close(self) -> None:
        """Give everything back."""


W = TypeVar("W", bound=Worker)
R = TypeVar("R")


def log_as(role: str, run_id: str) -> None:
    """Name the run in every line of this process, and the role of lines that no role of it writes."""
    _PROCESS.update(role=role, run_id=run_id)


def logger(component: str) -> Log:
    """A function `log(event, level="info", **fields)` that writes one JSON line on stderr.

    Ids are user data: what would begin a line or turn the direction of text is escaped. A SecretStr shows stars.
    """

    def log(event: str, level: Level = "info", **fields: Any) -> None:
        at = rfc3339(datetime.now(UTC))
        about = {**_PROCESS, **_CONTEXT.get(), "component": component}
        line = {"at": at, "level": level, **about, "event": event, **fields}
        # Whoever reads the log may have gone, and a service goes on.
        with suppress(OSError, ValueError):
            sys.stderr.write(safe_json(json.dumps(line, ensure_ascii=False, default=str)) + "\n")
            sys.stderr.flush()

    return log


class LibraryLog(logging.Handler):
    """Writes what libraries log as the same JSON lines, so that a log holds nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; the component is the name of the library's logger."""
        levels: dict[int, Level] = {logging.INFO: "info", logging.WARNING: "warning"}
        more = {"traceback": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
        level = levels.get(record.levelno, "error")
        logger(record.name)("logged", level=level, message=record.getMessage(), **more)


def log_all() -> None:
    """From now on write what libraries log, and what their threads and finalizers raise, as the same JSON lines."""
    logging.basicConfig(handlers=[LibraryLog()], level=logging.WARNING)
    logging.captureWarnings(True)
    python = logger("python")

    def thread(raised: threading.ExceptHookArgs) -> None:
        name = "" if raised.thread is None else raised.thread.name
        python("thread ended", level="error", thread=name, error=repr(raised.exc_value), traceback=_traceback(raised))

    def finalizer(raised: Any) -> None:
        error, what = repr(raised.exc_value), repr(raised.object)
        python("not finalized", level="error", error=error, object=what, traceback=_traceback(raised))

    threading.excepthook, sys.unraisablehook = thread, finalizer


def _traceback(raised: Any) -> str:
    return "".join(traceback.format_exception(raised.exc_type, raised.exc_value, raised.exc_traceback))


@dataclass(frozen=True, slots=True)
class Service(Generic[W, R]):
    """A step that is taken again and again.

    Parameters
    ----------
    name:
        Names it in the log.
    every_s:
        Pause between two steps, in seconds.
    make:
        Makes the worker: before the first step, and after a failure that nobody expected, which leaves it in an unknown
        state.
    step:
        Takes one step with the worker. An expected failure is a TidemarkError; the worker is kept.
    log:
        Where the service says what happened.
    report:
        Is given what a step returned, and whether the one before it failed.
    again:
        Whether the next step follows at once, by what this one returned: there may be more to do.
    """

    name: str
    every_s: float
    make: Callable[[], W]
    step: Callable[[W], R]
    log: Log
    report: Callable[[R, bool], None] = lambda _, __: None
    again: Callable[[R], bool] = lambda _: False

    @property
    def most_retry_s(self) -> float:
        """Longest pause before a failed step is taken again."""
        return min(max(self.every_s, MOST_RETRY_S), LONGEST_RETRY_S)


class Stateless:
    """Worker of a step that keeps nothing from one call to the next."""

    def close(self) -> None:
        """Nothing to give back."""


def retry_s(failures: int, most_s: float, jitter: float) -> float:
    """Pause after so many failures in a row: exponential, of which `jitter` (0 to 1) takes away up to half.

    Instances that failed together, because one database did, do not come back together.
    """
    doublings = min(failures - 1, _MOST_DOUBLINGS)
    longest = min(most_s, math.ldexp(FIRST_RETRY_S, doublings))
    return longest * (1 - jitter / 2)


@dataclass(frozen=True, slots=True)
class Health:
    """How a service does.

    Parameters
    ----------
    role, service:
        Whose health it is.
    state:
        `standby` while another instance acts.
    succeeded_at:
        Epoch seconds of the end of the last step that succeeded; None before the first.
    duration_s:
        How long that step took.
    runs:
        Steps that succeeded.
    failures, failures_in_row:
        Steps that failed: all, and those since the last that succeeded.
    error:
        Why the last one failed, or what a standby waits for; empty after success.
    every_s:
        Pause between two steps.
    begun_at:
        Epoch seconds of the begin of the step that is being taken; None between two steps.
    """

    role: str
    service: str
    state: State = "starting"
    succeeded_at: float | None = None
    duration_s: float = 0.0
    runs: int = 0
    failures: int = 0
    failures_in_row: int = 0
    error: str = ""
    every_s: float = 0.0
    begun_at: float | None = None


class Loop(Generic[W, R]):
    """Runs one service until `stop` is set; no failure of a step ends it.

    Parameters
    ----------
    role, service:
        What runs, and for which role.
    stop:
        Ends the loop, and every pause of it.
    clock:
        Epoch seconds.
    jitter:
        Number from 0 to 1, a new one each time.
    """

    def __init__(
        self, role: str, service: Service[W, R], stop: threading.Event,
        clock: Callable[[], float] = time.time, jitter: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._service = service
        self._stop = stop
        self._clock = clock
        self._jitter = jitter
        self._worker: W | None = None
        # Replaced as a whole, so that another thread reads one state or the next.
        self.health = Health(role, service.name, every_s=service.every_s)

    def run(self) -> None:
        """Take steps until stopped, then give the worker back."""
        before = _CONTEXT.set({"role": self.health.role})
        try:
            while not self._stop.is_set():
                self._stop.wait(self.attempt())
        finally:
            self._close_worker()
            self.health = replace(self.health, state="stopped", begun_at=None)
            _CONTEXT.reset(before)

    def attempt(self) -> float:
        """Take the step once; returns the pause until the next, in seconds."""
        begin = self._clock()
        self.health = replace(self.health, begun_at=begin)
        try:
            if self._worker is None:
                self._worker = self._service.make()
            result = self._service.step(self._worker)
            self._service.report(result, self.health.state == "failing")
            pause_s = 0.0 if self._service.again(result) else self._service.every_s
        except StandbyError as error:
            return self._stand_by(error)
        except TidemarkError as error:
            return self._failed(str(error))
        # A thread that exits is as dead as one that crashes.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self._close_worker()
            return self._failed(repr(error), traceback=traceback.format_exc())
        self._succeeded(begin)
        return pause_s

    def _succeeded(self, begin: float) -> None:
        if self.health.state == "standby":
            self._service.log("active", service=self._service.name)
        now = self._clock()
        self.health = replace(
            self.health, state="running", succeeded_at=now, duration_s=now - begin, runs=self.health.runs + 1,
            failures_in_row=0, error="", begun_at=None,
        )  # fmt: skip

    def _stand_by(self, error: StandbyError) -> float:
        if self.health.state != "standby":
            self._service.log("standby", service=self._service.name, why=error.what)
        self.health = replace(self.health, state="standby", failures_in_row=0, error=error.what, begun_at=None)
        return STANDBY_S

    def _failed(self, error: str, **more: Any) -> float:
        in_row = self.health.failures_in_row + 1
        self.health = replace(
            self.health, state="failing", failures=self.health.failures + 1, failures_in_row=in_row, error=error,
            begun_at=None,
        )  # fmt: skip
        pause_s = retry_s(in_row, self._service.most_retry_s, self._jitter())
        about = {"service": self._service.name, "failures": in_row, "retry_s": round(pause_s, 1)}
        self._service.log("failed", level="error", **about, error=error, **more)
        return pause_s

    def _close_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            worker.close()
        except Exception as error:  # noqa: BLE001  whatever a client raises when it is closed, its service goes on
            self._service.log("not closed", level="warning", service=self._service.name, error=repr(error))
