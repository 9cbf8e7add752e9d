"""What alerts are enriched with: amounts of 38 digits, and numbers that only a foreign record has."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.unit.alerts.alerting import an_alert
from tidemark.alerts.evidence import share, with_evidence


def test_rates_of_large_amounts_are_exact() -> None:
    # Eleven events of the largest amount in an hour; the digits are more than the 28 of Decimal's own context.
    hour, day = Decimal("11000000000000000000.000000000"), Decimal("458333333333333333.333333333")
    found = with_evidence(an_alert(), hour, day, None, None).evidence["recent_rates"]
    assert found == {"last_hour": "11000000000000000000", "last_day": "458333333333333333.333333333", "per": "hour"}


@pytest.mark.parametrize("sent", ["NaN", "-Infinity", "1E+1000000", "1E+38", "many", None])
def test_a_value_that_no_total_can_be_is_not_taken(sent: str | None) -> None:
    alert = replace(an_alert(), type="limit.exceeded", value=sent)
    assert share(alert, Decimal(3), Decimal(12)) == Decimal("0.25")


def test_the_value_of_an_alert_about_a_limit_is_newer_than_what_is_stored() -> None:
    alert = replace(an_alert(), type="limit.exceeded", value="12345678901234567890123456789")
    assert share(alert, Decimal(3), Decimal(12)) == 1
    assert share(alert, None, None) is None
