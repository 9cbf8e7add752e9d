"""Which alerts a handler answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tidemark.responses.flags import Flags
from tidemark.responses.handler import Handler
from tidemark.responses.suspend import Suspend
from tidemark.responses.webhook import Notify
from tidemark_client.keys import suspension_key
from udfs.alerts.event import Alert


def alert(**change: Any) -> Alert:
    given: dict[str, Any] = {
        "type": "limit.exceeded", "status": "firing", "severity": "critical", "summary": "s", "suggested_action": "",
        "runbook": "r", "at_ms": 5, "source": "tidemark/meter", "fingerprint": "f", "id": "i", "tenant_id": "acme",
        "customer_id": "c-1", "meter": "calls", "period_ms": (0, 10), "evidence": {"mode": "hard"},
    }  # fmt: skip
    return Alert(**(given | change))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, True),
        ({"type": "limit.threshold"}, False),
        ({"evidence": {"mode": "soft"}}, False),
        ({"evidence": {}}, False),
        ({"customer_id": None}, False),
        ({"tenant_id": ""}, False),
        ({"period_ms": None}, False),
        # Half-open: at its end the period is over.
        ({"at_ms": 9}, True),
        ({"at_ms": 10}, False),
    ],
)
def test_only_a_customer_at_a_hard_limit_of_a_running_period_is_suspended(change: dict[str, Any], wanted: bool) -> None:
    handler: Handler = Suspend(cast("Flags", None))
    assert handler.wants(alert(**change)) is wanted


def test_a_webhook_responds_to_what_its_globs_and_names_match() -> None:
    anything: Handler = Notify("t", "billing")
    assert anything.wants(alert())
    selective = Notify("t", "billing", types=["anomaly.*", "limit.exceeded"], severities=["critical"], tenants=["acme"])
    assert selective.wants(alert())
    assert selective.wants(alert(type="anomaly.customer_spike"))
    assert not selective.wants(alert(type="limit.threshold"))
    assert not selective.wants(alert(severity="warning"))
    assert not selective.wants(alert(tenant_id="other"))
    assert not selective.wants(alert(tenant_id=None))


def test_old_conditions_suspend_and_nobody_is_notified_of_them() -> None:
    handlers: list[Handler] = [Suspend(cast("Flags", None)), Notify("t", "billing")]
    assert [one.start for one in handlers] == ["beginning", "end"]


def test_no_meter_has_the_key_of_a_flag() -> None:
    assert suspension_key("usage:", "a/b", "c:d") == "usage:{a%2Fb/c%3Ad}::suspended"
