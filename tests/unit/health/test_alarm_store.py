"""Alerts of stored alarms: the same row makes the same alert, its schema holds, its runbook is there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from tidemark.core.alarms import Stored
from tidemark.health.alarm_store import ALARMS, evidence_of
from tidemark.health.rules import Finding
from udfs.alerts.event import parse, to_event, to_json
from udfs.alerts.pipeline import Trouble

ROOT = Path(__file__).parents[3]
SINCE = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
FINDING = Finding("lag", "meter", True, "meter is 301 s behind", 300.95, 300, 0, {"records": 7})
STORED = Stored(("lag", "meter"), SINCE, evidence_of(FINDING))


def test_the_same_row_makes_the_same_alert_and_its_end_another_of_the_same_condition() -> None:
    (begin,) = ALARMS.alerts_of("usage.alerts", STORED)
    ended = replace(STORED, resolved_at=SINCE.replace(minute=5))
    again, end = ALARMS.alerts_of("usage.alerts", ended)
    assert again == begin
    assert (begin.status, end.status) == ("firing", "resolved")
    assert begin.id != end.id
    assert begin.fingerprint == end.fingerprint
    assert ALARMS.alerts_of("usage.alerts", replace(ended, announced=True)) == [end]
    assert ALARMS.alerts_of("usage.alerts.r", STORED)[0].id != begin.id
    assert ALARMS.alerts_of("usage.alerts", replace(STORED, key=("lag", "rollup")))[0].fingerprint != begin.fingerprint


def test_the_alert_says_what_it_was_decided_by() -> None:
    (alert,) = ALARMS.alerts_of("usage.alerts", STORED)
    assert (alert.type, alert.value, alert.threshold) == ("pipeline.lag", "300.9", "300")
    assert alert.summary == "meter is 301 s behind."
    assert alert.evidence["records"] == 7


@pytest.mark.parametrize("trouble", get_args(Trouble))
def test_alerts_of_every_kind_are_valid_and_have_a_runbook(trouble: Trouble) -> None:
    schema = json.loads((ROOT / "schemas/topics/usage.alerts.schema.json").read_text())
    stored = replace(STORED, key=(trouble, "meter"), resolved_at=SINCE.replace(minute=5))
    for alert in ALARMS.alerts_of("usage.alerts", stored):
        jsonschema.validate(to_event(alert), schema)
        assert parse(to_json(alert)) == alert
        assert alert.suggested_action
        assert "{" not in alert.suggested_action
        page, _, anchor = alert.runbook.partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
