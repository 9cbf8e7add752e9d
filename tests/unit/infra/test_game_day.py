"""The game day's faults lead to alerts and runbooks that there are, and its report says what happened."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.chaos.game_day.alerts import is_of, of_answer
from tests.chaos.game_day.faults import ALL, Scenario, chosen
from tests.chaos.game_day.report import Outcome, markdown

ROOT = Path(__file__).parents[3]
GROUPS = yaml.safe_load((ROOT / "infra/prometheus/rules.yaml").read_text(encoding="utf-8"))["groups"]
SECTIONS = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_fault_has_an_alert_with_a_runbook(scenario: Scenario) -> None:
    assert scenario.alert in {rule["alert"] for group in GROUPS for rule in group["rules"]}
    assert f"## {scenario.alert}" in SECTIONS


def test_a_seed_is_an_order() -> None:
    assert chosen(3, 99) == chosen(3, 99)
    assert set(chosen(3, 99)) == set(ALL)
    assert len({tuple(one.name for one in chosen(seed, 99)) for seed in range(20)}) > 10
    assert len(chosen(1, 2)) == 2


def test_only_an_alert_that_fires_and_is_about_it_counts() -> None:
    labels = [{"alertname": "TidemarkJobDown", "job_name": "meter"}, {"alertname": "TidemarkServeDown"}]
    answer = {"data": {"alerts": [{"labels": labels[0], "state": "firing"}, {"labels": labels[1], "state": "pending"}]}}
    (alert,) = of_answer(answer)
    assert is_of(alert, "TidemarkJobDown", "meter")
    assert is_of(alert, "TidemarkJobDown", "")
    assert not is_of(alert, "TidemarkJobDown", "rollup")
    assert not is_of(alert, "TidemarkServeDown", "")


def test_the_report_has_a_row_a_fault_and_says_whether_all_is_equal() -> None:
    begun = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    outcomes = [Outcome(ALL[0], 41.4, 3.0, 9.6, 22.0)]
    text = markdown(7, begun, outcomes, 12_345)
    assert text.startswith("# Game day of 2026-03-01 09:30 UTC\n\nSeed 7; 1 faults")
    assert "Of the 12 345 records that were sent meanwhile everything **equals** the oracle." in text
    assert "**equals**" not in markdown(7, begun, outcomes, 0)
    assert (
        "| 1 | the job rollup is stopped | [TidemarkJobDown](docs/runbooks.md#tidemarkjobdown) (rollup) | 41 |"
        " `tidemark submit rollup` | 3 | 10 | 22 |" in text
    )
