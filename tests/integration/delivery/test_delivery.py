"""Delivery on real Postgres to a real HTTP server: retried, never lost, in the right order, and no secret is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from jobs.flink.rest import wait_until
from tests.integration.receivers import LocalReceiver, Script, delivering, local_receiver
from tests.integration.storage import own_run
from tests.role_log import role_lines
from tests.sessions import end_sessions
from tidemark.core import postgres
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.delivery import signed_webhook, store
from tidemark.delivery.outcome import Dead, Delivered, Retry
from tidemark.delivery.worker import DeliveryWorker, Sent

COMMAND = "from tidemark.cli.main import main; main()"
HOOK_KEY = "s3cret-of-the-hook"
BODIES = Path(__file__).parents[2] / "unit" / "delivery" / "data" / "bodies"


class World:
    """A run, a receiver that listens, and the policy that names it."""

    def __init__(self, run: Settings, receiver: LocalReceiver, secrets: Path) -> None:
        self.run = run
        self.receiver = receiver
        self.secrets = secrets

    def policy(self, name: str, kind: str = "webhook", path: str = "/hook", **body: Any) -> str:
        """Put a receiver into the alert policy; its name is of this run alone, because the catalog is shared."""
        receiver = f"{self.run.run_id}-{name}"
        entry = {"kind": kind, "url": self.receiver.url + path, "secret_file": "hook", **body}
        self.sql(
            """INSERT INTO catalog.alert_policy (kind, name, body) VALUES ('receiver', %s, %s)
               ON CONFLICT (kind, name, valid_from) DO UPDATE SET body = EXCLUDED.body""",
            [receiver, Jsonb(entry)],
        )
        return receiver

    def notify(self, name: str, receiver: str, case: str = "firing", **change: Any) -> None:
        body = json.loads((BODIES / f"{case}.json").read_text()) | change
        ids, sources = zip(*((event["id"], event.get("source", "")) for event in body["alerts"]), strict=True)
        self.sql(
            """INSERT INTO notification (notification_id, receiver, kind, alert_ids, alert_sources, body, due_at)
               VALUES (%s, %s, 'webhook', %s, %s, %s, now())""",
            [name, receiver, [*ids], [*sources], Jsonb(body)],
        )

    def due(self) -> None:
        """Let the pauses of all that waits be over."""
        self.sql("UPDATE notification SET due_at = now() WHERE delivered_at IS NULL AND dead_at IS NULL")

    def row(self, name: str) -> dict[str, Any]:
        columns = "attempts, last_error, delivered_at IS NOT NULL, dead_at IS NOT NULL, due_at"
        row = self.sql(f"SELECT {columns} FROM notification WHERE notification_id = %s", [name])[0]
        return dict(zip(("attempts", "error", "delivered", "dead", "due_at"), row, strict=True))

    def step(self, **change: Any) -> Sent | None:
        with closing(DeliveryWorker(self.run.with_changes(change))) as worker:
            return worker.step()

    def sql(self, query: Any, given: Any = None) -> list[tuple[Any, ...]]:
        with postgres.connect(self.run.postgres) as connection:
            schema = sql.Identifier(self.run.names.usage_schema)
            connection.execute(sql.SQL("SET search_path TO {}, public").format(schema))
            cursor = connection.execute(query, given)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def world(stack: Any, tmp_path: Path) -> Iterator[World]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    with own_run(stack.settings) as run, local_receiver() as receiver:
        made = World(delivering(run, secrets, hook=HOOK_KEY), receiver, secrets)
        try:
            yield made
        finally:
            made.sql("DELETE FROM catalog.alert_policy WHERE starts_with(name, %s)", [f"{run.run_id}-"])


def test_a_webhook_is_sent_signed_once_and_not_again(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    sent = world.step()
    assert sent is not None
    assert (sent.notification_id, sent.attempt, sent.outcome) == ("n-1", 1, Delivered())
    assert world.step() is None
    (request,) = world.receiver.requests
    assert request.path == "/hook"
    signed_webhook.verify(
        HOOK_KEY, request.headers["Tidemark-Signature"], request.body, now_s=int(datetime.now(UTC).timestamp())
    )
    assert json.loads(request.body)["id"] == request.headers["Idempotency-Key"] == "n-1"
    row = world.row("n-1")
    assert (row["attempts"], row["error"], row["delivered"], row["dead"]) == (1, None, True, False)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("pagerduty", "/v2/enqueue", "/v2/enqueue"),
        ("alertmanager", "/am", "/am/api/v2/alerts"),
        ("slack", "/T/B", "/T/B"),
    ],
)
def test_every_kind_is_sent_its_own_format(world: World, kind: str, path: str, expected: str) -> None:
    secret_file = None if kind == "slack" else "hook"
    world.notify("n-1", world.policy("one", kind, path, secret_file=secret_file))
    sent = world.step()
    assert sent is not None
    assert sent.outcome == Delivered()
    (request,) = world.receiver.requests
    assert request.path == expected
    document = json.loads(request.body)
    assert {
        "pagerduty": lambda: document["routing_key"] == HOOK_KEY and document["event_action"] == "trigger",
        "alertmanager": lambda: request.headers["Authorization"] == f"Bearer {HOOK_KEY}" and len(document) == 1,
        "slack": lambda: document["text"].startswith("[CRITICAL]"),
    }[kind]()


def test_a_failure_of_the_receiver_is_retried_with_the_same_key(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    world.receiver.script = [Script(500, b"try later"), Script(200)]
    first = world.step()
    assert first is not None
    assert isinstance(first.outcome, Retry)
    row = world.row("n-1")
    assert (row["attempts"], row["error"], row["delivered"]) == (1, "answered 500: try later", False)
    assert world.step() is None, "its pause is not over"
    world.due()
    world.step()
    assert world.receiver.keys == ["n-1", "n-1"]
    assert len({json.dumps(json.loads(one.body)) for one in world.receiver.requests}) == 1
    row = world.row("n-1")
    assert (row["attempts"], row["error"], row["delivered"]) == (2, None, True)


def test_a_busy_receiver_is_left_alone_for_its_retry_after(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    world.receiver.script = [Script(429, headers={"Retry-After": "7200"})]
    before = datetime.now(UTC)
    world.step()
    row = world.row("n-1")
    assert row["due_at"] >= before + timedelta(seconds=7_200)
    assert (row["attempts"], row["error"], row["dead"]) == (1, "answered 429", False)


def test_a_refusal_is_dead_at_once_and_shows_no_secret(world: World) -> None:
    world.notify("n-1", world.policy("hook", path=f"/x?token={HOOK_KEY}"))
    world.receiver.script = [Script(400, b"bad key " + HOOK_KEY.encode() + b"\n at line 1")]
    sent = world.step()
    assert sent is not None
    assert isinstance(sent.outcome, Dead)
    assert world.row("n-1")["error"] == "answered 400: bad key *** at line 1"
    assert world.row("n-1")["dead"]
    world.due()
    assert world.step() is None


def test_a_redirect_is_not_followed(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    world.receiver.script = [Script(302, headers={"Location": "/other"})]
    world.step()
    assert len(world.receiver.requests) == 1
    assert (world.row("n-1")["error"], world.row("n-1")["dead"]) == ("answered 302", True)


def test_a_silent_receiver_is_given_up_after_the_time_out_and_tried_again(world: World) -> None:
    released = threading.Event()
    world.notify("n-1", world.policy("hook", path=f"/x?token={HOOK_KEY}"))
    world.receiver.script = [Script(200, after=released)]
    world.step(**{"delivery.timeout_ms": 200})
    assert world.row("n-1")["error"] == f"{world.receiver.url}: no response within 0.2 s"
    released.set()
    world.due()
    world.step()
    assert world.receiver.keys == ["n-1", "n-1"]
    assert world.row("n-1")["delivered"]


def test_nobody_there_is_tried_again_until_the_attempts_are_used_up(world: World) -> None:
    world.notify("n-1", world.policy("hook", url=f"http://127.0.0.1:9/x?token={HOOK_KEY}"))
    for attempt in (1, 2, 3):
        world.due()
        sent = world.step(**{"delivery.attempts": 3})
        assert sent is not None
        assert sent.attempt == attempt
    row = world.row("n-1")
    assert (row["attempts"], row["dead"]) == (3, True)
    assert row["error"] == "given up after 3 attempts: http://127.0.0.1:9: ConnectionError"


def test_a_secret_that_is_not_set_is_named_and_waited_for(world: World) -> None:
    name = world.policy("hook")
    world.notify("n-1", name)
    key = world.secrets / "hook"
    key.rename(world.secrets / "later")
    world.step()
    assert world.row("n-1")["error"] == f"secret_file hook of receiver {name} cannot be read: FileNotFoundError."
    assert world.receiver.requests == []
    (world.secrets / "later").rename(key)
    world.due()
    world.step()
    assert world.row("n-1")["delivered"]


def test_a_receiver_where_nothing_may_go_is_not_connected_to_and_says_which_setting_decides(world: World) -> None:
    world.notify("n-1", world.policy("hook", path=f"/x?token={HOOK_KEY}"))
    for setting in ("allow_local", "allow_http"):
        world.due()
        world.step(**{f"delivery.{setting}": False})
        error = world.row("n-1")["error"]
        assert f"delivery.{setting}" in error
        assert HOOK_KEY not in error
    assert world.receiver.requests == []


def test_while_a_key_changes_requests_are_signed_with_both(world: World) -> None:
    (world.secrets / "hook").write_text(f"n3w-key\n{HOOK_KEY}\n")
    world.notify("n-1", world.policy("hook"))
    world.step()
    (request,) = world.receiver.requests
    for key in ("n3w-key", HOOK_KEY):
        signed_webhook.verify(
            key, request.headers["Tidemark-Signature"], request.body, now_s=int(datetime.now(UTC).timestamp())
        )


def test_a_receiver_that_left_the_policy_is_waited_for(world: World) -> None:
    world.notify("n-1", f"{world.run.run_id}-gone")
    world.step()
    assert "is not in the alert policy" in world.row("n-1")["error"]
    world.policy("gone")
    world.due()
    world.step()
    assert world.row("n-1")["delivered"]


def test_a_body_that_no_mapping_reads_is_dead_and_holds_up_nothing(world: World) -> None:
    name = world.policy("hook")
    world.notify("n-1", name, alerts=[{"id": "x"}], group_key="a")
    world.notify("n-2", name, group_key="b")
    world.step()
    world.step()
    assert world.row("n-1")["dead"]
    assert world.row("n-2")["delivered"]


def refuse_outcomes(world: World) -> None:
    """Let the database refuse to record that anything was sent."""
    world.sql(
        """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'gone'; END $$;
           CREATE TRIGGER fail BEFORE UPDATE ON notification FOR EACH ROW WHEN (NEW.lease IS NULL)
           EXECUTE FUNCTION fail();"""
    )


def end_leases(world: World) -> None:
    """Let the time of all leases be over."""
    world.sql("UPDATE notification SET leased_until = now() WHERE lease IS NOT NULL")


def test_an_outcome_that_could_not_be_recorded_is_recorded_later_and_not_sent_again(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    refuse_outcomes(world)
    with closing(DeliveryWorker(world.run)) as worker:
        with pytest.raises(UnavailableError, match="gone"):
            worker.step()
        world.sql("DROP FUNCTION fail CASCADE")
        worker.step()
    assert world.receiver.keys == ["n-1"]
    assert (world.row("n-1")["delivered"], world.row("n-1")["attempts"]) == (True, 1)


def test_a_crash_between_sending_and_recording_sends_again_with_the_same_key(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    refuse_outcomes(world)
    with pytest.raises(UnavailableError, match="gone"):
        world.step()
    world.sql("DROP FUNCTION fail CASCADE")
    # Its lease has not ended: the worker may still be sending.
    assert world.step() is None
    end_leases(world)
    world.step()
    assert world.receiver.keys == ["n-1", "n-1"]
    assert (world.row("n-1")["delivered"], world.row("n-1")["attempts"]) == (True, 2)


def test_attempts_that_end_with_their_worker_are_counted_and_given_up(world: World) -> None:
    world.notify("n-1", world.policy("hook"))
    refuse_outcomes(world)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="gone"):
            world.step(**{"delivery.attempts": 3})
        end_leases(world)
    world.sql("DROP FUNCTION fail CASCADE")
    world.step(**{"delivery.attempts": 3})
    assert world.receiver.keys == ["n-1"] * 3
    assert world.row("n-1")["dead"]
    assert world.row("n-1")["error"] == "given up after 3 attempts: no outcome was recorded"


def test_nothing_is_locked_while_a_receiver_says_nothing(world: World) -> None:
    released = threading.Event()
    world.notify("n-1", world.policy("hook"))
    world.receiver.script = [Script(200, after=released)]
    sending = threading.Thread(target=world.step)
    sending.start()
    wait_until(lambda: world.receiver.keys == ["n-1"], timeout_s=30, what="the request")
    open_transactions = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'tidemark deliver' AND datname = current_database() AND state <> 'idle'
    """
    assert world.sql(open_transactions)[0][0] == 0
    assert (world.row("n-1")["attempts"], world.row("n-1")["delivered"]) == (1, False)
    released.set()
    sending.join(30)
    assert world.row("n-1")["delivered"]


def test_a_worker_whose_lease_has_ended_records_nothing(world: World) -> None:
    released = threading.Event()
    world.notify("n-1", world.policy("hook"))
    world.receiver.script = [Script(500, after=released)]
    late: list[Sent | None] = []
    sending = threading.Thread(target=lambda: late.append(world.step()))
    sending.start()
    wait_until(lambda: world.receiver.keys == ["n-1"], timeout_s=30, what="the request")
    end_leases(world)
    world.step()
    released.set()
    sending.join(30)
    assert late[0] is not None
    assert not late[0].recorded
    assert (world.row("n-1")["delivered"], world.row("n-1")["error"]) == (True, None)


def test_the_end_waits_for_the_beginning_of_its_group(world: World) -> None:
    # firing  |--500--------------- 200
    # ended        |   (waits)          200
    # other        200
    name = world.policy("hook")
    world.notify("begun", name, "firing")
    world.notify("ended", name, "resolved")
    world.notify("other", name, "group")
    world.receiver.script = [Script(500)]
    while world.step() is not None:
        pass
    assert world.receiver.keys == ["begun", "other"]
    world.due()
    while world.step() is not None:
        pass
    assert world.receiver.keys == ["begun", "other", "begun", "ended"]


def test_an_end_is_sent_when_its_start_was_given_up(world: World) -> None:
    name = world.policy("hook")
    world.notify("begun", name, "firing")
    world.notify("ended", name, "resolved")
    world.receiver.script = [Script(400)]
    while world.step() is not None:
        pass
    assert world.receiver.keys == ["begun", "ended"]


def test_a_slow_receiver_delays_no_other_and_gets_one_notification_at_a_time(world: World) -> None:
    released = threading.Event()
    slow, quick = world.policy("slow"), world.policy("quick", path="/quick")
    world.notify("slow-1", slow, group_key="a")
    world.notify("slow-2", slow, group_key="b")
    world.notify("quick-1", quick)
    world.receiver.script = [Script(200, after=released)]
    first = threading.Thread(target=world.step)
    first.start()
    wait_until(lambda: world.receiver.keys == ["slow-1"], timeout_s=30, what="the slow request")
    second = world.step()
    assert second is not None
    assert second.notification_id == "quick-1"
    assert world.step() is None
    released.set()
    first.join(30)
    third = world.step()
    assert third is not None
    assert third.notification_id == "slow-2"


def test_a_receiver_whose_notifications_wait_is_not_kept_from_others(world: World) -> None:
    # Given a delivery worker that passed over a receiver whose end waits for its beginning, and waits for another ...
    released = threading.Event()
    waiting, slow = world.policy("waiting"), world.policy("slow")
    world.notify("begun", waiting, "firing")
    world.receiver.script = [Script(500), Script(200, after=released)]
    world.step()
    world.notify("ended", waiting, "resolved")
    world.notify("slow-1", slow)
    first = threading.Thread(target=world.step)
    first.start()
    wait_until(lambda: world.receiver.keys == ["begun", "slow-1"], timeout_s=30, what="the slow request")
    # ... when the beginning is due again, then another worker sends it.
    world.sql("UPDATE notification SET due_at = now() WHERE notification_id = 'begun'")
    assert world.step() is not None
    assert world.row("begun")["delivered"]
    released.set()
    first.join(30)


def test_many_couriers_send_each_notification_once(world: World) -> None:
    names = [world.policy(f"r{number}") for number in range(4)]
    for number in range(40):
        world.notify(f"n-{number}", names[number % 4], group_key=f"g{number:02}")

    def drain() -> None:
        with closing(DeliveryWorker(world.run)) as worker:
            while world.sql("SELECT count(*) FROM notification WHERE delivered_at IS NULL")[0][0]:
                worker.step()

    threads = [threading.Thread(target=drain, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(world.receiver.keys) == sorted(f"n-{number}" for number in range(40))


def environment(run: Settings) -> dict[str, str]:
    delivery = {name: value for name, value in run.environment().items() if name.startswith("TIDEMARK_DELIVERY__")}
    given = {"TIDEMARK_RUN_ID": run.run_id, "TIDEMARK_DELIVERY__TIMEOUT_MS": "2000"}
    return {**os.environ, **delivery, **given}


def command(run: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", COMMAND, *words]
    return subprocess.run(call, env=environment(run), check=False, capture_output=True, text=True)


def test_dead_letters_are_listed_and_retried_by_hand(world: World) -> None:
    name = world.policy("hook")
    world.notify("n-1", name)
    world.receiver.script = [Script(404)]
    world.step()
    listed = json.loads(command(world.run, "deliver", "dead", "list", "--receiver", name, "--json").stdout)
    assert [(one["notification_id"], one["last_error"]) for one in listed] == [("n-1", "answered 404")]
    refused = command(world.run, "deliver", "dead", "retry", "n-1", "n-2")
    assert (refused.returncode, "id n-2" in refused.stderr) == (2, True)
    world.step()
    assert world.row("n-1") | {"due_at": None} == {
        "attempts": 1, "error": None, "delivered": True, "dead": False, "due_at": None,
    }  # fmt: skip
    with postgres.connect(world.run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(world.run.names.usage_schema)))
        assert store.revive(connection, "", ["n-1"]) == [], "what was delivered is not sent again"


def test_the_running_worker_delivers_and_ends_cleanly_on_sigterm(world: World, tmp_path: Path) -> None:
    world.notify("n-1", world.policy("hook"))
    log = tmp_path / "deliver.log"
    with log.open("wb") as stderr:
        call = [sys.executable, "-c", COMMAND, "serve", "--roles", "deliver"]
        process = subprocess.Popen(call, env=environment(world.run), stderr=stderr)
        try:
            wait_until(lambda: world.row("n-1")["delivered"], timeout_s=60, what="delivery")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
    events = [line["event"] for line in role_lines(log)]
    assert events == ["started", "delivered", "stopping", "stopped"]
    assert HOOK_KEY not in log.read_text()


def test_a_delivery_worker_survives_a_database_session_that_is_dropped(world: World) -> None:
    with closing(DeliveryWorker(world.run)) as worker:
        assert worker.step() is None
        world.notify("n-1", world.policy("hook"))
        assert end_sessions(world.run, "deliver")
        with pytest.raises(UnavailableError, match="Postgres"):
            worker.step()
        worker.step()
    assert world.row("n-1")["delivered"]
