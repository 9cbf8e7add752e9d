"""The index of what is due: whatever happens, it names the periods that a look at every customer names."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.integration.storage import own_run
from tidemark.billing import due_index, periods, store
from tidemark.billing.messages import Context
from tidemark.billing.true_up import true_up
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres
from tidemark.core.settings import Settings

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TENANT = "dueindex"
CUSTOMERS = [f"c{number}" for number in range(12)]
ENDS = {"days": DAY, "weeks": 7 * DAY, "ten-days": 10 * DAY}
_USAGE = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
VALUES (%s, %s, 'calls', '', %s, %s, 1, 1, 1, 1, 1)
ON CONFLICT (tenant_id, customer_id, meter, dims, part, period_start) DO UPDATE SET n = usage_period.n + 1
"""


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


def apply(run: Settings, folder: Path, calendars: dict[str, str], others: str = "weeks") -> None:
    anchor = {"anchor": "2024-01-01T00:00:00", "timezone": "Etc/UTC"}
    lengths = {name: {**anchor, "interval": f"P{length.days}D"} for name, length in ENDS.items()}
    customers = {customer: {"calendar": name} for customer, name in calendars.items()}
    meters = {"calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"}}
    content = {"valid_from": "beginning", "calendars": lengths, "meters": meters,
               "tenants": {TENANT: {"calendar": others, "customers": customers}}}  # fmt: skip
    file = folder / "catalog.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(content))))
    catalog_tool.apply(run, file, backdate=True, prune=True, all_tenants=True)


def use(connection: psycopg.Connection, run: Settings, customer: str, at: datetime, length: timedelta) -> None:
    start = START + (at - START) // length * length
    table = sql.Identifier(run.names.usage_schema, "usage_period")
    connection.execute(sql.SQL(_USAGE).format(table), [TENANT, customer, start, start + length])


def due(connection: psycopg.Connection, run: Settings, cutoff: datetime) -> set[Any]:
    return periods.due(connection, run, periods.catalog_of(run), cutoff, TENANT).keys


def close(connection: psycopg.Connection, run: Settings, keys: list[Any]) -> None:
    names = run.names
    with connection.transaction():
        found = true_up(store.read_entries(connection, names, keys), store.wanted_lines(connection, names, keys))
        now = store.now(connection)
        context = Context(at=now, by="test", run_id="", rests_on={}, watermark=max(key.end for key in keys),
                          catalog_revision=store.catalog_revision(connection))  # fmt: skip
        store.append(connection, names, found, context, dead_letters={})


def candidates(connection: psycopg.Connection, run: Settings, cutoff: datetime) -> set[str]:
    query = sql.SQL("SELECT customer_id FROM {} WHERE next_end <= %s")
    table = sql.Identifier(run.names.billing_schema, "period_due")
    return {row[0] for row in connection.execute(query.format(table), [cutoff])}


@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_what_a_look_at_all_customers_finds(run: Settings, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    calendars = {customer: rng.choice([*ENDS]) for customer in CUSTOMERS}
    apply(run, tmp_path, calendars)
    now = START + 30 * seed * DAY
    with postgres.connect(run.postgres) as connection:
        for _ in range(25):
            # Usage, late usage of periods that are closed or not, customers on other calendars, time, and closes.
            now += rng.choice([0, 0, 1, 3]) * DAY
            for customer in rng.sample(CUSTOMERS, 3):
                at = now - rng.choice([0, 0, 2, 9]) * DAY
                use(connection, run, customer, max(at, START), ENDS[calendars[customer]])
            if rng.random() < 0.2:
                calendars[rng.choice(CUSTOMERS)] = rng.choice([*ENDS])
                apply(run, tmp_path, calendars)
            found = due(connection, run, now)
            due_index.start_anew(connection, run.names)
            assert found == due(connection, run, now)
            if found and rng.random() < 0.7:
                close(connection, run, sorted(found)[: rng.choice([1, 100])])
        # Behind what is due, nobody is asked about again.
        if rest := due(connection, run, now):
            close(connection, run, sorted(rest))
        assert due(connection, run, now) == set()
        assert candidates(connection, run, now) == set()


def test_a_change_while_the_catalog_was_being_read_is_seen_by_the_next_look(run: Settings, tmp_path: Path) -> None:
    customer = "on-the-calendar-of-its-tenant"
    apply(run, tmp_path, {})
    now = START + 203 * DAY
    with postgres.connect(run.postgres) as connection:
        use(connection, run, customer, now, ENDS["weeks"])
        assert customer not in {key.customer_id for key in due(connection, run, now)}
        read_before = periods.catalog_of(run)
        apply(run, tmp_path, {}, others="days")
        periods.due(connection, run, read_before, now, TENANT)
        assert customer in {key.customer_id for key in due(connection, run, now + DAY)}
