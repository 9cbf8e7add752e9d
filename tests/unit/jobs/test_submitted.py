"""What `submit` compares before it restores: the settings that shape the state, as they were when it was made."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.paths import Paths
from infra.local.stack import Stack
from jobs.flink.bounds import Bounds
from jobs.flink.rest import STATE_UNREAD, short_cause
from jobs.flink.shape import BOUNDED, MOST, SHAPING, changes, max_parallelism, most_parallelism, refuse
from jobs.flink.submit import ALL_JOBS
from jobs.flink.submitted import of_job, record, recorded, values
from tidemark.cli.demo import DEMO_SETTINGS
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings, every_setting, load, variable_of

JOB_ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "fedcba9876543210fedcba9876543210"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(flink={"state_dir": tmp_path.as_uri()})


def changed(job: str, before: Settings, after: Settings, *bounds: Bounds) -> list[str]:
    first, second = bounds or (Bounds(), Bounds())
    found = changes(job, values(before, job, first), values(after, job, second))
    return [change.shaping.setting for change in found]


def test_every_job_has_its_list_and_every_name_is_a_setting():
    assert {*SHAPING} == {*ALL_JOBS}
    for job, shaping in SHAPING.items():
        names = [one.setting for one in shaping]
        assert len(names) == len({*names})
        assert all(attrgetter(name)(Settings()) is not None for name in names if name != BOUNDED), job


@pytest.mark.parametrize("job", ALL_JOBS)
def test_what_is_the_same_is_no_change(settings, job):
    assert changed(job, settings, settings) == []


@pytest.mark.parametrize(
    ("job", "change", "named"),
    [
        ("rollup", {"rollup.customer_windows": False}, ["rollup.customer_windows"]),
        ("rollup", {"rollup.sliding_disorder_s": 1_209_600}, ["rollup.sliding_disorder_s"]),
        ("rollup", {"rollup.sliding_disorder_s": 1}, ["rollup.sliding_disorder_s"]),
        ("rollup", {"rollup.sliding_history_s": 604_801}, ["rollup.sliding_history_s"]),
        ("rollup", {"rollup.sliding_history_s": 0}, ["rollup.sliding_history_s"]),
        ("rollup", {"rollup.sliding_history_s": 604_799}, []),
        ("rollup", {"topics.events": "other", "meter.parallelism": 4, "meter.tick_ms": 500}, []),
        ("meter", {"rollup.customer_windows": False, "rollup.sliding_disorder_s": 1}, []),
        ("meter", {"topics.events": "other"}, ["topics.events"]),
        ("meter", {"events.grace_s": 172_801}, ["events.grace_s"]),
        ("meter", {"events.grace_s": 172_799}, []),
        ("meter", {"flink.state_ttl_days": 399}, ["flink.state_ttl_days"]),
        ("meter", {"flink.state_ttl_days": 401}, []),
        ("meter", {"meter.parallelism": 128}, []),
        ("meter", {"meter.parallelism": 129}, ["meter.parallelism"]),
        ("anomaly", {"anomaly.clock": False, "anomaly.zones": "Europe/Berlin"}, ["anomaly.clock", "anomaly.zones"]),
    ],
)
def test_a_change_that_matters_to_the_state_is_found(settings, job, change, named):
    assert changed(job, settings, settings.with_changes(change)) == named


def test_a_run_with_an_end_is_another_job():
    assert changed("meter", Settings(), Settings(), Bounds(end="latest"), Bounds()) == [BOUNDED]
    assert changed("meter", Settings(), Settings(), Bounds("0:1"), Bounds()) == []


@given(st.integers(1, 30_000))
def test_the_greatest_parallelism_is_that_of_flink(parallelism):
    most = max_parallelism(parallelism)
    assert most >= parallelism
    assert most == 128 or (most.bit_count() == 1 and most < 4 * parallelism)


@pytest.mark.parametrize(("first", "second", "third", "is_refused"), [(1, 100, 150, True), (100, 10, 200, False)])
def test_parallelism_is_compared_with_what_the_state_was_first_made_with(first, second, third, is_refused):
    made, then = {"meter.parallelism": first}, {"meter.parallelism": second}
    then[MOST] = most_parallelism("meter", made | {MOST: most_parallelism("meter", {}, made)}, then)
    assert bool(changes("meter", then, {"meter.parallelism": third})) == is_refused


def test_a_refusal_names_both_values_and_the_ways_out(settings):
    demo = settings.with_changes({"rollup.customer_windows": False, "rollup.sliding_disorder_s": 1_209_600})
    found = changes("rollup", values(demo, "rollup", Bounds()), values(settings, "rollup", Bounds()))
    with pytest.raises(UsageError) as refused:
        refuse("rollup", found, ["rollup.sliding_disorder_s"])
    assert "rollup.customer_windows was false and is true now: the job has other operators" in refused.value.what
    assert "rollup.sliding_disorder_s" not in refused.value.what
    assert (
        refused.value.fix == "set back rollup.customer_windows=false; or begin anew in a run of its own: --run-id NAME."
    )
    with pytest.raises(
        UsageError,
        match=r"set back rollup\.sliding_disorder_s=1209600; or take it: --accept rollup\.sliding_disorder_s",
    ):
        refuse("rollup", found[1:], [])
    refuse("rollup", found[1:], ["rollup.sliding_disorder_s"])


@pytest.mark.parametrize("name", ["rollup.customer_windows", "grace", "meter.tick_ms"])
def test_what_cannot_be_accepted_is_refused(name):
    with pytest.raises(
        UsageError, match=rf"{name} cannot be accepted for rollup.*these can: rollup\.sliding_disorder_s"
    ):
        refuse("rollup", [], [name])


@pytest.mark.parametrize("state", [f"{JOB_ID}/chk-17", "savepoint-012345-a1b2c3d4e5f6"])
def test_the_record_of_the_job_that_made_the_state_is_found(settings, state):
    demo = settings.with_changes({"rollup.customer_windows": False})
    record(settings, "rollup", OTHER_ID, Bounds())
    record(demo, "rollup", JOB_ID, Bounds())
    found = recorded(settings, "rollup", f"/anywhere/{state}")
    assert found == values(demo, "rollup", Bounds())
    assert of_job(settings, "rollup", JOB_ID) == found
    assert of_job(settings, "rollup", "0" * 32) == {}


@pytest.mark.parametrize("state", [f"{OTHER_ID}/chk-17", "savepoint-fedcba-a1b2c3d4e5f6", "chk-17", "named-by-hand"])
def test_nothing_is_compared_with_state_of_an_unknown_job(settings, state):
    record(settings, "rollup", JOB_ID, Bounds())
    record(settings, "meter", OTHER_ID, Bounds())
    assert recorded(settings, "rollup", f"/anywhere/{state}") is None


def test_state_that_cannot_be_listed_from_here_has_no_record():
    remote = Settings(flink={"state_dir": "oss://bucket/state"})
    record(remote, "meter", JOB_ID, Bounds())
    assert recorded(remote, "meter", f"oss://bucket/state/checkpoints/tidemark-meter/{JOB_ID}/chk-1") is None


def test_a_folder_that_cannot_be_written_is_said(settings, tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(TidemarkError, match=r"was not kept: .* cannot be written"):
        record(settings, "meter", JOB_ID, Bounds())


def test_state_of_other_operators_is_said_in_a_line():
    trace = "java.lang.Exception\n\tat X\nCaused by: Cannot map checkpoint/savepoint state for operator e0f9"
    assert short_cause(trace).count("\n") == 0
    assert "other operators" in short_cause(trace)
    assert short_cause("something else") == "something else"


def test_state_that_cannot_be_read_is_said_in_a_line_with_its_innermost_cause():
    trace = (
        "java.lang.Exception: Could not start the JobMaster.\n\tat X\nCaused by: java.io.EOFException: too short\n"
        "\tat org.apache.flink.runtime.checkpoint.Checkpoints.loadAndValidateCheckpoint(Checkpoints.java:150)\n"
    )
    assert short_cause(trace) == f"{STATE_UNREAD}: java.io.EOFException: too short"


def test_settings_that_were_added_to_a_stack_stay(tmp_path, monkeypatch):
    stack = Stack(Paths.of(tmp_path / "stack"))
    stack.add_settings(DEMO_SETTINGS)
    stack._write_settings({"kafka.bootstrap": "127.0.0.1:1"})
    stack._write_settings({"kafka.bootstrap": "127.0.0.1:2"})
    monkeypatch.setenv("TIDEMARK_CONFIG", str(stack.paths.settings))
    for name in {*os.environ} & {variable_of(name) for name, _ in every_setting()}:
        monkeypatch.delenv(name)
    loaded = load()
    assert loaded.kafka.bootstrap == "127.0.0.1:2"
    assert {name: attrgetter(name)(loaded) for name in DEMO_SETTINGS} == DEMO_SETTINGS
