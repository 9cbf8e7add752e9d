"""Services that repeat one step: failures are told and tried again, the end is told once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tidemark.core.errors import UnavailableError
from tidemark.core.service import logger, repeat

AWAY = UnavailableError("Redis cannot be used", "start it")


class Steps:
    """Does what it is told to, step by step, and stops the loop after the last."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.stop = threading.Event()
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.reports: list[tuple[Any, bool]] = []

    def __call__(self) -> Any:
        found = self.outcomes.pop(0)
        if not self.outcomes:
            self.stop.set()
        if isinstance(found, Exception):
            raise found
        return found

    def log(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def run(self, **more: Callable[[Any, bool], None]) -> None:
        repeat(self, every_s=0, stop=self.stop, log=self.log, **more)


def test_each_step_is_reported_with_whether_the_one_before_failed() -> None:
    steps = Steps(1, AWAY, AWAY, 2, 3)
    steps.run(report=lambda done, failing: steps.reports.append((done, failing)))
    assert steps.reports == [(1, False), (2, True), (3, False)]
    assert [event for event, _ in steps.lines] == ["failed", "failed", "stopped"]
    assert "Redis cannot be used" in steps.lines[0][1]["error"]


def test_without_a_report_only_failures_and_the_end_are_told() -> None:
    steps = Steps(1, 2, AWAY)
    steps.run()
    assert [event for event, _ in steps.lines] == ["failed", "stopped"]


def test_a_loop_that_is_stopped_takes_no_step() -> None:
    steps = Steps(1)
    steps.stop.set()
    steps.run()
    assert (steps.outcomes, steps.lines) == ([1], [("stopped", {})])


def test_a_fault_of_the_program_ends_the_loop() -> None:
    steps = Steps(1, ZeroDivisionError("ours"), 2)
    with pytest.raises(ZeroDivisionError):
        steps.run()


def test_a_stop_ends_the_pause() -> None:
    steps = Steps(1, 2)
    thread = threading.Thread(
        target=repeat, args=(steps,), kwargs={"every_s": 3_600, "stop": steps.stop, "log": steps.log}, daemon=True
    )
    thread.start()
    steps.stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert steps.lines[-1] == ("stopped", {})


def test_a_line_of_the_log_is_json_with_an_instant_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    logger("limits")("looked", nudged=3, error="ü\n")
    (text,) = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", line.pop("at"))
    assert line == {"component": "limits", "event": "looked", "nudged": 3, "error": "ü\n"}
