"""From the topic to a receiver: intake and delivery together, the begin of a condition and its end."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.flink.rest import wait_until
from tests.integration.alerts.test_alerting import put_policy, readable, rows, run_until, send
from tests.integration.receivers import LocalReceiver, delivering, local_receiver
from tests.integration.storage import own_run
from tests.unit.alerts.alerting import an_alert
from tidemark.alerts.intake import Intake
from tidemark.core import postgres, topics
from tidemark.core.settings import Settings
from tidemark.delivery import signed_webhook
from tidemark.delivery.worker import DeliveryWorker

KEY = "s3cret-of-the-hook"


def deliver(run: Settings, receiver: LocalReceiver) -> dict[str, Any]:
    """Send what is due; the document that the receiver got."""
    before = len(receiver.requests)
    with postgres.connect(run.postgres) as connection:
        # What waits for its group is due now.
        connection.execute(
            f"UPDATE {run.names.usage_schema}.notification SET due_at = now() WHERE attempts = 0".encode()
        )
    with closing(DeliveryWorker(run)) as worker:
        assert worker.step() is not None
    (request,) = receiver.requests[before:]
    now_s = int(datetime.now(UTC).timestamp())
    signed_webhook.verify(KEY, request.headers["Tidemark-Signature"], request.body, now_s=now_s)
    document: dict[str, Any] = json.loads(request.body)
    return document


def test_a_cap_that_is_reached_and_raised_notifies_the_receiver_of_its_route(stack: Any, tmp_path: Path) -> None:
    with own_run(stack.settings) as made, local_receiver() as receiver:
        run = delivering(made.with_changes({"topics.events": f"test.{made.run_id}"}), tmp_path, hook=KEY)
        topics.apply(run)
        wait_until(lambda: readable(run), 60, "the broker to know the topic")
        hook = {"kind": "webhook", "url": f"{receiver.url}/hook", "secret_file": "hook", "daily_budget": 20}
        try:
            put_policy(run, "receiver", "", hook)
            put_policy(run, "route", "", {"types": ["limit.*"], "tenants": [run.run_id], "receivers": [run.run_id]})
            begun = replace(an_alert(severity="critical"), id="begin", tenant_id=run.run_id)
            with closing(Intake(run)) as intake:
                # When a cap is reached, then the receiver gets one signed document with the alert in it.
                send(run, begun)
                run_until(intake, 1)
                reported = deliver(run, receiver)
                assert [alert["id"] for alert in reported["alerts"]] == ["begin"]
                # When the cap is raised, then the same receiver is reported that this is over.
                send(
                    run, replace(begun, id="end", type="limit.resolved", status="resolved", at_ms=begun.at_ms + 60_000)
                )
                run_until(intake, 1)
            over = deliver(run, receiver)
            assert [alert["id"] for alert in over["alerts"]] == ["end"]
            assert (reported["status"], over["status"]) == ("firing", "resolved")
            assert over["group_key"] == reported["group_key"]
            assert rows(run, "SELECT count(*) FROM notification WHERE delivered_at IS NULL") == [(0,)]
        finally:
            with postgres.connect(run.postgres) as connection:
                connection.execute("DELETE FROM catalog.alert_policy WHERE starts_with(name, %s)", [run.run_id])
