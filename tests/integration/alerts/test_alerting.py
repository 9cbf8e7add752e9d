"""Intake of alerts on real services: rows, notifications and offsets at once, each alert once, whatever fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaProducer
from psycopg import sql
from psycopg.types.json import Jsonb

from jobs.flink.rest import wait_until
from tests.integration.storage import own_run
from tests.role_log import role_lines
from tests.sessions import end_sessions
from tests.unit.alerts.alerting import TEN, an_alert
from tidemark.alerts.acknowledgement import acknowledge, stats
from tidemark.alerts.intake import PERIODS_S, Batch, Intake
from tidemark.alerts.stored_events import events_of
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres, topics
from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError, UsageError
from tidemark.core.kafka import Sender, end_offsets
from tidemark.core.settings import Settings
from udfs.alerts.event import Alert, from_event, to_json

COMMAND = "from tidemark.cli.main import main; main()"
PAGER = {"kind": "pagerduty", "url": "https://events.example/v2", "secret_file": "PD_KEY", "daily_budget": 20}
SECOND = 1_000


@pytest.fixture
def run(stack: Any) -> Iterator[Settings]:
    """A run of its own, and a policy that routes a tenant of its name to a receiver of its name."""
    with own_run(stack.settings) as settings:
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}"})
        topics.apply(made)
        wait_until(lambda: readable(made), timeout_s=60, what="the broker knows the topic that the controller made")
        try:
            put_policy(made, "receiver", "", PAGER)
            put_policy(made, "route", "", {"tenants": [made.run_id], "receivers": [made.run_id]})
            yield made
        finally:
            with postgres.connect(made.postgres) as connection:
                connection.execute("DELETE FROM catalog.alert_policy WHERE starts_with(name, %s)", [made.run_id])
                connection.execute("DELETE FROM catalog.customer WHERE tenant_id = %s", [made.run_id])


def readable(run: Settings) -> bool:
    try:
        return bool(end_offsets(run.kafka, run.names.alerts))
    except UnavailableError:
        return False


def put_policy(run: Settings, kind: str, name: str, body: dict[str, Any], valid_from: str = "-infinity") -> None:
    with postgres.connect(run.postgres) as connection:
        connection.execute(
            "UPDATE catalog.alert_policy SET valid_to = %s WHERE kind = %s AND name = %s AND valid_to = 'infinity'",
            [valid_from, kind, run.run_id + name],
        )
        connection.execute(
            "INSERT INTO catalog.alert_policy (kind, name, body, valid_from) VALUES (%s, %s, %s, %s)",
            [kind, run.run_id + name, Jsonb(body), valid_from],
        )


@contextmanager
def connected(run: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.names.usage_schema)))
        yield connection


def rows(run: Settings, query: str, *given: Any) -> list[tuple[Any, ...]]:
    with connected(run) as connection:
        return connection.execute(query, given).fetchall()  # type: ignore[arg-type]


def send(run: Settings, *alerts: Alert | bytes, tenant: str = "") -> None:
    with Sender(run.kafka) as sender:
        for alert in alerts:
            whose = tenant or run.run_id
            payload = alert if isinstance(alert, bytes) else to_json(replace(alert, tenant_id=whose)).encode()
            sender.send(run.names.alerts, payload)


def promoted(run: Settings, replayed: Settings, level_ms: int, since_ms: int) -> None:
    """Enter a promoted replay of all tenants that runs on."""
    level, since = (datetime.fromtimestamp(ms / 1_000, UTC) for ms in (level_ms, since_ms))
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(run.names.billing_schema)))
        connection.execute(
            "INSERT INTO replay (replay_id, state, scope_start, events_topic, late_until, starts, target, started_by, "
            "caught_up_at) VALUES ('r', 'promoted', '2020-01-01', 'e', '2020-01-01', '{}', '{}', 'test', %s)",
            [level],
        )
        connection.execute(
            "INSERT INTO replay_decision (replay_id, decision, at, by) VALUES ('r', 'promote', %s, 'test')", [since]
        )
        connection.execute(
            "INSERT INTO overlay (replay_id, usage_schema, scope_start) VALUES ('r', %s, '2020-01-01')",
            [replayed.names.usage_schema],
        )


def run_until(intake: Intake, expected: int) -> list[Batch]:
    """Look until so many records are taken or refused; a poll returns what one fetch brought."""
    found: list[Batch] = []

    def enough() -> bool:
        found.append(intake.run_once(100))
        return sum(batch.outcomes.total() + len(batch.refused) for batch in found) >= expected

    wait_until(enough, timeout_s=60, what=f"{expected} records are taken")
    return found


def take(run: Settings, *alerts: Alert | bytes) -> list[Batch]:
    send(run, *alerts)
    with closing(Intake(run)) as intake:
        return run_until(intake, len(alerts))


def outcomes(batches: list[Batch]) -> dict[str, int]:
    names = {name for batch in batches for name in batch.outcomes}
    return {name: sum(batch.outcomes[name] for batch in batches) for name in sorted(names)}


def reported(run: Settings) -> list[tuple[Any, ...]]:
    """Notifications by due time: status, ids, group key."""
    query = (
        "SELECT body ->> 'status', alert_ids, body ->> 'group_key' FROM notification ORDER BY due_at, notification_id"
    )
    return rows(run, query)


def test_alerts_become_rows_and_notifications_and_suppressed_ones_name_the_rule(run: Settings) -> None:
    window = {"from": "2126-07-01T11:00:00Z", "until": "2126-07-01T12:00:00Z", "tenants": [run.run_id], "reason": "x"}
    put_policy(run, "maintenance", "-upgrade", window)
    put_policy(run, "suppression", "-storage", {"tenants": [run.run_id], "meters": ["storage"], "reason": "x"})
    first, second = an_alert("c1"), an_alert("c2", at_ms=TEN + SECOND)
    suppressed, quiet = an_alert("c3", at_ms=TEN + 3_600 * SECOND), an_alert("c4", meter="storage")
    nobody = replace(an_alert("c5"), tenant_id="nobody")
    batches = take(run, first, second, suppressed, quiet, to_json(nobody).encode())
    assert outcomes(batches) == {"suppressed": 2, "notified": 2, "unrouted": 1}
    assert rows(run, "SELECT alert_id, suppressed_by FROM alert ORDER BY customer_id") == [
        (first.id, None),
        (second.id, None),
        (suppressed.id, f"maintenance {run.run_id}-upgrade@beginning"),
        (quiet.id, f"suppression {run.run_id}-storage@beginning"),
        (nobody.id, None),
    ]
    ((receiver, kind, ids, body),) = rows(run, "SELECT receiver, kind, alert_ids, body FROM notification")
    assert (receiver, kind, sorted(ids)) == (run.run_id, "pagerduty", sorted([first.id, second.id]))
    assert set(body) == {"status", "severity", "group_key", "summary", "digest"}
    assert rows(run, "SELECT sent, digested FROM notification_budget") == [(1, 0)]
    ((kept,),) = rows(run, "SELECT row_to_json(alert) FROM alert WHERE alert_id = %s", first.id)
    assert (kept["value"], kept["threshold"], kept["rule"]) == (5, 4, "customer/c1")
    assert from_event(kept["event"]) == replace(first, tenant_id=run.run_id)
    assert kept["period_end"].startswith("2126-08-01T00:00:00")


def test_a_restart_goes_on_where_the_tables_end_and_an_alert_that_is_sent_again_is_known(run: Settings) -> None:
    take(run, an_alert("c1"), an_alert("c2"))
    before = reported(run)
    assert outcomes(take(run, an_alert("c1"), an_alert("c3", at_ms=TEN + 60 * SECOND))) == {"known": 1, "notified": 1}
    with closing(Intake(run)) as intake:
        assert [intake.run_once(200).outcomes.total() for _ in range(3)] == [0, 0, 0]
    assert reported(run)[: len(before)] == before
    assert rows(run, "SELECT count(*) FROM alert") == [(3,)]
    assert rows(run, "SELECT sum(next_offset)::int FROM alert_intake") == [(4,)]


def test_reading_the_topic_again_into_empty_tables_gives_the_same_notifications(run: Settings) -> None:
    alerts = [
        an_alert(f"c{n}", at_ms=TEN + n * 4 * SECOND, severity="critical" if n == 3 else "warning") for n in range(9)
    ]
    ends = [an_alert(f"c{n}", at_ms=TEN + n * 4 * SECOND + 90_000, status="resolved") for n in range(0, 9, 2)]
    take(run, *alerts, *ends)
    query = "SELECT notification_id, alert_ids, body FROM notification ORDER BY 1"
    before = [(name, sorted(ids), body["group_key"]) for name, ids, body in rows(run, query)]
    with connected(run) as connection:
        connection.execute("TRUNCATE alert, alert_intake, notification, notification_budget")
    with closing(Intake(run)) as intake:
        run_until(intake, len(alerts) + len(ends))
    assert [(name, sorted(ids), body["group_key"]) for name, ids, body in rows(run, query)] == before


def test_alerts_notifications_and_offsets_are_written_together_or_not_at_all(run: Settings) -> None:
    send(run, an_alert("c1"), an_alert("c2", meter="storage"))
    everything = "SELECT (SELECT count(*) FROM alert), (SELECT count(*) FROM notification)"
    with connected(run) as connection, closing(Intake(run)) as intake:
        # Given a database that fails after the alerts are written, at the offsets ...
        connection.execute("ALTER TABLE alert_intake ADD CONSTRAINT broken CHECK (next_offset < 0) NOT VALID")
        with pytest.raises(UnavailableError):
            wait_until(lambda: intake.run_once(100).outcomes.total() > 0, timeout_s=30, what="alerts are read")
        assert rows(run, everything) == [(0, 0)]
        # ... then all of it comes with the next look.
        connection.execute("ALTER TABLE alert_intake DROP CONSTRAINT broken")
        run_until(intake, 2)
    assert rows(run, everything) == [(2, 2)]


def test_limits_of_a_promoted_replay_replace_those_of_its_run(run: Settings) -> None:
    # |---- rebuilding ----|-- level --|==== promoted ====>
    replayed = run.with_changes({"run_id": run.names.replay("r")})
    topics.apply(replayed, ledger=False)
    wait_until(lambda: readable(replayed), timeout_s=60, what="the broker knows the topic of the replay")
    level, since = TEN, TEN + 3_600 * SECOND
    promoted(run, replayed, level, since)
    before, after = (
        an_alert(customer, at_ms=since + moved * SECOND) for customer, moved in (("c1", -300), ("c2", 300))
    )
    other = replace(an_alert("c3", at_ms=since + 300 * SECOND), type="anomaly.spike")
    rebuilt, same = an_alert("c4", at_ms=level - SECOND), an_alert("c5", at_ms=since + 300 * SECOND)
    send(run, before, after, other, same)
    send(replayed, rebuilt, same, replace(other, id="of the replay"), tenant=run.run_id)
    with closing(Intake(run)) as intake:
        batches = run_until(intake, 7)
        # Passed over: the run of the ledger on limits, the replay on anything else, and before it was level.
        assert outcomes(batches) == {"notified": 3, "other_version": 4}
        assert rows(run, "SELECT alert_id FROM alert ORDER BY customer_id") == [(before.id,), (other.id,), (same.id,)]
        with postgres.connect(run.postgres) as connection:
            connection.execute(sql.SQL("DELETE FROM {}.overlay").format(sql.Identifier(run.names.billing_schema)))
        again = an_alert("c6", at_ms=since + 900 * SECOND)
        send(run, again)
        send(replayed, an_alert("c7", at_ms=since + 900 * SECOND), tenant=run.run_id)
        assert outcomes(run_until(intake, 1)) == {"notified": 1}
    assert rows(run, "SELECT count(*) FROM alert") == [(4,)]


def test_the_intake_survives_the_loss_of_its_session_without_a_double(run: Settings) -> None:
    with closing(Intake(run)) as intake:
        send(run, an_alert("c1"))
        run_until(intake, 1)
        assert end_sessions(run, "alerts")
        send(run, an_alert("c2"))
        with pytest.raises(UnavailableError):
            wait_until(lambda: intake.run_once(100).outcomes.total() > 0, timeout_s=30, what="alerts are read")
        assert outcomes(run_until(intake, 1)) == {"notified": 1}
    assert rows(run, "SELECT count(*) FROM alert") == [(2,)]


def test_only_committed_alerts_are_taken(run: Settings) -> None:
    producer = KafkaProducer(bootstrap_servers=run.kafka.servers, transactional_id=f"test-{run.run_id}")
    try:
        producer.init_transactions()
        producer.begin_transaction()
        aborted = to_json(replace(an_alert("aborted"), tenant_id=run.run_id)).encode()
        producer.send(run.names.alerts, aborted).get(30)
        producer.abort_transaction()
        producer.begin_transaction()
        committed = to_json(replace(an_alert("committed"), tenant_id=run.run_id)).encode()
        producer.send(run.names.alerts, committed).get(30)
        producer.commit_transaction()
    finally:
        producer.close()
    with closing(Intake(run)) as intake:
        run_until(intake, 1)
    assert rows(run, "SELECT customer_id FROM alert") == [("committed",)]


def test_a_record_that_is_no_alert_is_passed_over_and_reported(run: Settings) -> None:
    odd = an_alert("c2")
    batches = take(run, b"{", replace(an_alert("c1"), summary="a\0b"), replace(odd, value="many"))
    (refused,) = (one for batch in batches for one in batch.refused)
    assert refused.why.startswith("no alert")
    assert rows(run, "SELECT customer_id, value FROM alert ORDER BY 1") == [("c1", 5), ("c2", None)]


def test_a_notification_whose_sending_was_begun_is_not_joined(run: Settings) -> None:
    # Given two alerts of one group, and the first of them sent ...
    take(run, an_alert("c1"))
    with connected(run) as connection:
        connection.execute("UPDATE notification SET attempts = 1, delivered_at = now()")
    take(run, an_alert("c2"), an_alert("c3"))
    # ... then the other two are one more.
    assert sorted(len(ids) for _, ids, _ in reported(run)) == [1, 2]


def test_a_notification_a_sender_holds_does_not_hold_up_the_intake(run: Settings) -> None:
    take(run, an_alert("c1"))
    with connected(run) as sender, sender.transaction():
        sender.execute("UPDATE notification SET due_at = now()")
        sender.execute("SELECT FROM notification FOR UPDATE")
        with connected(run) as other:
            other.execute("SET lock_timeout = '1s'")
        # The alert of another group is reported while the first is being sent.
        assert outcomes(take(run, an_alert("c2", meter="storage"))) == {"notified": 1}


def test_the_policy_is_the_one_of_the_time_of_the_alert(run: Settings) -> None:
    put_policy(run, "route", "", {"tenants": ["nobody"], "receivers": [run.run_id]}, valid_from="2126-07-01T10:00:30Z")
    before, after = an_alert("c1"), an_alert("c2", at_ms=TEN + 30 * SECOND)
    assert outcomes(take(run, after, before)) == {"notified": 1, "unrouted": 1}
    assert [ids for _, ids, _ in reported(run)] == [[before.id]]


def test_beyond_the_budget_there_is_one_digest_at_the_end_of_the_day(run: Settings) -> None:
    put_policy(run, "receiver", "", PAGER | {"daily_budget": 3}, valid_from="2026-01-01T00:00:00Z")
    alerts = [an_alert(meter=f"m{number}") for number in range(5)]
    take(run, *alerts[:4])
    take(run, alerts[4])
    ((ids, body, due),) = rows(
        run, "SELECT alert_ids, body, due_at FROM notification WHERE (body ->> 'digest')::boolean"
    )
    assert len(ids) == 2
    assert body["summary"] == "2 alerts beyond the budget of 2126-07-01"
    assert due == datetime(2126, 7, 2, tzinfo=UTC)
    assert rows(run, "SELECT count(*) FROM alert WHERE suppressed_by = %s", f"budget of {run.run_id}") == [(2,)]
    assert rows(run, "SELECT sent, digested FROM notification_budget") == [(3, 2)]


def store_usage(run: Settings, customer: str, total: int) -> None:
    """Usage of July by day-part: hours before TEN in two dimensions, and the period."""
    with connected(run) as connection:
        connection.execute(
            """
            INSERT INTO usage_hour (tenant_id, customer_id, meter, dims, part, hour_start, n, samples, total, lo, hi)
            SELECT %s, %s, 'api_calls', dims, '', timestamptz '2126-07-01 10:00Z' - h * interval '1 hour', 1, 1,
                   share, 1, 1
            FROM (VALUES ('{"region":"eu"}', 3), ('{"region":"us"}', 1)) AS d (dims, share), generate_series(1, 24) h
            """,
            [run.run_id, customer],
        )
        connection.execute(
            """
            INSERT INTO usage_period (tenant_id, customer_id, meter, dims, part, period_start, period_end, n, samples,
                                      total, lo, hi)
            VALUES (%s, %s, 'api_calls', '', '', '2126-07-01Z', '2126-08-01Z', 1, 1, %s, 1, 1)
            """,
            [run.run_id, customer, total],
        )


def kept(run: Settings, alert: Alert) -> tuple[Any, ...]:
    query = "SELECT severity, impact_severity, event #> '{data,evidence}' FROM alert WHERE alert_id = %s"
    (row,) = rows(run, query, alert.id)
    return row


def test_an_alert_is_enriched_from_the_stored_usage_and_weighed_by_it(run: Settings) -> None:
    store_usage(run, "big", 900)
    store_usage(run, "other", 100)
    earlier = an_alert("big", at_ms=TEN - 3_600 * SECOND, kind="limit.threshold", severity="info")
    take(run, earlier)
    acknowledge(run, earlier.id, by="ann", outcome="ignored", note="known peak")
    alert = replace(an_alert("big", at_ms=TEN + 60_000), value="901")
    take(run, alert)
    severity, impact, evidence = kept(run, alert)
    assert (severity, impact) == ("warning", "critical")
    assert evidence["impact"] == {"usage_share": "0.9001", "severity": "critical"}
    assert evidence["recent_rates"] == {"last_hour": "4", "last_day": "4", "per": "hour"}
    assert evidence["top_dimensions"][0] == {"dims": '{"region":"eu"}', "value": "72"}
    assert evidence["last_similar"]["id"] == earlier.id
    assert (evidence["last_similar"]["outcome"], evidence["last_similar"]["note"]) == ("ignored", "known peak")
    # The figures of the sender stay, and receivers see all of it.
    assert evidence["cap"] == "4"
    ((name, body),) = rows(run, "SELECT notification_id, body FROM notification WHERE %s = ANY(alert_ids)", alert.id)
    assert body["severity"] == "critical"
    with connected(run) as connection:
        (event,) = events_of(connection, name, 1)
    assert event["data"]["evidence"] == evidence


def test_a_declared_weight_raises_and_a_small_share_lowers(run: Settings) -> None:
    store_usage(run, "giant", 10_000_000)
    with postgres.connect(run.postgres) as connection:
        connection.execute(
            "INSERT INTO catalog.customer (tenant_id, customer_id, revenue_weight) VALUES (%s, 'payer', 0.25)",
            [run.run_id],
        )
    payer, tiny = an_alert("payer", mode="soft"), an_alert("tiny", mode="soft")
    denied = an_alert("tiny", severity="critical", cycle="denied")
    take(run, payer, tiny, denied)
    assert [kept(run, one)[1] for one in (payer, tiny, denied)] == ["critical", "info", "warning"]
    assert kept(run, payer)[2]["impact"]["revenue_weight"] == "0.25"


def test_an_alert_without_stored_usage_goes_on_as_sent(run: Settings) -> None:
    alert = replace(an_alert("new", kind="anomaly.customer_spike"), period_ms=None)
    take(run, alert)
    assert kept(run, alert) == ("warning", "warning", dict(alert.evidence))


def test_a_slow_database_costs_the_evidence_and_not_the_alert(run: Settings) -> None:
    store_usage(run, "big", 900)
    with connected(run) as connection, connection.transaction():
        connection.execute("LOCK TABLE usage_hour, usage_period IN ACCESS EXCLUSIVE MODE")
        alert = an_alert("big")
        assert outcomes(take(run, alert)) == {"notified": 1}
        severity, impact, evidence = kept(run, alert)
    assert severity == impact
    assert "recent_rates" not in evidence


def test_current_conditions_are_those_that_neither_ended_nor_ran_out(run: Settings) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1_000)
    hour = 3_600 * SECOND
    running = an_alert("running", at_ms=now_ms - hour, period_ms=(now_ms - hour, now_ms + hour))
    over = an_alert("over", at_ms=now_ms - hour, period_ms=(now_ms - 2 * hour, now_ms - hour))
    ended = an_alert("ended", at_ms=now_ms - hour, period_ms=None)
    end = an_alert("ended", at_ms=now_ms - hour, status="resolved", period_ms=None)
    open_ended = an_alert("open", at_ms=now_ms - hour, period_ms=None)
    take(run, running, over, ended, end, open_ended)
    assert rows(run, "SELECT customer_id FROM alert_current ORDER BY 1") == [("open",), ("running",)]


def test_acknowledgements_are_stored_and_counted_per_rule(run: Settings) -> None:
    put_policy(run, "suppression", "-storage", {"tenants": [run.run_id], "meters": ["storage"], "reason": "x"})
    alerts = [an_alert(f"c{number}") for number in range(4)]
    quiet = an_alert("c5", meter="storage")
    end = an_alert("c1", at_ms=TEN + 60 * SECOND, status="resolved")
    take(run, *alerts, quiet, end)
    first = acknowledge(run, alerts[0].id, by="ann")
    assert (first[0].acknowledged_by, first[0].outcome) == ("ann", None)
    # By fingerprint; by the id of the end; and a second opinion, which keeps who was first.
    acknowledge(run, alerts[2].fingerprint, by="ben", outcome="ignored")
    acknowledge(run, end.id, by="ann", outcome="acted", note="cap raised")
    (again,) = acknowledge(run, alerts[0].id, by="cleo", outcome="acted")
    assert (again.acknowledged_by, again.outcome, again.outcome_by) == ("ann", "acted", "cleo")
    (figures,) = stats(run)
    assert (figures.type, figures.rule, figures.fired, figures.suppressed) == ("limit.exceeded", "customer/c1", 5, 1)
    assert (figures.acknowledged, figures.acted, figures.ignored, str(figures.action_ratio)) == (3, 2, 1, "0.5000")
    view = rows(
        run, "SELECT type, rule, fired, suppressed, acknowledged, acted, ignored, action_ratio FROM alert_rule_stats"
    )
    assert view == [tuple(getattr(figures, name) for name in figures.__slots__)]
    with pytest.raises(UsageError, match="no alert with id"):
        acknowledge(run, "nothing", by="ann")


def test_a_second_intake_of_the_run_is_refused(run: Settings) -> None:
    with closing(Intake(run)) as first, closing(Intake(run)) as second:
        first.run_once(0)
        with pytest.raises(StandbyError, match="another `alerts`"):
            second.run_once(0)
        first.close()
        second.run_once(0)


def environment(run: Settings) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "160", **run.environment()}


def call(run: Settings, *arguments: str) -> str:
    command = [sys.executable, "-c", COMMAND, "alerts", *arguments]
    return subprocess.run(command, env=environment(run), check=True, capture_output=True, text=True).stdout


def test_the_running_intake_takes_what_comes_and_ends_cleanly_on_sigterm(run: Settings, tmp_path: Path) -> None:
    log = tmp_path / "alerts.log"
    command = [sys.executable, "-c", COMMAND, "serve", "--roles", "alerts"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environment(run), stderr=stderr)
        try:
            send(run, an_alert("c1"))
            wait_until(
                lambda: rows(run, "SELECT count(*) FROM alert") == [(1,)], timeout_s=60, what="the first is taken"
            )
            assert end_sessions(run, "alerts")
            send(run, an_alert("c2"))
            wait_until(
                lambda: rows(run, "SELECT count(*) FROM alert") == [(2,)], timeout_s=60, what="the second is taken"
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    events = [line["event"] for line in role_lines(log)]
    assert events == ["started", "taken", "failed", "taken", "stopping", "stopped"]


def test_the_commands_print_what_the_topic_and_the_tables_hold(run: Settings, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(f"tenants: {{{run.run_id}: {{}}}}")
    catalog_tool.apply(run, catalog)
    alerts = [an_alert(f"c{number}", at_ms=TEN + number) for number in range(3)]
    take(run, *alerts, an_alert("c1", kind="limit.threshold"))
    lines = call(run, "tail", "--type", "limit.ex*", "--tenant", run.run_id, "--limit", "2", "--json").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [alerts[1].id, alerts[2].id]
    assert len(call(run, "tail", "--from-beginning").splitlines()) == 4
    with pytest.raises(subprocess.CalledProcessError) as refused:
        call(run, "tail", "--tenant", "nobody", "--from-beginning")
    assert refused.value.returncode == UsageError.exit_code
    (answer,) = json.loads(call(run, "ack", alerts[0].id, "--acted", "--by", "ann", "--note", "cap raised", "--json"))
    assert (answer["acknowledged_by"], answer["outcome"], answer["note"]) == ("ann", "acted", "cap raised")
    found = {one["type"]: one for one in json.loads(call(run, "stats", "--json"))}
    assert (found["limit.exceeded"]["fired"], found["limit.exceeded"]["action_ratio"]) == (3, "0.3333")
    assert "limit.threshold" in call(run, "stats")


def test_tail_follows_what_comes_after_it(run: Settings) -> None:
    send(run, an_alert("c1"))
    command = [sys.executable, "-c", COMMAND, "alerts", "tail", "-f", "--json"]
    with subprocess.Popen(command, env=environment(run), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["id"] == an_alert("c1").id
            send(run, an_alert("c2"))
            assert json.loads(process.stdout.readline())["id"] == an_alert("c2").id
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_missing_tables_are_reported_with_the_command_that_makes_them(run: Settings) -> None:
    with (
        closing(Intake(run.with_changes({"run_id": "nothere"}))) as intake,
        pytest.raises(TidemarkError, match="migrate"),
    ):
        intake.run_once(0)


def test_an_incident_is_resolved_when_its_billing_period_has_ended_and_once(run: Settings) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * SECOND)
    over, running = (now_ms - 3_600 * SECOND, now_ms - SECOND), (now_ms - 3_600 * SECOND, now_ms + 3_600 * SECOND)
    at_ms = now_ms - 60 * SECOND
    seconds = [0.0]
    send(run, *(an_alert(name, at_ms=at_ms, period_ms=period) for name, period in (("c1", over), ("c2", running))))
    with closing(Intake(run, clock=lambda: seconds[0])) as intake:
        run_until(intake, 2)
        assert rows(run, "SELECT count(*) FROM alert WHERE status = 'resolved'") == [(0,)]
        seconds[0] += PERIODS_S
        assert intake.run_once(0).outcomes == {"period_ended": 1}
        seconds[0] += PERIODS_S
        assert intake.run_once(0).outcomes == {}
    ended = "SELECT customer_id, type, status, at = period_end FROM alert WHERE status = 'resolved'"
    assert rows(run, ended) == [("c1", "limit.resolved", "resolved", True)]
    resolved = "SELECT kind, body ->> 'group_key' FROM notification WHERE body ->> 'status' = 'resolved'"
    ((kind, key),) = rows(run, resolved)
    assert kind == "pagerduty"
    # The other customer of the group is over its cap still.
    assert key.endswith("|partly")
