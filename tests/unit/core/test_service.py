"""The loop of a service: failures are logged, counted and tried again later and later; nothing ends it but a stop."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core import service as core_service
from tidemark.core.errors import StandbyError, UnavailableError
from tidemark.core.service import (
    LONGEST_RETRY_S,
    MOST_RETRY_S,
    STANDBY_S,
    LibraryLog,
    Loop,
    Service,
    log_as,
    logger,
    retry_s,
)
from tidemark.core.settings import load

DOWN = UnavailableError("Redis cannot be used", "start it")
OTHER = StandbyError("another intake is at work.", "end one of the two.")
BUG = ZeroDivisionError("ours")


class Stop:
    """A stop that is waited for in no time; the clock moves on by what was waited, and it is set after `steps`."""

    def __init__(self, steps: int) -> None:
        self.now = 1_000.0
        self.left = steps
        self.pauses: list[float] = []

    def is_set(self) -> bool:
        return self.left == 0

    def wait(self, timeout: float) -> bool:
        self.pauses.append(timeout)
        self.now += timeout
        self.left -= 1
        return self.is_set()


class World:
    """A service whose steps do what they are asked to, one outcome each."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.stop = Stop(len(outcomes))
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.reports: list[tuple[Any, bool]] = []
        self.made = self.closed = 0
        self.close_error: Exception | None = None

    def close(self) -> None:
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error

    def make(self) -> World:
        self.made += 1
        return self

    def step(self) -> Any:
        outcome = self.outcomes.pop(0)
        self.stop.now += 0.25
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def log(self, event: str, level: str = "info", **fields: Any) -> None:
        self.lines.append((event, {"level": level, **fields}))

    def report(self, result: Any, failing: bool) -> None:
        self.reports.append((result, failing))

    def loop(self, every_s: float = 5, **more: Any) -> Loop[World, Any]:
        service = Service("counters", every_s, self.make, World.step, self.log, self.report, **more)
        stop: Any = self.stop
        return Loop("live", service, stop, clock=lambda: self.stop.now, jitter=lambda: 0.0)

    def run(self, every_s: float = 5, **more: Any) -> Loop[World, Any]:
        loop = self.loop(every_s, **more)
        loop.run()
        return loop

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


def test_each_step_is_reported_with_whether_the_one_before_failed() -> None:
    world = World(1, DOWN, DOWN, 2, 3)
    world.run()
    assert world.reports == [(1, False), (2, True), (3, False)]
    assert world.events == ["failed", "failed"]
    assert world.lines[0][1] == {
        "level": "error", "service": "counters", "failures": 1, "retry_s": 1.0,
        "error": "Redis cannot be used Fix: start it",
    }  # fmt: skip


def test_failures_in_a_row_are_tried_again_later_and_later_and_success_begins_anew() -> None:
    world = World(1, *[DOWN] * 6, 2, DOWN)
    world.run()
    assert world.stop.pauses == [5, 1, 2, 4, 8, 15, 15, 5, 1]


def test_an_expected_failure_keeps_the_worker_and_an_unexpected_one_makes_another() -> None:
    world = World(DOWN, 1)
    world.run()
    assert (world.made, world.closed) == (1, 1)
    world = World(BUG, 1, 2)
    world.run()
    assert (world.made, world.closed) == (2, 2)
    assert "in step" in world.lines[0][1]["traceback"]
    assert world.lines[0][1]["error"] == "ZeroDivisionError('ours')"


@pytest.mark.parametrize("error", [BUG, SystemExit(3), MemoryError()])
def test_whatever_a_step_raises_the_loop_goes_on(error: BaseException) -> None:
    world = World(error, 1)
    loop = world.run()
    assert world.reports == [(1, True)]
    assert (loop.health.failures, loop.health.failures_in_row, loop.health.state) == (1, 0, "stopped")


def test_a_worker_that_cannot_be_made_or_closed_ends_nothing() -> None:
    world = World(BUG, 1)
    world.close_error = OSError("closed already")
    world.run()
    assert world.events == ["not closed", "failed", "not closed"]
    failing = World(1, 2)
    loop = failing.loop()
    failing.make = lambda: (_ for _ in ()).throw(DOWN)  # type: ignore[method-assign]
    refused = Loop("live", Service("x", 5, failing.make, World.step, failing.log), failing.stop, lambda: 0, lambda: 0)  # type: ignore[arg-type]
    refused.run()
    assert failing.events == ["failed", "failed"]
    assert loop.health.state == "starting"


def test_a_failing_report_counts_as_a_failure() -> None:
    world = World(1)
    world.report = lambda *_: 1 / 0  # type: ignore[method-assign,assign]
    world.run()
    assert world.events == ["failed"]


def test_a_standby_says_so_once_asks_often_and_takes_over() -> None:
    world = World(OTHER, OTHER, OTHER, 1, 2)
    loop = world.loop()
    pauses = [loop.attempt() for _ in range(3)]
    assert (loop.health.state, loop.health.failures) == ("standby", 0)
    assert loop.health.error == "another intake is at work."
    assert pauses == [STANDBY_S] * 3
    assert loop.attempt() == 5
    assert (world.events, loop.health.state) == (["standby", "active"], "running")
    assert world.reports == [(1, False)]


def test_the_next_step_follows_at_once_while_there_is_more_to_do() -> None:
    world = World("more", "more", "", DOWN, "more")
    world.run(again=bool)
    assert world.stop.pauses == [0, 0, 5, 1, 0]


def test_health_says_when_a_step_last_succeeded_and_what_failed() -> None:
    world = World(1, DOWN, BUG)
    loop = world.loop()
    loop.attempt()
    assert (loop.health.state, loop.health.succeeded_at, loop.health.duration_s) == ("running", 1_000.25, 0.25)
    loop.attempt()
    loop.attempt()
    health = loop.health
    assert (health.role, health.service, health.state) == ("live", "counters", "failing")
    assert (health.failures, health.failures_in_row, health.succeeded_at) == (2, 2, 1_000.25)
    assert "ours" in health.error


def test_health_counts_steps_and_says_since_when_one_is_taken() -> None:
    world = World(1, DOWN, OTHER, 2)
    loop, seen = world.loop(), []
    world.report = lambda *_: seen.append(loop.health.begun_at)  # type: ignore[method-assign,assign]
    loop = world.loop()
    for _ in range(4):
        begin = world.stop.now
        loop.attempt()
        assert loop.health.begun_at is None
    assert (loop.health.runs, loop.health.failures, loop.health.every_s) == (2, 1, 5)
    assert seen[-1] == begin


def test_a_loop_that_is_stopped_takes_no_step_and_makes_nothing() -> None:
    world = World()
    world.run()
    assert (world.made, world.closed, world.lines) == (0, 0, [])


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(0.1, 10**6))
def test_a_retry_waits_at_least_half_and_never_more_than_its_bound(
    failures: int, jitter: float, every_s: float
) -> None:
    world = World()
    most = world.loop(every_s)._service.most_retry_s
    assert MOST_RETRY_S <= most <= LONGEST_RETRY_S
    pause = retry_s(failures, most, jitter)
    assert min(0.5, most / 2) <= pause <= most
    assert retry_s(failures + 1, most, jitter) >= pause


def test_a_line_of_the_log_is_json_with_an_instant_in_utc(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_service, "_PROCESS", {})
    logger("limits")("synced", requested=3, error="ü\n")
    (text,) = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", line.pop("at"))
    assert line == {"level": "info", "component": "limits", "event": "synced", "requested": 3, "error": "ü\n"}


def test_a_line_of_a_process_names_its_run_and_the_role_that_wrote_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_service, "_PROCESS", {})
    log_as("serve", "r1")
    log, world = logger("limits"), World()
    log("started")
    service = Service("limits", 1, world.make, lambda _: log("synced"), log)
    Loop("live", service, Stop(1)).run()  # type: ignore[arg-type]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["role"], line["run_id"]) for line in lines] == [
        ("started", "serve", "r1"), ("synced", "live", "r1"),
    ]  # fmt: skip


def test_no_id_in_a_line_begins_another_or_turns_its_direction_and_no_secret_is_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant = 'a"}\n{"level":"error\u2028\u202e\x1b[31m\x85'
    logger("alerts")("refused", tenant_id=tenant, settings=load(**{"redis.password": "hunter2"}).redis)
    text = capsys.readouterr().err
    assert text.endswith("\n")
    assert all(character.isprintable() for character in text[:-1])
    assert json.loads(text)["tenant_id"] == tenant
    assert "hunter2" not in text


def test_a_log_that_nobody_reads_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    logger("limits")("looked")


def test_what_a_library_logs_is_a_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("tests.of.the.service")
    library.addHandler(LibraryLog())
    library.warning("node %s refused\n", 7)
    try:
        raise BUG
    except ZeroDivisionError:
        library.exception("lost")
    refused, lost = map(json.loads, capsys.readouterr().err.splitlines())
    assert (refused["component"], refused["level"]) == ("tests.of.the.service", "warning")
    assert refused["message"] == "node 7 refused\n"
    assert (lost["level"], "ZeroDivisionError" in lost["traceback"]) == ("error", True)


RAISES_EVERYWHERE = """
import gc, threading, warnings
from tidemark.core.service import log_all
log_all()
def fails():
    raise ValueError("of a thread\\nof a library")
thread = threading.Thread(target=fails, name="network")
thread.start()
thread.join()
class Client:
    def __del__(self):
        raise OSError("of a finalizer")
Client()
gc.collect()
warnings.warn("of a library", stacklevel=1)
"""


def test_whatever_libraries_write_is_a_line_of_json() -> None:
    done = subprocess.run([sys.executable, "-c", RAISES_EVERYWHERE], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["thread ended", "not finalized", "logged"]
    assert lines[0]["thread"] == "network"
    assert "ValueError" in lines[0]["error"]
    assert "in fails" in lines[0]["traceback"]
    assert "of a finalizer" in lines[1]["error"]
