"""What `tidemark status` says: a line for each thing that is wrong, none for a deployment that is healthy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from tidemark.cli import status as command
from tidemark.cli.main import app
from tidemark.core.alarms import Stored
from tidemark.core.settings import Settings
from tidemark.health import status as health
from tidemark.health.reading import NOT_SUBMITTED, UNREACHABLE
from tidemark.health.state import Disk, JobHealth, Lag, RoleReport, Snapshot
from tidemark.health.status import Status, document, problems

SETTINGS = Settings()
REFUSED = 'tidemark_periods_refused{cause="lag"}'


def report(role: str, **more: Any) -> RoleReport:
    return RoleReport(role, "host:1:a", **{"state": "running", "ready": True, "reason": "", "age_s": 1.0, **more})


HEALTHY = Status(
    Snapshot(
        jobs=tuple(JobHealth(job, "RUNNING", 1.0, 2.0, 0.1, 0, 0) for job in ("meter", "rollup")),
        lags=(Lag("meter", "usage.events", 3, 0.5), Lag("rollup", "usage.deltas", 0, 0.0)),
        roles=(report("live"), report("close", figures={REFUSED: 0.0}, succeeded_at=1_000.4)),
        disks=(Disk("/data", 100, 50),),
        counted_before=True,
    ),
    heartbeat_age_s=2.0,
    drift={},
    firing=(),
)


def with_snapshot(**changes: Any) -> Status:
    return replace(HEALTHY, snapshot=replace(HEALTHY.snapshot, **changes))


def test_a_healthy_deployment_has_no_problem_and_shows_everything() -> None:
    assert problems(HEALTHY, SETTINGS) == []
    shown = document(HEALTHY, SETTINGS)
    assert shown["healthy"] is True
    assert [one["job"] for one in shown["jobs"]] == ["meter", "rollup"]
    assert {one["role"]: one["last_success"] for one in shown["roles"]} == {
        "live": None, "close": "1970-01-01T00:16:40Z",
    }  # fmt: skip
    assert (shown["heartbeat_age_s"], shown["drift_open"], shown["periods_refused"]) == (2.0, {}, {})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (with_snapshot(jobs=(JobHealth("meter", NOT_SUBMITTED),), counted_before=False),
         "meter is not submitted, not RUNNING: `tidemark submit meter`"),
        (with_snapshot(jobs=(JobHealth("rollup", "RESTARTING", 1.0),)),
         "rollup is RESTARTING, not RUNNING: `tidemark submit rollup`"),
        (with_snapshot(lags=(Lag("meter", "usage.events", 9, 301.0),)),
         "meter is 301 s (bound 300 s) and 9 records behind"),
        (with_snapshot(roles=()), "no process of `tidemark serve` has ever reported: start it"),
        (with_snapshot(roles=(report("quotas", state="failing", ready=False, reason="no"),)),
         "role quotas: host:1:a: failing, no"),
        (with_snapshot(disks=(Disk("/data", 100, 9),)), "9 % of the disk of /data is free (0.0 GB), bound 10 %"),
        (replace(HEALTHY, heartbeat_age_s=None), "there is no heartbeat in Redis: readers of limits answer by their"),
        (replace(HEALTHY, heartbeat_age_s=61.0), "the heartbeat in Redis is 61 s old, readers take 60 s"),
        (replace(HEALTHY, drift={"grains": 2, "offsets": 1}), "3 unexplained differences: `tidemark reconcile drift`"),
        (with_snapshot(roles=(report("close", figures={REFUSED: 4.0}),)),
         "periods are due and refused: 4 by lag; `tidemark close --dry-run` says why"),
        (replace(HEALTHY, unreachable={"Kafka": "no broker"}), "Kafka: no broker"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_one_line(status: Status, said: str) -> None:
    (line,) = problems(status, SETTINGS)
    assert line.startswith(said)
    assert document(status, SETTINGS)["healthy"] is False


def test_without_the_role_live_nobody_misses_its_heartbeat() -> None:
    assert problems(replace(with_snapshot(roles=(report("close"),)), heartbeat_age_s=None), SETTINGS) == []


def test_flink_that_does_not_answer_is_said_once() -> None:
    jobs = tuple(JobHealth(job, UNREACHABLE) for job in ("meter", "rollup"))
    status = replace(with_snapshot(jobs=jobs), unreachable={"Flink": "Flink does not answer at http://f."})
    assert problems(status, SETTINGS) == ["Flink: Flink does not answer at http://f."]


def test_the_best_process_of_a_role_is_shown_and_all_are_named() -> None:
    roles = (report("deliver", state="failing", ready=False, reason="no"), replace(report("deliver"), instance="b:2:c"))
    (shown,) = document(with_snapshot(roles=roles), SETTINGS)["roles"]
    assert (shown["ok"], shown["state"], len(shown["instances"])) == (True, "running", 2)


@pytest.mark.parametrize(
    ("status", "code"),
    [(HEALTHY, 0), (replace(HEALTHY, drift={"grains": 1}), 1), (replace(HEALTHY, unreachable={"Redis": "gone"}), 3)],
)
def test_the_exit_code_says_whether_it_is_healthy(status: Status, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_KAFKA__BOOTSTRAP", "elsewhere:9092")
    firing = Stored(("lag", "meter"), datetime(2026, 3, 1, tzinfo=UTC), {})
    monkeypatch.setattr(health, "read", lambda _: replace(status, firing=(firing,)))
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == code, result.output
    assert ("healthy" in result.stdout.splitlines()) == (code == 0)
    assert "3 records" in result.stdout
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert (shown.exit_code, '"type": "pipeline.lag"' in shown.stdout) == (code, True)


def test_a_local_stack_that_is_down_is_said_and_asked_for_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.health, "read", lambda _: pytest.fail("asked"))
    result = CliRunner().invoke(app, ["status", "--state-dir", str(tmp_path / "none")])
    assert (result.exit_code, result.stdout) == (3, "the stack is down (start it: tidemark up)\n")
