"""What a process reports of its roles, and the figures that `health` takes from what it saw."""

from __future__ import annotations

import pytest

from tidemark.health.monitor import Checked
from tidemark.health.state import Disk, JobHealth, Lag, RoleReport, Snapshot
from tidemark.health.transitions import Decision
from tidemark.serve.figures import FAMILIES, current
from tidemark.serve.observed import of_health
from tidemark.serve.readiness import RoleHealth, RoleState
from tidemark.serve.report import reports_of, stopped

ROLES = [
    RoleHealth("deliver", "failing", "x" * 5_000, 12.5, runs=3, failures=1),
    RoleHealth("live", "running", "", None, runs=0, failures=0),
]
FIGURES = {
    "tidemark_notifications_due": {(): 3},
    "tidemark_outbox_pending": {("closes",): 1},
    "tidemark_service_runs": {("deliver", "delivery-1"): 3.0},
}


def test_a_report_has_the_state_of_its_role_and_what_waits_for_that_role_alone() -> None:
    deliver, live = reports_of(ROLES, FIGURES, "host:1:a")
    assert (deliver.role, deliver.instance, deliver.state, deliver.ready) == ("deliver", "host:1:a", "failing", False)
    assert (len(deliver.reason), deliver.succeeded_at) == (1_000, 12.5)
    assert deliver.figures == {"tidemark_notifications_due": 3.0}
    assert (live.ready, live.figures) == (True, {})


def test_figures_are_named_with_their_labels_as_prometheus_writes_them() -> None:
    (report,) = reports_of([RoleHealth("close", "running", "", 1.0, 1, 0)], FIGURES, "i")
    assert report.figures == {'tidemark_outbox_pending{topic="closes"}': 1.0}


def test_the_last_report_says_that_the_process_was_asked_to_end() -> None:
    last = stopped(reports_of(ROLES, FIGURES, "host:1:a")[0])
    assert (last.state, last.ready, last.reason) == ("stopped", False, "its process was asked to end")
    assert (last.role, last.instance, last.succeeded_at) == ("deliver", "host:1:a", 12.5)


def checked(snapshot: Snapshot) -> Checked:
    return Checked(snapshot, Decision((), (), {}), sent=0, news=False)


def test_health_shows_what_it_saw_and_nothing_of_what_it_could_not_read() -> None:
    seen = Snapshot(
        jobs=(JobHealth("meter", "RUNNING", 1.0, 2.0, 0.5, 1, 3), JobHealth("rollup", "not submitted")),
        lags=(Lag("meter", "e", 4, 1.5, 60.0), Lag("meter", "e.redrive", 0, None)),
        roles=(RoleReport("live", "a", "failing", ready=False, reason="no", age_s=1.0),),
        disks=(Disk("/d", 10, 4),),
    )
    figures = of_health(checked(seen))
    assert figures["tidemark_job_running"] == {("meter",): 1, ("rollup",): 0}
    assert figures["tidemark_job_restarts"] == {("meter",): 3}
    assert figures["tidemark_checkpoint_age_seconds"] == {("meter",): 2.0}
    assert figures["tidemark_lag_event_seconds"] == {("meter", "e"): 60.0}
    assert figures["tidemark_lag_records"] == {("meter", "e"): 4, ("meter", "e.redrive"): 0}
    assert figures["tidemark_lag_seconds"] == {("meter", "e"): 1.5}
    assert figures["tidemark_role_running"] == {("live",): 0}
    assert figures["tidemark_disk_free_bytes"] == {("/d",): 4}
    assert all(not values for values in of_health(checked(Snapshot())).values())


def test_every_figure_of_health_has_a_place_in_the_table_and_its_labels() -> None:
    families = {family.name: family for family in FAMILIES if family.role == "health" and family.counted}
    assert set(of_health(checked(Snapshot()))) == set(families)
    assert all(family.counted for family in families.values())


@pytest.mark.parametrize(("state", "shown"), [("running", True), ("failing", False), ("standby", False)])
def test_what_a_role_counts_itself_is_shown_only_while_it_does(state: RoleState, shown: bool) -> None:
    figures = {"tidemark_job_running": {("meter",): 1.0}, "tidemark_outbox_pending": {("closes",): 1.0}}
    roles = [RoleHealth("health", state, "", 1.0, 1, 0), RoleHealth("close", "failing", "no", 1.0, 1, 1)]
    # What is read beside the role is dropped where it cannot be read.
    assert set(current(figures, roles)) == {"tidemark_outbox_pending"} | ({"tidemark_job_running"} if shown else set())
