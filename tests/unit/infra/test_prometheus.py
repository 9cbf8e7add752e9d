"""Prometheus' rules speak of metrics that there are, with the bounds of the settings, and each is tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import service_settings
from infra.local import flink_conf
from tests.unit.infra.metrics import LABELS
from tidemark.core.settings import HealthSettings, Settings
from tidemark.health.rules import MAX_FAILED_CHECKPOINTS
from tidemark.health.status import MAX_HEARTBEAT_AGE_S

ROOT = Path(service_settings.__file__).parents[1]
FOLDER = ROOT / "infra" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]
BY_NAME = {rule["alert"]: rule for rule in RULES}


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("rule", RULES, ids=BY_NAME)
def test_a_rule_queries_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\b(?:tidemark|flink)_\w+", rule["expr"]))
    assert named <= set(LABELS)
    labels = {label for name in named for label in LABELS[name]} | {"instance", "job"}
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in group.split(",")}
    quoted = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert grouped | quoted <= labels


@pytest.mark.parametrize("rule", RULES, ids=BY_NAME)
def test_a_rule_has_a_severity_a_runbook_and_a_test(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert not anchor or anchor in headings(ROOT / page)
    tested = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
    cases = [case for test in tested for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert any(case["exp_alerts"] for case in cases)


def test_the_bounds_are_those_of_the_settings() -> None:
    health = HealthSettings()
    assert BY_NAME["TidemarkJobDown"]["for"] == f"{health.job_down_s}s"
    assert BY_NAME["TidemarkLag"]["expr"].endswith(f"> {health.max_lag_s}")
    checkpoints = BY_NAME["TidemarkCheckpoints"]["expr"]
    assert f"> {health.max_checkpoint_age_s} or" in checkpoints
    assert checkpoints.endswith(f">= {MAX_FAILED_CHECKPOINTS}")
    assert BY_NAME["TidemarkRoleFailing"]["for"] == f"{health.role_failing_s // 60}m"
    assert BY_NAME["TidemarkDisk"]["expr"].endswith(f"< {health.min_disk_free_percent / 100}")
    assert BY_NAME["TidemarkHeartbeatOld"]["expr"].endswith(f"> {MAX_HEARTBEAT_AGE_S:.0f}")


def test_prometheus_scrapes_where_serve_and_flink_listen() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert targets["tidemark"] == [Settings().serve.listen]
    first = int(flink_conf.METRICS_PORTS.partition("-")[0])
    assert targets["flink"] == [f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"]
