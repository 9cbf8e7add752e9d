"""Automated responses on real services: suspended and served again, each once, whatever is lost or comes twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from psycopg import sql
from psycopg.types.json import Jsonb

from jobs.flink.rest import wait_until
from tests.integration.alerts.test_alerting import promoted
from tests.integration.storage import OwnRedis, own_run
from tidemark.core import postgres, topics
from tidemark.core.errors import StandbyError, UnavailableError, UsageError
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings, WebhookResponse
from tidemark.responses.flags import Flags
from tidemark.responses.handler import Handler
from tidemark.responses.suspend import Suspend
from tidemark.responses.webhook import Notify
from tidemark.responses.worker import PollResult, Responder
from tidemark.serve.roles import services_of
from tidemark_client.keys import suspension_key
from udfs.alerts.event import Alert, fingerprint, to_json

COMMAND = "from tidemark.cli.main import main; main()"
HOUR_MS = 3_600_000
NOW_MS = int(time.time() * 1_000)
PERIOD = (NOW_MS - 240 * HOUR_MS, NOW_MS + 240 * HOUR_MS)


def exceeded(customer: str = "c-1", meter: str = "calls", **change: Any) -> Alert:
    alert = Alert(
        type="limit.exceeded", status="firing", severity="critical", summary=f"{customer} reached its limit.",
        suggested_action="Raise it.", runbook="docs/alerts.md#limit-exceeded", at_ms=NOW_MS - HOUR_MS,
        source="tidemark/meter", fingerprint=fingerprint("acme", customer, meter), id=f"{customer}/{meter}/firing",
        tenant_id="acme", customer_id=customer, meter=meter, value="101", threshold="100", period_ms=PERIOD,
        rule="customer", rule_version="1", evidence={"cap": "100", "mode": "hard", "share": "1.01"},
    )  # fmt: skip
    return replace(alert, **change)


def resolved(alert: Alert) -> Alert:
    name = alert.id.replace("firing", "resolved")
    return replace(alert, type="limit.resolved", status="resolved", severity="info", id=name, at_ms=alert.at_ms + 1_000)


@pytest.fixture
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}"})
        topics.apply(made)
        yield made


def produce(run: Settings, *alerts: Alert | bytes) -> None:
    with Sender(run.kafka) as sender:
        for alert in alerts:
            value = alert if isinstance(alert, bytes) else to_json(alert).encode()
            sender.send(run.names.alerts, value, key=b"acme")


@contextmanager
def suspending(run: Settings) -> Iterator[Responder]:
    """A responder that has just been started."""
    with closing(Flags(run.redis, run.names)) as flags, closing(Responder(run, Suspend(flags))) as responder:
        yield responder


def answer(responder: Responder, count: int) -> None:
    """Look until so many responses were begun and undone, then settle."""
    done = 0

    def looked() -> bool:
        nonlocal done
        result = responder.run_once(200)
        done += result.begun + result.undone + result.refused
        return done >= count

    wait_until(looked, timeout_s=60, what=f"{count} responses", every_s=0.0)
    assert done == count
    responder.sync()


def read_all(responder: Responder) -> None:
    """Run until the topic has nothing more; the first pass only finds its offsets."""
    for _ in range(3):
        responder.run_once(300)


def answered(run: Settings, count: int) -> None:
    with suspending(run) as responder:
        answer(responder, count)


def client(run: Settings) -> redis.Redis:
    password = run.redis.secret
    return redis.Redis.from_url(run.redis.url, password=password, decode_responses=True)


def flag(run: Settings, customer: str = "c-1") -> dict[str, str]:
    with closing(client(run)) as server:
        return server.hgetall(suspension_key(run.names.redis_prefix, "acme", customer))


def query(run: Settings, text: Any, given: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.names.usage_schema)))
        cursor = connection.execute(text, given or None)
        return cursor.fetchall() if cursor.description else []


def suspensions(run: Settings) -> list[tuple[str, str | None]]:
    return query(run, "SELECT customer_id, lifted_by FROM suspension ORDER BY since, customer_id, source_fingerprint")


def test_limits_of_a_promoted_replay_suspend_and_those_of_its_run_no_longer(run: Settings) -> None:
    # |--- rebuilding ---|-- caught up --|==== promoted ====>
    caught_up, since = NOW_MS - 3 * HOUR_MS, NOW_MS - 2 * HOUR_MS
    replayed = run.with_changes({"run_id": run.names.replay("r")})
    topics.apply(replayed, ledger=False)
    produce(run, exceeded("before", at_ms=since - HOUR_MS // 2), exceeded("passed over", at_ms=since + HOUR_MS))
    produce(replayed, exceeded("rebuilt", at_ms=caught_up - 1_000), exceeded("promoted", at_ms=since + HOUR_MS))
    promoted(run, replayed, caught_up, since)
    with suspending(run) as responder:
        answer(responder, 2)
        assert sorted(customer for customer, _ in suspensions(run)) == ["before", "promoted"]
        # It reads on in both topics; after a restart each is known.
        produce(replayed, resolved(exceeded("promoted", at_ms=since + HOUR_MS)))
        answer(responder, 1)
    with suspending(run) as responder:
        read_all(responder)
    assert sorted(suspensions(run)) == [("before", None), ("promoted", "limit.resolved")]


def test_a_customer_at_a_hard_limit_is_suspended_to_the_end_of_the_period(run: Settings) -> None:
    produce(run, exceeded())
    answered(run, 1)
    assert flag(run) == {
        "reason": "calls reached its limit of 100",
        "by": "tidemark/suspend",
        "at": str(NOW_MS - HOUR_MS),
        "until": str(PERIOD[1]),
    }
    with closing(client(run)) as server:
        key = suspension_key(run.names.redis_prefix, "acme", "c-1")
        assert key == f"{run.names.redis_prefix}{{acme/c-1}}::suspended"
        assert server.pexpiretime(key) == PERIOD[1]
    assert suspensions(run) == [("c-1", None)]


def test_the_end_of_the_condition_lifts_it_once(run: Settings) -> None:
    produce(run, exceeded(), resolved(exceeded()), resolved(exceeded()))
    answered(run, 2)
    assert flag(run) == {}
    assert suspensions(run) == [("c-1", "limit.resolved")]


def test_an_alert_that_is_sent_again_suspends_no_second_time(run: Settings) -> None:
    produce(run, exceeded(), exceeded(), exceeded(id="another id", at_ms=NOW_MS - HOUR_MS + 5))
    answered(run, 1)
    assert suspensions(run) == [("c-1", None)]
    produce(run, resolved(exceeded(at_ms=NOW_MS - HOUR_MS + 500)))
    answered(run, 1)
    produce(run, exceeded())
    with suspending(run) as responder:
        read_all(responder)
    assert flag(run) == {}
    assert suspensions(run) == [("c-1", "limit.resolved")]


def test_the_flag_stays_as_long_as_another_suspension_of_the_customer_is_open(run: Settings) -> None:
    other = exceeded(meter="tokens", at_ms=NOW_MS - HOUR_MS + 1)
    produce(run, exceeded(), other)
    answered(run, 2)
    produce(run, resolved(exceeded()))
    answered(run, 1)
    assert flag(run)["reason"] == "tokens reached its limit of 100"
    produce(run, resolved(other))
    answered(run, 1)
    assert flag(run) == {}


def test_only_hard_limits_of_running_periods_suspend(run: Settings) -> None:
    soft = exceeded("soft", evidence={"cap": "100", "mode": "soft", "share": "1"})
    threshold = exceeded("threshold", type="limit.threshold")
    late = exceeded("late", period_ms=(NOW_MS - 9 * HOUR_MS, NOW_MS - 2 * HOUR_MS))
    produce(run, soft, threshold, late, b"no alert", exceeded())
    answered(run, 2)
    assert suspensions(run) == [("c-1", None)]


def test_a_period_that_ended_meanwhile_leaves_no_flag(run: Settings) -> None:
    over = exceeded(at_ms=NOW_MS - 3 * HOUR_MS, period_ms=(NOW_MS - 9 * HOUR_MS, NOW_MS - HOUR_MS))
    produce(run, over)
    answered(run, 1)
    assert flag(run) == {}
    # The same condition in the next period, without the end of the first ever having been reported.
    produce(run, exceeded(id="next"))
    answered(run, 1)
    assert flag(run)["until"] == str(PERIOD[1])


def test_ids_with_separators_are_encoded(run: Settings) -> None:
    produce(run, exceeded("a/b}:c"))
    answered(run, 1)
    with closing(client(run)) as server:
        assert server.exists(f"{run.names.redis_prefix}{{acme/a%2Fb%7D%3Ac}}::suspended") == 1


def test_effect_and_offset_are_stored_together_or_not_at_all(run: Settings) -> None:
    # Given a database that takes the suspension and fails at the offset ...
    with suspending(run) as responder:
        read_all(responder)
    produce(run, exceeded())
    query(
        run,
        """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'gone'; END $$;
           CREATE TRIGGER fail BEFORE INSERT ON response_offset FOR EACH ROW EXECUTE FUNCTION fail();""",
    )
    with suspending(run) as responder, pytest.raises(UnavailableError, match="gone"):
        answer(responder, 1)
    # ... then nothing happened, and the next one answers.
    assert suspensions(run) == []
    assert query(run, "SELECT * FROM response") == []
    query(run, "DROP FUNCTION fail CASCADE")
    answered(run, 1)
    assert flag(run) != {}


def test_a_second_responder_of_a_handler_is_refused(run: Settings) -> None:
    with suspending(run) as first, suspending(run) as second:
        first.run_once(0)
        with pytest.raises(StandbyError, match="another `respond suspend`"):
            second.run_once(0)


def test_flags_are_written_again_after_redis_lost_them_and_wrong_ones_corrected(stack: Any, tmp_path: Path) -> None:
    server = OwnRedis(tmp_path)
    server.start()
    with own_run(stack.settings, server.url) as run:
        topics.apply(run)
        produce(run, exceeded(), exceeded("c-2"))
        with suspending(run) as responder:
            answer(responder, 2)
            assert responder.sync() == 0
            # Given a Redis that is away while one of two is lifted ...
            server.kill()
            produce(run, resolved(exceeded("c-2")))
            wait_until(lambda: responder.run_once(200).undone == 1, timeout_s=60, what="the end", every_s=0.0)
            with pytest.raises(UnavailableError, match="Redis"):
                responder.sync()
            # ... and one that comes back empty, with a flag that should not be there.
            server.start()
            key = suspension_key(run.names.redis_prefix, "acme", "c-2")
            server.client.hset(key, mapping={"reason": "old", "until": ""})
            assert responder.sync() == 2
            assert flag(run)["until"] == str(PERIOD[1])
            assert flag(run, "c-2") == {}
    server.kill()


def environment(run: Settings) -> dict[str, str]:
    given = {
        "TIDEMARK_RUN_ID": run.run_id,
        "TIDEMARK_TOPICS__EVENTS": run.topics.events,
        "TIDEMARK_RESPONSES__CHECK_S": "1",
        "TIDEMARK_RESPONSES__SUSPEND": "true",
    }
    return {**os.environ, **given}


def command(run: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", COMMAND, *words]
    return subprocess.run(call, env=environment(run), check=False, capture_output=True, text=True)


def test_the_running_responder_suspends_heals_and_is_overruled_by_hand(run: Settings, tmp_path: Path) -> None:
    log = tmp_path / "respond.log"
    with log.open("wb") as stderr:
        call = [sys.executable, "-c", COMMAND, "serve", "--roles", "respond"]
        process = subprocess.Popen(call, env=environment(run), stderr=stderr)
        try:
            produce(run, exceeded())
            wait_until(lambda: flag(run) != {}, timeout_s=60, what="the flag")
            with closing(client(run)) as server:
                server.delete(suspension_key(run.names.redis_prefix, "acme", "c-1"))
            wait_until(lambda: flag(run) != {}, timeout_s=60, what="the flag again")
            listed = json.loads(command(run, "respond", "list", "--json").stdout)
            assert [(one["customer_id"], one["is_open"]) for one in listed] == [("c-1", True)]
            done = command(run, "respond", "undo", "acme", "c-1", "--by", "zoë", "--json")
            assert (done.returncode, json.loads(done.stdout)["by"]) == (0, "zoë")
            assert flag(run) == {}
            # The same alert sent again, and the end of what is lifted already, change nothing; another limit does.
            produce(run, exceeded(), resolved(exceeded()), exceeded(meter="tokens"))
            wait_until(lambda: flag(run) != {}, timeout_s=60, what="the flag of the other limit")
            assert flag(run)["reason"] == "tokens reached its limit of 100"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
    assert sorted(suspensions(run), key=str) == [("c-1", "zoë"), ("c-1", None)]
    assert command(run, "respond", "undo", "acme", "c-9").returncode == 2
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert (events[0], events[-1]) == ("started", "stopped")


# --- calling another system -------------------------------------------------------------------------------------------


@pytest.fixture
def billing(run: Settings) -> Iterator[str]:
    name = f"{run.run_id}-billing"
    entry = Jsonb({"kind": "webhook", "url": "http://127.0.0.1:9/", "secret_file": "BILLING_KEY"})
    query(run, "INSERT INTO catalog.alert_policy (kind, name, body) VALUES ('receiver', %s, %s)", [name, entry])
    yield name
    query(run, "DELETE FROM catalog.alert_policy WHERE name = %s", [name])


def reported(run: Settings) -> list[tuple[str, str, list[str]]]:
    found = query(run, "SELECT receiver, body ->> 'status', alert_ids FROM notification ORDER BY created_at")
    assert len({row[0] for row in found}) <= 1
    return [(receiver.partition("-")[2], status, ids) for receiver, status, ids in found]


def calling(receiver: str, **change: Any) -> Handler:
    return Notify("webhook:dunning", receiver, **{"types": ["limit.exceeded"], **change})


def test_another_system_is_notified_of_start_and_end_once(run: Settings, billing: str) -> None:
    produce(run, exceeded("old"))
    with closing(Responder(run, calling(billing))) as responder:
        assert responder.run_once(200) == PollResult(), "what was before its first start is old"
        produce(run, exceeded(), exceeded(), exceeded("t", type="limit.threshold"), resolved(exceeded("old")))
        produce(run, resolved(exceeded()), resolved(exceeded("t")))
        answer(responder, 2)
    with closing(Responder(run, calling(billing))) as responder:
        read_all(responder)
    assert reported(run) == [
        ("billing", "firing", ["c-1/calls/firing"]),
        ("billing", "resolved", ["c-1/calls/resolved"]),
    ]
    keys = query(run, "SELECT DISTINCT body ->> 'group_key' FROM notification")
    assert keys == [(f"webhook:dunning/{exceeded().fingerprint}",)]


def test_nothing_is_passed_over_while_the_receiver_is_not_in_the_policy(run: Settings, billing: str) -> None:
    with closing(Responder(run, calling(billing))) as responder:
        responder.run_once(0)
    query(run, "UPDATE catalog.alert_policy SET name = name || '?' WHERE name = %s", [billing])
    produce(run, exceeded())
    with closing(Responder(run, calling(billing))) as responder, pytest.raises(UsageError, match="alert policy"):
        answer(responder, 1)
    query(run, "UPDATE catalog.alert_policy SET name = %s WHERE name = %s || '?'", [billing, billing])
    with closing(Responder(run, calling(billing))) as responder:
        answer(responder, 1)
    assert reported(run) == [("billing", "firing", ["c-1/calls/firing"])]


def test_a_receiver_that_is_not_in_the_policy_holds_its_response_up(run: Settings) -> None:
    asking = run.with_changes({"responses.webhooks": (WebhookResponse(receiver="nobody"),)})
    (service,) = services_of(asking, ["respond"])["respond"]
    with pytest.raises(UsageError, match="nobody is not in the alert policy"):
        service.make()
