"""Two JobManagers under load: the leader is killed, pauses, or wakes up too late; every number is exact."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.flink.rest import wait_until
from jobs.flink.submit import JOBS
from tests.constant_load import load
from tests.ha.pair import OTHER, WITHIN_S, Pair, Stopwatch
from tests.integration.serve.test_serve import serving
from tidemark.core.terminal import say

pytestmark = pytest.mark.drill

KILLS = 3
# Far below the time after which a silent one loses its place.
PAUSE_S = 3.0
# Far above it. Two JobManagers that both believe to lead came of one such absence in two.
AWAY_S, ABSENCES = 25.0, 3
SPIKE_S, SPINNING = 20.0, 6
SPIN = "while True: pass"


def takes_over(pair: Pair, old: str, since_ms: float, watch: Stopwatch) -> str:
    """Wait until the other leads and both jobs count there; its name."""
    new = OTHER[old]
    pair.wait_led(new)
    watch.lap("leads")
    wait_until(lambda: pair.is_progressing(new, since_ms), WITHIN_S, "both jobs to complete a checkpoint")
    watch.lap("counts")
    return new


def recovers(pair: Pair, since_ms: float, watch: Stopwatch) -> str:
    """Wait until both jobs count after a kill; who leads then.

    It is the other one, or the killed one, where its supervisor has started it again before its time ran out.
    """
    wait_until(lambda: any(pair.is_progressing(one, since_ms) for one in OTHER), WITHIN_S, "both jobs to count")
    watch.lap("counts")
    return pair.leader()


def counts_again(pair: Pair) -> None:
    """Wait until both jobs count, whoever leads."""
    since_ms, watch = time.time() * 1_000, Stopwatch.start()
    wait_until(lambda: any(pair.is_progressing(one, since_ms) for one in OTHER), WITHIN_S, "both jobs to count")
    watch.lap("counts")
    say(f"{pair.mode}: nobody elects for {AWAY_S:.0f} s; seconds after it {watch.laps}")


def assert_exact(pair: Pair) -> None:
    pair.wait_both()
    pair.run.wait_drained()
    with pair.run.oracle() as oracle:
        pair.run.assert_exact(oracle)


@contextmanager
def spike() -> Iterator[None]:
    """More busy processes than processors."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(SPINNING)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def test_a_pause_and_a_spike_of_load_cost_no_failover(pair: Pair) -> None:
    pair.wait_both()
    leader = pair.leader()
    before = pair.restarts(leader)
    with load(pair.run, pair.records):
        with pair.frozen(leader):
            time.sleep(PAUSE_S)
        with pair.without_election():
            time.sleep(PAUSE_S)
        with spike():
            time.sleep(SPIKE_S)
        after_ms = time.time() * 1_000
        wait_until(lambda: pair.is_progressing(leader, after_ms), WITHIN_S, "a checkpoint after it")
    assert pair.leader() == leader
    assert pair.restarts(leader) == before
    assert_exact(pair)


def test_a_leader_that_is_killed_under_load_is_replaced_and_nothing_is_lost_or_doubled(
    pair: Pair, tmp_path: Path
) -> None:
    pair.wait_both()
    leader = pair.leader()
    # The role that brings jobs back must not: Flink does.
    beside = pair.run.settings.with_changes({"resubmit.jobs": JOBS, "resubmit.interval_s": 1, "serve.listen": "off"})
    with serving(beside, "resubmit", tmp_path / "serve.log") as serve, load(pair.run, pair.records) as sending:
        for _ in range(KILLS):
            since_ms, watch = time.time() * 1_000, Stopwatch.start()
            pair.kill(leader)
            killed, leader = leader, recovers(pair, since_ms, watch)
            say(f"{pair.mode}: killed, {'itself' if leader == killed else 'the other'} after seconds {watch.laps}")
            pair.wait_both()
        pair.run.wait_committed(sending.sent)
        assert serve.lines("left alone", "resubmit")
        assert serve.lines("submitted", "resubmit") == []
    assert_exact(pair)


def test_while_nobody_can_be_elected_events_wait_and_nothing_is_lost_or_doubled(pair: Pair) -> None:
    pair.wait_both()
    with load(pair.run, pair.records) as sending:
        for _ in range(ABSENCES):
            with pair.without_election():
                time.sleep(AWAY_S)
            counts_again(pair)
            pair.wait_both()
        pair.run.wait_committed(sending.sent)
    assert_exact(pair)


def test_a_leader_that_wakes_up_after_it_was_replaced_is_fenced(pair: Pair) -> None:
    pair.wait_both()
    old = pair.leader()
    with load(pair.run, pair.records) as sending:
        since_ms, watch = time.time() * 1_000, Stopwatch.start()
        with pair.frozen(old):
            new = takes_over(pair, old, since_ms, watch)
            say(f"{pair.mode}: frozen, seconds until the other {watch.laps}")
        # It stands by: it answers as the other does, which goes on.
        pair.wait_both()
        woken_ms = time.time() * 1_000
        wait_until(lambda: pair.is_progressing(old, woken_ms), WITHIN_S, "a checkpoint that the old one shows")
        assert pair.leader() == new
        pair.run.wait_committed(sending.sent)
    assert_exact(pair)
