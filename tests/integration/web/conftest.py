"""Real processes of the roles `web` and `live`, and a tenant whose customer is using something now."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml

from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.integration.api.test_reads import insert
from tests.integration.serve.test_serve import WITHIN_S, Serving, serving
from tests.integration.storage import own_run
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres, topics
from tidemark.core.kafka import Sender, end_offsets
from tidemark.core.settings import Settings
from tidemark.core.settings.web import Brand
from udfs.values import rfc3339

REGIONS = {"eu-west": 700, "us-east": 500}
HOST = "http://127.0.0.1:*"


@dataclass(frozen=True)
class Site:
    """Running pages, and what their tenant has used."""

    run: Settings
    served: Serving
    url: str
    tenant: str
    start: datetime
    end: datetime

    @property
    def other(self) -> str:
        """A tenant without usage."""
        return f"{self.tenant}-b"

    def key(self, *scopes: str, tenant: str = "") -> str:
        return key_of(self.run, tenant or self.tenant, *scopes)

    def signed_in(self, key: str) -> requests.Session:
        session = requests.Session()
        done = session.post(f"{self.url}/sign-in", {"key": key, "zone": "Etc/UTC"}, timeout=30)
        assert done.status_code == 200, done.text
        return session

    def token(self, key: str, customer: str) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.post(f"{self.url}/embed-tokens", {"customer": customer}, headers=headers, timeout=30).json()

    def sql(self, statement: str, *values: Any) -> Any:
        with postgres.connect(self.run.postgres) as db:
            postgres.use_schema(db, self.run.names.billing_schema)
            return db.execute(statement.encode(), values).fetchall()

    def use_more(self, amount: int) -> None:
        """Count more of the running period, as `rollup` writes it."""
        usage = self.run.names.usage_schema
        with postgres.connect(self.run.postgres) as db:
            update = f'UPDATE "{usage}".usage_period SET n = n + 1, samples = samples + 1, total = total + %s, '
            where = (
                "updated_at = clock_timestamp() WHERE tenant_id = %s AND customer_id = 'alice' AND dims LIKE '%%eu%%'"
            )
            db.execute((update + where).encode(), [amount, self.tenant])


@pytest.fixture(scope="module")
def site(stack: Any, submitted_warm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("web")
    with own_run(stack.settings) as own:
        tenant = f"tenant-{own.run_id}"
        secret = folder / "secret"
        secret.write_text("0123456789abcdef" * 4)
        brand = Brand(tenant=tenant, name="Acme & Sons", accent="#0a6b5e", accent_dark="#5fd0bf")
        run = own.with_changes({
            "web.listen": "127.0.0.1:0", "web.secure_cookie": False, "web.frame_ancestors": (HOST,),
            "web.operators": (tenant,), "web.secret_file": secret, "serve.listen": "off", "live.refresh_s": 1,
            "api.key_cache_s": 1,
        })  # fmt: skip
        plain = Brand(tenant=f"{tenant}-b", hidden=("projection", "alerts", "periods"))
        # A list of models is passed to the process as JSON.
        run = run.with_changes({"web.brands": (brand, plain), "topics.events": f"test.{own.run_id}"})
        topics.apply(run)
        start, end = _apply(run, tenant, folder)
        with postgres.connect(run.postgres) as db:
            _insert_usage(db, run, tenant, start, end)
        with serving(run, "live,web", folder / "serve.log") as served:
            wait_until(lambda: bool(served.lines("listening", "web")), WITHIN_S, "the pages")
            url = f"http://{served.lines('listening', 'web')[0]['address']}"
            yield Site(run, served, url, tenant, start, end)


def _apply(run: Settings, tenant: str, folder: Path) -> tuple[datetime, datetime]:
    """A catalog with a period of 28 days that has run for 10; returns its bounds."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=10)
    calendar = {"anchor": start.replace(tzinfo=None).isoformat(), "interval": "P28D", "timezone": "Etc/UTC"}
    meters = {
        "calls": {"event_types": ["call"], "aggregation": "sum", "unit": "calls", "group_by": ["region"]},
        "seats": {"event_types": ["seat"], "aggregation": "unique", "value": "u", "unit": "seats"},
    }
    limits = {"calls": {"cap": 2_000, "mode": "soft", "thresholds": ["80%"]}}
    named = f"{tenant}-month"
    content = {
        "valid_from": "beginning", "calendars": {named: calendar},
        "tenants": {
            tenant: {"calendar": named, "meters": meters, "limits": limits},
            f"{tenant}-b": {"calendar": named, "meters": meters},
        },
    }  # fmt: skip
    file = folder / "catalog.yaml"
    file.write_text(yaml.safe_dump(content))
    catalog_tool.apply(run, file, backdate=True, prune=True, all_tenants=True)
    return start, start + timedelta(days=28)


def _insert_usage(db: psycopg.Connection, run: Settings, tenant: str, start: datetime, end: datetime) -> None:
    usage, billing = run.names.usage_schema, run.names.billing_schema
    period = {"period_start": start, "period_end": end}
    for customer, times in (("alice", 1), ("bob", 2), ("<b>eve</b>", 3)):
        who = {"tenant_id": tenant, "customer_id": customer}
        for region, amount in REGIONS.items():
            row = {**who, "meter": "calls", "dims": json.dumps({"region": region})}
            insert(db, usage, "usage_period", **row, **period, n=10, samples=10, total=amount * times)
            for day in range(10):
                at = start + timedelta(days=day, hours=9)
                part = amount * times * (day + 1) // 55
                insert(db, usage, "usage_hour", **row, hour_start=at, n=1, samples=1, total=part)
        for part in ("u1", "u2", "u3"):
            seat = {**who, "meter": "seats", "dims": "", "part": part, "n": 1, "samples": 1, "total": 0}
            insert(db, usage, "usage_period", **seat, **period)
            insert(db, usage, "usage_day", **seat, day=start.date())
    ended = {"tenant_id": tenant, "customer_id": "carol", "meter": "calls", "dims": "", "n": 1, "samples": 1}
    before = {"period_start": start - timedelta(days=28), "period_end": start}
    insert(db, usage, "usage_period", **ended, **before, total=321)
    _insert_ledger(db, billing, {"tenant_id": tenant, "customer_id": "alice"}, start)
    insert(db, billing, "dead_letter", topic=run.names.dlq, partition=0, record_offset=7, tenant_id=tenant,
           customer_id="alice", reason="too_late", is_partial=False, event_at=start, arrived_at=start,
           source_topic="usage.events", source_partition=0, source_offset=1, part_meter="", part_run="",
           rejected_again=False)  # fmt: skip
    insert(db, billing, "period_due", tenant_id=tenant, customer_id="bob", next_end=start)
    alert(db, run, tenant, "a-0", "alice has used 80 % of calls")


def _insert_ledger(db: psycopg.Connection, billing: str, who: dict[str, str], end: datetime) -> None:
    period = {"period_start": end - timedelta(days=28), "period_end": end}
    about = {"run_id": "", "rests_on": "{}", "content_hash": "0" * 64}
    insert(db, billing, "period_close", **who, **period, **about, closed_by="t", catalog_revision=1, watermark=end,
           dead_letters=0, lines=1)  # fmt: skip
    line = {"meter": "calls", "dims": "", "aggregation": "sum", "unit": "calls"}
    insert(db, billing, "period_close_line", **who, **period, **line, n=3, samples=3, value=1_030)
    insert(db, billing, "correction", **who, **period, **about, correction_no=1, cause="late_events", made_by="t")
    insert(db, billing, "correction_line", **who, **period, **line, correction_no=1, before=1_030, after=1_036, delta=6,
           before_n=3, after_n=4, before_samples=3, after_samples=4)  # fmt: skip


def alert(db: psycopg.Connection, run: Settings, tenant: str, alert_id: str, summary: str) -> None:
    """An alert about alice, as the role `alerts` stores it."""
    event = {"id": alert_id, "data": {"evidence": {}, "summary": summary, "severity": "warning"}}
    about = {"source": "s", "fingerprint": alert_id, "type": "limit.threshold", "status": "firing", "group_key": "g"}
    severity = {"severity": "warning", "impact_severity": "warning"}
    who = {"tenant_id": tenant, "customer_id": "alice", "meter": "calls", "at": datetime.now(UTC)}
    insert(db, run.names.usage_schema, "alert", alert_id=alert_id, **about, **severity, **who, event=json.dumps(event))


def dead_letter(site: Site, event_id: str) -> str:
    """A dead letter of alice, in its topic and in the index, of an event that would be counted by now; its position."""
    run, now = site.run, rfc3339(datetime.now(UTC))
    offset = end_offsets(run.kafka, run.names.dlq)[0]
    who = {"tenant_id": site.tenant, "customer_id": "alice"}
    event = {**who, "event_id": event_id, "event_type": "call", "timestamp": now, "quantity": 1}
    raw = b64encode(json.dumps(event).encode()).decode()
    source = {"topic": run.topics.events, "partition": 0, "offset": offset, "arrival": now}
    about = {**who, **source, "event_id": event_id, "reason": "unknown_event_type", "detail": "call", "raw": raw,
             "meter": None, "partial": False}  # fmt: skip
    with Sender(run.kafka) as sender:
        sender.send(run.names.dlq, json.dumps(about).encode(), partition=0)
    place = {"topic": run.names.dlq, "partition": 0, "record_offset": offset, "source_topic": run.topics.events,
             "source_partition": 0, "source_offset": offset, "reason": about["reason"]}  # fmt: skip
    with postgres.connect(run.postgres) as db:
        insert(db, run.names.billing_schema, "dead_letter", **who, **place, is_partial=False, event_at=now,
               arrived_at=now, part_meter="", part_run="", rejected_again=False)  # fmt: skip
    return f"0:{offset}"
