"""The endpoint of a real `tidemark serve`: readiness with reasons, a standby, and every figure of its roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from jobs.flink.rest import wait_until
from tests.integration.serve.test_serve import STOP_S, WITHIN_S, Serving, serving
from tests.integration.storage import OwnRedis, own_run
from tidemark.core import topics
from tidemark.core.settings import Settings
from tidemark.health import checks
from tidemark.serve.figures import FAMILIES

ROLES = "live,quotas,alerts,deliver,close,reconcile,archive"
# These have values once something is there: a heartbeat that came through `meter`, an alarm, a due alert.
EMPTY = {
    "tidemark_live_heartbeat_age_seconds", "tidemark_quota_alarms", "tidemark_alert_latency_seconds_bucket",
}  # fmt: skip


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis, tmp_path: Path) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        changes = {
            "live.refresh_s": 1, "reconcile.checks": ("live",), "archive.dir": str(tmp_path / "archive"),
            "serve.listen": "127.0.0.1:0",
        }  # fmt: skip
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}", **changes})
        topics.apply(made)
        yield made


def url_of(served: Serving) -> str:
    def lines() -> list[dict[str, Any]]:
        return served.lines("listening", "serve")

    wait_until(lambda: bool(lines()), WITHIN_S, "the endpoint")
    return f"http://{lines()[0]['address']}"


def readyz(url: str) -> tuple[int, dict[str, Any]]:
    answer = requests.get(f"{url}/readyz", timeout=10)
    return answer.status_code, answer.json()["roles"]


def figures(url: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by figure, and by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=10).text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_real_process_shows_that_its_roles_are_ready_and_what_waits_for_them(run: Settings, tmp_path: Path) -> None:
    with serving(run, ROLES, tmp_path / "serve.log") as served:
        url = url_of(served)
        assert requests.get(f"{url}/healthz", timeout=10).status_code == 200
        wait_until(lambda: readyz(url)[0] == 200, WITHIN_S, "all roles to be ready")
        assert list(readyz(url)[1]) == ROLES.split(",")
        wanted = {family.shown for family in FAMILIES if family.role in {"", *ROLES.split(",")}} - EMPTY
        wait_until(lambda: wanted <= set(figures(url)), WITHIN_S, "every figure")
        seen = figures(url)
        assert seen["tidemark_service_runs_total"]["live", "counters"] >= 1
        assert seen["tidemark_archive_behind_records"][run.topics.events,] == 0
        assert seen["tidemark_outbox_pending"] == {("closes",): 0, ("corrections",): 0}
        assert run.run_id in seen["tidemark_info"].popitem()[0]
        assert served.stop() < STOP_S
    lines = list(map(json.loads, (tmp_path / "serve.log").read_text().splitlines()))
    assert {line["run_id"] for line in lines} == {run.run_id}
    assert {line["role"] for line in lines} <= {*ROLES.split(","), "serve"}
    assert {line["level"] for line in lines} <= {"info", "warning", "error"}


def test_a_role_that_fails_says_why_and_a_standby_is_ready(run: Settings, own_redis: OwnRedis, tmp_path: Path) -> None:
    with serving(run, "live,quotas", tmp_path / "first.log") as first:
        url = url_of(first)
        wait_until(lambda: readyz(url)[0] == 200, WITHIN_S, "both roles to be ready")
        with serving(run, "quotas", tmp_path / "second.log") as second:
            other = url_of(second)
            wait_until(lambda: readyz(other)[1]["quotas"]["state"] == "standby", WITHIN_S, "a standby")
            status, roles = readyz(other)
            assert (status, roles["quotas"]["ready"]) == (200, True)
            assert "another `quotas`" in roles["quotas"]["reason"]
        own_redis.kill()
        wait_until(lambda: readyz(url)[0] == 503, WITHIN_S, "live to be unready")
        roles = readyz(url)[1]
        assert (roles["live"]["ready"], roles["quotas"]["ready"]) == (False, True)
        assert "Redis at" in roles["live"]["reason"]
        listens = run.with_changes({"serve.listen": url.removeprefix("http://")})
        found = checks.serve(listens)
        assert (found.ok, "live failing (" in found.found, "quotas" in found.found) == (False, True, False)
        own_redis.start()
        wait_until(lambda: readyz(url)[0] == 200, WITHIN_S, "live to be ready again")
        assert checks.serve(listens).ok
    gone = checks.serve(listens)
    assert (gone.ok, "ConnectionError" in gone.found) == (False, True)
    assert checks.serve(run).found == "not asked: serve.listen is 127.0.0.1:0"
