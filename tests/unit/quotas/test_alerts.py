"""Alerts about tenants fit the contract, name the tenant, and lead to a runbook that exists."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import schemas
from tidemark.quotas.rules import RULES
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, to_json
from udfs.alerts.pipeline import Rule

ROOT = Path(__file__).parents[3]
EVIDENCE = {"tenant_id": "EWR", "value": 11, "bound": 10, "hour": "2013-01-01T10:00:00Z"}
VALIDATOR = Draft202012Validator(schemas.topic_schema("usage.alerts"))


def built(rule: Rule, status: Status) -> dict[str, object]:
    alert = alerts.tenant_alarm(rule, status, evidence=EVIDENCE, at_ms=1_357_035_420_123, event_id="one")
    document: dict[str, object] = json.loads(to_json(alert))
    return document


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_an_alert_about_a_tenant_as_built_fits_the_schema(rule: Rule, status: Status) -> None:
    alert = built(rule, status)
    assert [error.message for error in VALIDATOR.iter_errors(alert)] == []
    assert (alert["source"], alert["type"], alert["id"]) == ("tidemark/watch", f"pipeline.{rule}", "one")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_the_summary_names_the_tenant_and_both_figures(rule: Rule, status: Status) -> None:
    summary = built(rule, status)["data"]["summary"]  # type: ignore[index]
    assert all(part in summary for part in ("Tenant EWR ", " 10 ", " 11)"))


@pytest.mark.parametrize("kind", [alerts.LIVE_COUNTERS, *(RULES)])
def test_the_runbook_of_an_alert_is_a_heading_that_exists(kind: str) -> None:
    live = alerts.live_counters("firing", at_ms=0, evidence={})
    runbook = live.runbook if kind not in RULES else built(kind, "firing")["data"]["runbook"]  # type: ignore[arg-type, index]
    path, _, anchor = runbook.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_an_alert_of_the_meter_job_keeps_its_source() -> None:
    alert = json.loads(to_json(replace(alerts.live_counters("firing", at_ms=0, evidence={}), id="one")))
    assert alert["source"] == "tidemark/meter"
    assert VALIDATOR.is_valid(alert)
