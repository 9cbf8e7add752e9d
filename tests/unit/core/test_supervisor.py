"""The supervisor: a thread for each service, none dies unseen, all end in time, and a second Ctrl-C ends at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tidemark.core.service import Loop, Service, Stateless, logger
from tidemark.core.supervisor import Supervisor

QUIET = logger("test")
# Two roles of which one does not end: its step waits for what never comes.
PROGRAM = """
import threading, os
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.service import Service, Stateless, logger
from tidemark.core.supervisor import Supervisor
log = logger("test")
def stuck(_):
    log("stuck")
    threading.Event().wait()
stop = until_stopped()
fine = Service("fine", 0.01, Stateless, lambda _: None, log)
left = Supervisor({"a": [fine], "b": [Service("stuck", 1, Stateless, stuck, log)]}, stop).run(stop_within_s=WITHIN)
os._exit(0 if left == ["b/stuck"] else 1)
"""


def service(name: str, step: Any) -> Service[Stateless, Any]:
    return Service(name, 0.001, Stateless, step, QUIET)


def test_services_of_all_roles_run_until_stopped_and_one_that_fails_holds_up_no_other() -> None:
    stop, seen = threading.Event(), {"a": 0, "b": 0}

    def count(name: str) -> None:
        seen[name] += 1
        if min(seen.values()) >= 3:
            stop.set()

    def fails(_: Stateless) -> None:
        raise KeyError("redis_version")

    services = {
        "live": [service("a", lambda _: count("a")), service("bad", fails)],
        "quotas": [service("b", lambda _: count("b"))],
    }
    supervisor = Supervisor(services, stop)
    assert supervisor.run() == []
    health = {one.service: one for one in supervisor.health()}
    assert [(one.role, one.service) for one in health.values()] == [("live", "a"), ("live", "bad"), ("quotas", "b")]
    assert {one.state for one in health.values()} == {"stopped"}
    assert health["bad"].failures >= 1
    assert health["a"].succeeded_at is not None


def test_a_thread_that_dies_is_logged_once_and_started_again_after_a_pause(capsys: pytest.CaptureFixture[str]) -> None:
    stop, now, ran = threading.Event(), [0.0], threading.Event()

    class Dies(Loop[Any, Any]):
        runs = 0

        def run(self) -> None:
            Dies.runs += 1
            if Dies.runs == 1:
                raise GeneratorExit
            ran.set()
            stop.wait(30)

    supervisor = Supervisor({"live": [service("a", lambda _: None)]}, stop, clock=lambda: now[0], loop=Dies)
    (runner,) = supervisor._runners
    runner.start()
    runner.join(10)
    supervisor.check()
    supervisor.check()
    assert Dies.runs == 1
    now[0] = 1.0
    supervisor.check()
    assert ran.wait(10)
    supervisor.check()
    stop.set()
    runner.join(10)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one["level"], one["role"]) for one in lines] == [("died", "error", "live")]
    assert "GeneratorExit" in lines[0]["error"]


def test_lines_of_a_service_name_its_role(capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()

    def step(_: Stateless) -> None:
        QUIET("stepped")
        stop.set()

    Supervisor({"live": [service("a", step)]}, stop).run()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one.get("role")) for one in lines if one["component"] == "test"] == [("stepped", "live")]


def started(within_s: float) -> subprocess.Popen[str]:
    code = PROGRAM.replace("WITHIN", str(within_s))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def wait_for(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    assert process.stderr is not None
    for text in process.stderr:
        line: dict[str, Any] = json.loads(text)
        if line["event"] == event:
            return line
    raise AssertionError(f"no {event}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_that_does_not_end_is_named_and_left_behind(number: int) -> None:
    with started(0.2) as process:
        wait_for(process, "stuck")
        process.send_signal(number)
        assert wait_for(process, "left behind")["services"] == ["b/stuck"]
        assert process.wait(30) == 0


def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    with started(3_600) as process:
        wait_for(process, "stuck")
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
