"""All roles behind toxiproxy, on a broker of their own, with both jobs: what happens in a case, and what must follow.

A case is one simulated day of usage of a tenant of its own, and alerts of that tenant. Whatever fails meanwhile, in the
end its counters are the oracle's, its day is closed once, each alert was sent to the receiver, and so on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
import requests

from tests.addresses import port_of, postgres_by, redis_at, redis_by
from tests.conftest import STATE_DIR
from tests.integration.alerts.test_alerting import put_policy, rows
from tests.integration.own_kafka import ProxiedKafka
from tests.integration.receivers import LocalReceiver, delivering, local_receiver
from tests.integration.responses.test_responses import exceeded
from tests.integration.serve.test_serve import Serving, serving
from tests.integration.storage import OwnRedis
from tests.ledger_lines import ask, closed_lines, oracle_lines, read_ledger
from tests.pipeline import Pipeline, pipeline
from tests.ports import free_port
from tests.streams import StreamRecord
from tests.toxics import Proxy, toxics
from tidemark.alerts.topic import read
from tidemark.core.kafka import Sender, dump, end_offsets
from tidemark.core.settings import Settings
from tidemark.oracle.compare import compare_postgres, compare_redis
from tidemark_client.keys import suspension_key
from udfs.alerts.event import Alert, to_json

ROLES = ("live", "quotas", "alerts", "deliver", "respond", "close", "reconcile", "archive", "retention", "health")
HOOK_KEY = "s3cret-of-the-hook"
CASES = 200
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CLOCK = "clock"
# Load beside the cases, of a game day.
BULK = "bulk"
# Measurements of a case, in one hour; above the quota, as those of the clock are not.
EVENTS, QUOTA = 24, 30
ALERTS = 3
CHANGES: dict[str, Any] = {
    "events.grace_s": 3_600, "alerts.group_wait_s": 1, "quotas.interval_s": 1, "live.refresh_s": 1,
    "quotas.tenant_measurements_per_hour": QUOTA, "close.interval_s": 2, "close.settle_s": 1, "reconcile.interval_s": 3,
    "reconcile.checks": ("offsets", "grains", "live"), "archive.interval_s": 2, "retention.interval_s": 2,
    "retention.dlq_days": 3_650, "health.interval_s": 1, "health.role_failing_s": 5, "responses.suspend": True,
    "responses.check_s": 1, "delivery.threads": 2, "delivery.timeout_ms": 2_000, "redis.timeout_ms": 5_000,
    "health.max_lag_s": 10**9,
}  # fmt: skip


def tenant_of(case: int) -> str:
    return f"t{case:03}"


def catalog() -> dict[str, Any]:
    tenant = {"calendar": "days", "customers": {"a": None, "b": None}}
    return {
        "calendars": {"days": {"anchor": "2024-01-01T00:00:00", "interval": "P1D", "timezone": "Etc/UTC"}},
        "tenants": dict.fromkeys((CLOCK, BULK, *map(tenant_of, range(CASES))), tenant),
        "meters": {
            "calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"},
            "bytes": {"event_types": ["call"], "aggregation": "sum", "unit": "B"},
        },
    }


def usage(tenant: str, customer: str, name: str, at: datetime, partition: int) -> StreamRecord:
    body = {
        "event_id": name, "tenant_id": tenant, "customer_id": customer, "event_type": "call",
        "timestamp": at.isoformat(), "quantity": 3,
    }  # fmt: skip
    return StreamRecord(partition, int(at.timestamp() * 1_000), name.encode(), json.dumps(body).encode())


@dataclass(frozen=True)
class Case:
    """One day, and the alerts of it."""

    number: int

    @property
    def tenant(self) -> str:
        return tenant_of(self.number)

    @property
    def day(self) -> datetime:
        return BEGIN + self.number * DAY

    def records(self, partitions: int) -> list[StreamRecord]:
        """Usage at noon, and what moves the arrival watermark past the end of the day and grace."""
        noon, after = self.day + DAY / 2, self.day + 1.25 * DAY
        mine = [
            usage(self.tenant, "ab"[one % 2], f"{self.tenant}/{one}", noon + timedelta(seconds=one), one % partitions)
            for one in range(EVENTS)
        ]
        return mine + [usage(CLOCK, "a", f"{CLOCK}/{self.day}/{part}", after, part) for part in range(partitions)]

    def alerts(self) -> list[Alert]:
        """The first one suspends its customer."""
        now_ms = int(time.time() * 1_000)
        made = [exceeded(f"c{one}", tenant_id=self.tenant, at_ms=now_ms) for one in range(ALERTS)]
        return [
            replace(
                alert, id=f"{self.tenant}/{one}", fingerprint=f"{self.tenant}/{one}",
                evidence={**alert.evidence, "mode": "soft" if one else "hard"},
            )
            for one, alert in enumerate(made)
        ]  # fmt: skip


@dataclass
class World:
    """Everything behind its proxies; `run` reaches all directly, `proxied` as the roles do."""

    made: Pipeline
    proxied: Settings
    proxies: dict[str, Proxy]
    receiver: LocalReceiver
    folder: Path
    cases: list[Case] = field(default_factory=list)
    started: int = 0

    @property
    def run(self) -> Settings:
        return self.made.settings

    def case(self) -> Case:
        """Another case, that nothing was sent of."""
        self.cases.append(Case(len(self.cases)))
        return self.cases[-1]

    def send(self, case: Case) -> None:
        """Send all of a case."""
        self.made.send(case.records(len(end_offsets(self.run.kafka, self.run.topics.events))))
        with Sender(self.run.kafka) as sender:
            for alert in case.alerts():
                sender.send(self.run.names.alerts, to_json(alert).encode())

    @contextmanager
    def serving(self, roles: str = ",".join(ROLES)) -> Iterator[Serve]:
        """A process of these roles behind the proxies."""
        self.started += 1
        with serving(self.proxied, roles, self.folder / f"serve-{self.started}.log") as served:
            yield Serve(served)

    def missing(self, case: Case, *, under_load: bool = False) -> str:
        """What of a case is not done yet, the first; raises AssertionError for what was done twice.

        Under load something is always under way: then what is compared as a whole is left out.
        """
        checks: dict[str, Callable[[], bool]] = {
            "a close": lambda: self._closed(case), "a notification": lambda: self._notified(case),
            "a suspension": lambda: self._suspended(case), "an alarm": lambda: self._alarmed(case),
        }  # fmt: skip
        if not under_load:
            checks |= {"archived records": self._archived, "a counter": self._counters}
        return next((name for name, is_done in checks.items() if not is_done()), "")

    def wait_done(self, case: Case, timeout_s: float) -> None:
        """Wait until nothing of a case is missing."""
        deadline = time.monotonic() + timeout_s
        while missing := self.missing(case):
            assert time.monotonic() < deadline, f"{missing} of {case.tenant} was not there after {timeout_s:.0f} s"
            time.sleep(0.5)

    def assert_exact(self) -> None:
        """Rollups, counters and closed periods are the oracle's; the ledger's topics say the same, each entry once."""
        with self.made.oracle() as oracle:
            assert compare_postgres(oracle, self.run) == []
            assert compare_redis(oracle, self.run) == []
            assert closed_lines(self.run) == oracle_lines(oracle, self.run)
        closes = [json.loads(record.value or b"") for record in dump(self.run.kafka, self.run.names.closes)]
        keys = [(one["tenant_id"], one["customer_id"], one["period_start"], one["period_end"]) for one in closes]
        assert len(keys) == len(set(keys)) == ask(self.run, "SELECT count(*) FROM {billing}.period_close")[0][0]
        assert len(read_ledger(self.run).entries) == len(keys)
        assert ask(self.run, "SELECT count(*) FROM {billing}.correction") == [(0,)]

    def open_drift(self) -> list[Any]:
        return ask(self.run, "SELECT check_name, subject FROM {billing}.drift_open")

    def unanswered(self, case: Case) -> list[str]:
        """Errors that notifications of the case have been refused with."""
        query = "SELECT last_error FROM notification WHERE alert_ids::text LIKE %s AND last_error IS NOT NULL"
        return [error for (error,) in rows(self.run, query, f"%{case.tenant}/%")]

    def _closed(self, case: Case) -> bool:
        # The days after it are closed too, as time goes on.
        query = f"""
        SELECT customer_id FROM {{billing}}.period_close
        WHERE tenant_id = '{case.tenant}' AND period_start = '{case.day.isoformat()}' ORDER BY 1"""
        return ask(self.run, query) == [("a",), ("b",)]

    def _notified(self, case: Case) -> bool:
        columns = "notification_id, delivered_at IS NOT NULL, alert_ids"
        query = f"SELECT {columns} FROM notification WHERE alert_ids::text LIKE %s"
        found = rows(self.run, query, f"%{case.tenant}/%")
        ids = sorted(one for _, _, alert_ids in found for one in alert_ids)
        assert len(ids) == len(set(ids)), f"an alert is in two notifications: {ids}"
        got = {request.headers["Idempotency-Key"] for request in self.receiver.requests}
        return len(ids) == ALERTS and all(delivered and name in got for name, delivered, _ in found)

    def _suspended(self, case: Case) -> bool:
        who = rows(self.run, "SELECT customer_id FROM suspension WHERE tenant_id = %s", case.tenant)
        assert len(who) <= 1
        with closing(redis.Redis.from_url(self.run.redis.url, decode_responses=True)) as server:
            return bool(who) and bool(server.exists(suspension_key(self.run.names.redis_prefix, case.tenant, "c0")))

    def _alarmed(self, case: Case) -> bool:
        alerts = [read(record.value or b"") for record in dump(self.run.kafka, self.run.names.alerts)]
        mine = [one for one in alerts if one.tenant_id == case.tenant and one.type == "pipeline.tenant_volume"]
        assert len({one.id for one in mine if one.status == "firing"}) <= 1, "two alarms of one hour"
        return bool(mine)

    def _archived(self) -> bool:
        query = "SELECT partition, sum(last_offset - first_offset + 1) FROM {billing}.archive_file WHERE topic = "
        done = dict(ask(self.run, f"{query}'{self.run.topics.events}' GROUP BY partition"))
        return done == {part: end for part, end in end_offsets(self.run.kafka, self.run.topics.events).items() if end}

    def _counters(self) -> bool:
        with self.made.oracle() as oracle:
            return compare_postgres(oracle, self.run) == [] and compare_redis(oracle, self.run) == []


@dataclass
class Serve:
    """A process of `tidemark serve`, asked over its endpoint."""

    served: Serving
    url: str = ""

    def readyz(self) -> dict[str, Any]:
        """State and reason by role; empty until it listens."""
        lines = self.served.lines("listening", "serve")
        if not lines:
            return {}
        roles: dict[str, Any] = requests.get(f"http://{lines[0]['address']}/readyz", timeout=10).json()["roles"]
        return roles

    def runs(self) -> dict[str, float]:
        """Steps that succeeded by role: of its service that has taken fewest."""
        address = self.served.lines("listening", "serve")[0]["address"]
        found: dict[str, float] = {}
        for line in requests.get(f"http://{address}/metrics", timeout=10).text.splitlines():
            if line.startswith("tidemark_service_runs_total{"):
                role, value = line.split('role="')[1].split('"')[0], float(line.rsplit(" ", 1)[1])
                found[role] = min(value, found.get(role, value))
        return found

    @property
    def is_alive(self) -> bool:
        return self.served.process.poll() is None


@contextmanager
def world(stack: Any, run_id: str, folder: Path) -> Iterator[World]:
    """Kafka and Redis of its own, Postgres and Flink of the stack, proxies before all, both jobs at work.

    Another world of one session has another run id: the checkpoints of the first one are of a broker that is gone.
    """
    with ExitStack() as stack_of:
        proxies = stack_of.enter_context(toxics())
        own_redis = OwnRedis(folder)
        stack_of.callback(own_redis.kill)
        own_redis.start()
        kafka_folder = folder / "kafka"
        kafka_folder.mkdir()
        kafka = ProxiedKafka(kafka_folder, free_port())
        stack_of.callback(kafka.stop)
        kafka.start()
        receiver = stack_of.enter_context(local_receiver())
        ways = {
            "kafka": proxies.proxy("kafka", kafka.behind, port_of(kafka.proxied)),
            "redis": proxies.proxy("redis", port_of(own_redis.url)),
            "postgres": proxies.proxy("postgres", port_of(stack.settings.postgres.url)),
            "receiver": proxies.proxy("receiver", port_of(receiver.url)),
        }
        changes = {
            **CHANGES, "kafka.bootstrap": kafka.direct, **redis_at(own_redis.url),
            "archive.dir": str(folder / "archive"),
        }  # fmt: skip
        made = stack_of.enter_context(pipeline(stack.settings, run_id, catalog(), folder, **changes))
        made.start()
        run = made.settings
        hook = {"kind": "webhook", "url": f"http://127.0.0.1:{ways['receiver'].port}/hook", "secret_file": "hook",
                "daily_budget": 10_000}  # fmt: skip
        put_policy(run, "receiver", "", hook)
        put_policy(run, "route", "", {"types": ["limit.*"], "receivers": [run.run_id]})
        proxied = delivering(run, folder, hook=HOOK_KEY).with_changes({
            "kafka.bootstrap": kafka.proxied,
            **redis_by(run, ways["redis"].port),
            **postgres_by(run, ways["postgres"].port),
        })  # fmt: skip
        yield World(made, proxied, ways, receiver, folder)


def note(*columns: object) -> None:
    """A line of the report of drills, beside the logs of the stack."""
    with (STATE_DIR / "drills.tsv").open("a") as report:
        report.write("\t".join(map(str, columns)) + "\n")
