"""What is wrong with the pipeline, by what is known of it: each bound on both sides, in words that hold the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidemark.core.settings import HealthSettings
from tidemark.health.rules import (
    GONE_S,
    MAX_FAILED_CHECKPOINTS,
    START_S,
    Finding,
    expected,
    findings,
    patient,
    role_trouble,
)
from tidemark.health.state import Disk, JobHealth, Lag, RoleReport, Snapshot

SETTINGS = HealthSettings()
WELL = JobHealth("rollup", "RUNNING", 0.0, checkpoint_age_s=5.0, failed_checkpoints=0, restarts=0)


def only(snapshot: Snapshot, trouble: str, settings: HealthSettings = SETTINGS) -> Finding:
    (finding,) = [one for one in findings(snapshot, settings) if one.trouble == trouble]
    return finding


def report(**more: Any) -> RoleReport:
    return RoleReport(**{
        "role": "deliver", "instance": "a:1", "state": "running", "ready": True, "reason": "", "age_s": 1.0, **more,
    })  # fmt: skip


@pytest.mark.parametrize("state", ["RESTARTING", "FAILED", "CANCELED", "FINISHED", "not submitted"])
def test_a_job_that_does_not_run_is_down(state: str) -> None:
    finding = only(Snapshot((JobHealth("rollup", state),), counted_before=True), "job_down")
    assert (finding.bad, finding.subject, finding.hold_s) == (True, "rollup", SETTINGS.job_down_s)
    assert finding.detail == f"rollup is {state}, not RUNNING"


def test_a_job_that_runs_is_not_down_and_one_that_nothing_expects_is_not_watched() -> None:
    assert not only(Snapshot((WELL,)), "job_down").bad
    assert findings(Snapshot((replace(WELL, job="anomaly", state="FAILED"),), counted_before=True), SETTINGS) == []


def test_before_anything_was_counted_no_job_is_missed() -> None:
    fresh = Snapshot((JobHealth("meter", "not submitted"),), counted_before=False)
    assert not only(fresh, "job_down").bad
    # One that was submitted and failed is.
    assert only(replace(fresh, jobs=(JobHealth("meter", "FAILED", 3.0),)), "job_down").bad


@pytest.mark.parametrize(
    ("age_s", "failed", "bad"),
    [(300, 0, False), (300.1, 0, True), (1, MAX_FAILED_CHECKPOINTS - 1, False), (1, MAX_FAILED_CHECKPOINTS, True)],
)
def test_checkpoints_are_bad_when_old_or_when_several_failed_in_a_row(age_s: float, failed: int, bad: bool) -> None:
    job = replace(WELL, checkpoint_age_s=age_s, failed_checkpoints=failed)
    assert only(Snapshot((job,)), "checkpoints").bad is bad


def test_transactions_that_kafka_has_aborted_are_bad_although_checkpoints_are_completed() -> None:
    finding = only(
        Snapshot((replace(WELL, aborted=("tidemark-meter-deltas-0-7", "tidemark-meter-dlq-0-7")),)), "checkpoints"
    )
    assert finding.bad
    assert "has aborted 2 transaction(s)" in finding.detail
    assert "the first tidemark-meter-deltas-0-7" in finding.detail


def test_checkpoints_of_a_job_that_is_down_are_no_second_trouble() -> None:
    job = replace(WELL, state="RESTARTING", checkpoint_age_s=9_999.0)
    assert [one.trouble for one in findings(Snapshot((job,)), SETTINGS)] == ["job_down"]


def test_a_job_lags_by_the_age_of_its_oldest_record_in_any_topic() -> None:
    lags = (Lag("meter", "events", 10, 20.0), Lag("meter", "redrive", 3, None))
    well = only(Snapshot(lags=lags), "lag")
    assert (well.bad, well.value, well.evidence["records"]) == (False, 20.0, 13)
    late = only(Snapshot(lags=(*lags, Lag("meter", "more", 1, 300.5))), "lag")
    assert (late.bad, late.value, late.threshold) == (True, 300.5, 300)
    assert late.detail == "meter is 300 s (bound 300 s) and 14 records behind"
    assert late.evidence["by_topic"]["redrive"] == {"records": 3, "seconds": None}


def test_records_are_compared_where_a_bound_is_set() -> None:
    lags = (Lag("meter", "events", 1_001, None),)
    assert not only(Snapshot(lags=lags), "lag").bad
    bounded = HealthSettings(max_lag_records=1_000)
    finding = only(Snapshot(lags=lags), "lag", bounded)
    assert (finding.bad, finding.value, finding.threshold) == (True, 1_001, 1_000)
    assert not only(Snapshot(lags=(Lag("meter", "events", 1_000, None),)), "lag", bounded).bad


@pytest.mark.parametrize(
    ("reports", "why"),
    [
        ([report()], ""),
        ([report(state="standby", reason="another")], ""),
        ([report(state="starting", ready=False)], ""),
        ([report(state="failing", ready=False, reason="no"), report(instance="b:2")], ""),
        ([report(state="failing", ready=False, reason="no")], "a:1: failing, no"),
        ([report(age_s=GONE_S + 1)], "no process runs it; a:1 reported last, 31 s ago (running)"),
        ([report(state="stopped", ready=False)], "no process runs it; a:1 reported last, 1 s ago (stopped)"),
        ([], "no process has ever run it"),
    ],
)
def test_a_role_is_in_trouble_when_no_process_runs_it_well(reports: list[RoleReport], why: str) -> None:
    assert role_trouble(reports) == (bool(why), why)


def test_roles_that_were_ever_run_must_run_unless_the_settings_say_which() -> None:
    reports = (report(), report(role="close", age_s=900.0))
    found = {one.subject: one.bad for one in findings(Snapshot(roles=reports), SETTINGS)}
    assert found == {"deliver": False, "close": True}
    named = HealthSettings(roles=("deliver", "live"))
    assert {one.subject: one.bad for one in findings(Snapshot(roles=reports), named)} == {
        "deliver": False,
        "live": True,
    }


def test_a_disk_is_in_trouble_below_its_bound() -> None:
    assert not only(Snapshot(disks=(Disk("/data", 1_000, 100),)), "disk").bad
    finding = only(Snapshot(disks=(Disk("/data", 200 * 10**9, 19 * 10**9),)), "disk")
    assert (finding.bad, finding.subject, finding.value) == (True, "/data", 9.5)
    assert "(19.0 GB), bound 10 %" in finding.detail


def test_what_could_not_be_read_is_expected_and_has_no_finding() -> None:
    assert findings(Snapshot(), SETTINGS) == []
    assert ("lag", "meter") in expected(Snapshot(), SETTINGS)
    assert ("role_failing", "deliver") in expected(Snapshot(roles=(report(),)), SETTINGS)
    assert ("job_down", "anomaly") not in expected(Snapshot((WELL,)), SETTINGS)


def test_a_job_that_may_still_be_starting_with_everything_else_is_given_time() -> None:
    down = findings(Snapshot((JobHealth("rollup", "not submitted"),), counted_before=True), SETTINGS)
    assert patient(down, set(), START_S - 1) == []
    assert patient(down, {"rollup"}, START_S - 1) == down
    assert patient(down, set(), START_S) == down
