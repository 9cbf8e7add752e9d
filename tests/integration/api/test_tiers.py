"""Beyond retention the archive answers what the rollups said, to the last digit, or says why it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.integration.api.test_reads import insert
from tests.integration.archive.archiving import archived_run
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.api.reading import Asked
from tidemark.api.usage_query import UsageAsked
from tidemark.api.usage_rows import Page, buckets, the_meter
from tidemark.archive import archiver
from tidemark.archive.retention.plan import planned
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres
from tidemark.core.kafka import Sender, dump
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.catalog import history
from tidemark.reconcile.raw import rules_of
from udfs.values import epoch_ms

TENANT = "tiers"
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
METERS = {
    "calls": {"event_types": ["call"], "aggregation": "sum", "unit": "calls", "group_by": ["region"]},
    "slow": {"event_types": ["call"], "aggregation": "percentile", "unit": "ms"},
    "mean": {"event_types": ["call"], "aggregation": "avg", "unit": "ms"},
    "last": {"event_types": ["call"], "aggregation": "latest", "unit": "ms"},
}
# Days of Kolkata begin at 18:30 UTC: minutes alone give them.
QUESTIONS = [
    UsageAsked("calls", "minute", start="2024-03-01T05:00:00Z", end="2024-03-02T00:00:00Z", customers=("alice",)),
    UsageAsked("calls", "hour", group_by=("region", "customer_id")),
    UsageAsked("calls", "day", zone="Asia/Kolkata", where={"region": ("eu",)}),
    UsageAsked("calls", "month"), UsageAsked("slow", "total", start="2024-03-01T11:00:00Z", customers=("bob",)),
    UsageAsked("last", "total"), UsageAsked("mean", "hour", limit=3),
]  # fmt: skip


@pytest.fixture
def run(stack: Any, tmp_path: Path) -> Iterator[Settings]:
    with archived_run(stack.settings, tmp_path) as made:
        calendar = {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"}
        tenants = {TENANT: {"calendar": "tiers", "meters": METERS}, "tiers-b": {"calendar": "tiers", "meters": METERS}}
        file = tmp_path / "catalog.yaml"
        file.write_text(
            yaml.safe_dump({"valid_from": "beginning", "calendars": {"tiers": calendar}, "tenants": tenants})
        )
        catalog_tool.apply(made, file, backdate=True, prune=True, all_tenants=True)
        yield made


def send(run: Settings) -> None:
    """Three days of usage of two tenants, with copies, a void, and events that are too late."""
    with Sender(run.kafka) as sender:
        for place in range(120):
            at = MARCH + timedelta(minutes=37 * place)
            customer = "alice" if place % 3 else "bob"
            event = {
                "event_id": f"e-{place}", "tenant_id": TENANT if place % 5 else "tiers-b", "customer_id": customer,
                "event_type": "call", "timestamp": at.isoformat(), "quantity": f"{place}.{place:09d}",
                "region": "eu" if place % 2 else "us",
            }  # fmt: skip
            copies = [event, event | {"quantity": 5}] if place % 10 == 1 else [event]
            if place == 7:
                copies.append(event | {"event_id": "v", "voids": "e-7"})
            for copy in copies:
                arrival = at + timedelta(days=3 if place % 40 == 9 else 0, seconds=5)
                sender.send(run.topics.events, json.dumps(copy).encode(), partition=place % run.topics.partitions,
                            timestamp_ms=epoch_ms(arrival))  # fmt: skip


def store(run: Settings, db: psycopg.Connection) -> None:
    """The rollups as the jobs write them, and a close of each period, so that retention may remove them."""
    raw = ((r.partition, r.offset, r.timestamp_ms, r.value) for r in dump(run.kafka, run.topics.events))
    with Oracle(history(db), raw, rules_of(run)) as oracle:
        for table in ("usage_minute", "usage_hour", "usage_day", "usage_period"):
            found = oracle.db.execute(f"FROM {table}")
            names = [column[0] for column in found.description or ()]
            for row in found.fetchall():
                insert(db, run.names.usage_schema, table, **dict(zip(names, row, strict=True)))
    for tenant in (TENANT, "tiers-b"):
        for customer in ("alice", "bob"):
            insert(db, run.names.billing_schema, "period_close", tenant_id=tenant, customer_id=customer, run_id="",
                   period_start=MARCH, period_end=datetime(2024, 4, 1, tzinfo=UTC), rests_on="{}", dead_letters=0,
                   content_hash="0" * 64, closed_by="t", catalog_revision=1, lines=1, watermark=MARCH)  # fmt: skip


def answered(of: Asked, asked: UsageAsked) -> Page:
    return buckets(of, asked, the_meter(of.db, of.tenant, asked.meter))


def refusal(of: Asked, **changes: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        answered(replace(of, settings=of.settings.with_changes(changes)), QUESTIONS[0])
    return refused.value


def test_the_archive_answers_what_the_rollups_said_and_refuses_what_it_cannot_prove(run: Settings) -> None:
    send(run)
    archiver.run(run)
    with postgres.connect(run.postgres) as db:
        postgres.use_schema(db, run.names.billing_schema)
        store(run, db)
        of = Asked(StoredKey("k", TENANT, "", frozenset({"read"}), b""), db, run)
        before = [answered(of, asked) for asked in QUESTIONS]
        # Of region eu: every second event, less those of the other tenant, too late, or voided.
        counted = [n for n in range(1, 120, 2) if n % 5 and n % 40 != 9 and n != 7]
        assert sum(Decimal(row["value"]) for row in before[2].rows) == sum(Decimal(f"{n}.{n:09d}") for n in counted)
        assert (len(before[1].rows) > 20, len(before[-1].rows), before[-1].next is not None) == (True, 3, True)
        # When minutes and hours are removed, nothing that is asked comes to anything else.
        with planned(run.with_changes({"retention.minute_days": 1, "retention.hour_days": 1})) as plan:
            plan.act()
        left = [db.execute(f"SELECT count(*) FROM {name}").fetchall() for name in ("usage_minute", "usage_hour")]
        assert left == [[(0,)], [(0,)]]
        assert [answered(of, asked) for asked in QUESTIONS] == before
        # After what was removed, the table alone answers; and where nothing ever was, there is nothing to read.
        late = {"tenant_id": TENANT, "customer_id": "alice", "meter": "calls", "dims": "", "n": 1, "samples": 1}
        insert(db, run.names.usage_schema, "usage_hour", **late, total=3, hour_start=MARCH + timedelta(days=200))
        with_late = answered(of, QUESTIONS[3]).rows
        assert [row["value"] for row in with_late] == [*(row["value"] for row in before[3].rows), "3"]
        assert answered(of, UsageAsked("calls", "minute", customers=("nobody",))).rows == []

        assert "no archive is set" in refusal(of, **{"archive.dir": ""}).detail
        bounded = refusal(of, **{"api.archive_records": 10})
        assert (bounded.code, bounded.more["kept_from"][:4]) == ("beyond_retention", "2024")
        # An archive that lacks a file does not come to the days.
        db.execute("DELETE FROM archive_file WHERE path IN (SELECT max(path) FROM archive_file)")
        assert refusal(of).code == "archive_differs"
