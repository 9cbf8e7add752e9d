"""Events from a seed, steady streams, CPU samples and the session: what no service is needed for."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from signal import SIGKILL
from subprocess import PIPE, Popen

import pytest

from infra.local.reap import PROGRAM_MARK, STACK_MARK, marked
from jobs.flink.rest import wait_until
from tests.bench import cpu, events
from tests.bench.events import GRACE_MS, Load
from tests.bench.pace import CAP, Stage, Stream

END_MS = 1_700_000_000_000
COUNT = 20_000


@pytest.fixture(scope="module")
def made() -> list[tuple[int, bytes]]:
    return list(events.keyed(Load(COUNT), END_MS))


def parsed(payload: bytes) -> dict | None:
    try:
        return json.loads(payload)
    except ValueError:
        return None


def test_the_same_seed_makes_the_same_events(made):
    assert list(events.keyed(Load(COUNT), END_MS)) == made
    assert list(events.keyed(Load(COUNT, seed=8), END_MS)) != made


def test_events_have_the_shares_and_the_size_that_are_promised(made):
    read = [parsed(payload) for _, payload in made]
    ids = Counter(event["event_id"] for event in read if event)
    oldest = datetime.fromtimestamp((END_MS - GRACE_MS) / 1_000, UTC).isoformat()[:19]
    late = sum(event["timestamp"] < oldest for event in read if event)
    assert sum(event is None for event in read) / COUNT == pytest.approx(events.INVALID, abs=0.004)
    assert 1 - len(ids) / COUNT == pytest.approx(events.DUPLICATE + events.INVALID, abs=0.01)
    assert late / COUNT == pytest.approx(events.LATE, abs=0.004)
    assert sum(len(payload) for _, payload in made) / COUNT == pytest.approx(272, abs=5)
    assert {event["event_type"] for event in read if event} == set(events.TYPES)


def test_customers_follow_zipf_and_one_may_be_hot(made):
    first, second = (share for _, share in Counter(customer for customer, _ in made).most_common(2))
    assert first / second == pytest.approx(2**events.SKEW, rel=0.15)
    hot = Counter(customer for customer, _ in events.keyed(Load(COUNT, skew=0, hot=0.5, clean=True), END_MS))
    assert hot[0] / COUNT == pytest.approx(0.5, abs=0.02)


def test_a_backlog_spans_the_time_that_it_is_given():
    for span_s in (60, 3_600):
        made = events.keyed(Load(COUNT, clean=True, span_s=span_s), END_MS)
        times = [datetime.fromisoformat(parsed(payload)["timestamp"]).timestamp() for _, payload in made]
        assert END_MS / 1_000 - min(times) == pytest.approx(span_s, abs=5.01)
        assert max(times) - min(times) == pytest.approx(span_s, abs=5.01)


def test_children_that_lost_their_mark_are_found(tmp_path):
    """As the backends of Postgres, whose titles overwrite their environment."""
    environment = {**os.environ, STACK_MARK: str(tmp_path), PROGRAM_MARK: "postgres"}
    command = ["sh", "-c", f"env -u {STACK_MARK} sleep 60 & echo $!; wait"]
    with Popen(command, env=environment, stdout=PIPE, start_new_session=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        try:
            both = {parent.pid: "postgres", child: "postgres"}
            wait_until(lambda: cpu.programs(tmp_path) == both and child not in marked(tmp_path), 5, f"{both}")
        finally:
            os.kill(child, SIGKILL)


def test_clean_events_have_ids_of_their_own():
    ids = {parsed(payload)["event_id"] for _, payload in events.keyed(Load(1_000, clean=True), END_MS)}
    assert len(ids) == 1_000


def test_data_without_bound_is_refused():
    with pytest.raises(ValueError, match="can be made"):
        Load(events.MOST + 1)


def test_a_stream_is_due_stage_by_stage():
    stream = Stream(100.0, (Stage(1_000, 2), Stage(10, 5)))
    assert stream.count == 2_050
    assert [stream.due_s(index) for index in (0, 1_000, 2_000, 2_010)] == [100.0, 101.0, 102.0, 103.0]
    assert [stream.stage_of(index) for index in (0, 1_999, 2_000, 2_049)] == [0, 0, 1, 1]


def test_each_customer_reaches_its_cap_at_the_event_that_was_chosen():
    stream = Stream(0.0, (Stage(5_000, 20),), caps=True)
    assert stream.turns == 10
    for customer in (0, 1, 7, 9_999):
        amounts = [int(stream.quantity(turn * events.CUSTOMERS + customer)) for turn in range(stream.turns)]
        totals = [sum(amounts[: turn + 1]) for turn in range(stream.turns)]
        reached = next(turn for turn, total in enumerate(totals) if total >= CAP)
        assert reached == stream.crossing(customer)
        assert 0 < reached < stream.turns - 1


def test_cpu_between_two_samples_is_on_the_line_through_them():
    samples = [(10.0, {"kafka": 1.0}), (12.0, {"kafka": 3.0, "redis": 1.0}), (14.0, {"kafka": 3.0, "redis": 1.0})]
    assert cpu.at(samples, 11.0) == Counter({"kafka": 2.0, "redis": 0.5})
    assert cpu.at(samples, 9.0)["kafka"] == 1.0
    assert cpu.at(samples, 99.0)["kafka"] == 3.0


@pytest.mark.parametrize(
    ("thread", "group"),
    [
        ("C2 CompilerThre", "JIT compiler"),
        ("G1 Refine#0", "JVM and GC"),
        ("rocksdb:low2", "RocksDB flush and compaction"),
        ("Deduplicate[12]", "Deduplicate"),
        ("flink-pekko.act", "RPC"),
        ("Source: raw_eve", "Source: raw_eve"),
    ],
)
def test_threads_are_in_groups(thread, group):
    assert cpu.group_of(thread) == group
