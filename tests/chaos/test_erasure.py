"""A marker in every field of an event, through all that keeps a copy: what an erasure leaves is what it names."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from jobs.flink.rest import wait_until
from jobs.flink.submit import JOBS
from tests.integration.catalog.own_database import own_database
from tests.pipeline import Pipeline, pipeline
from tests.streams import StreamRecord
from tests.unit.fuzz.records import corpus
from tidemark.alerts.intake import Intake
from tidemark.archive import archiver, erase
from tidemark.archive.parquet import read
from tidemark.archive.remaining import EVENTS, Copy
from tidemark.billing import dead_letter_index, delta_index
from tidemark.core import postgres
from tidemark.core.kafka import clients, dump
from tidemark.core.redis import client
from tidemark.core.settings import Settings
from tidemark.dead_letters.records import parsed, raw_of

# What metering reads, and what it does not.
KEPT = ("m4rk-customer", "m4rk-event", "m4rk-source", "m4rk-grouped", "m4rk-latest")
GONE = (
    "m4rk-resource", "m4rk-user", "m4rk-session", "m4rk-region", "m4rk-property", "m4rk-nested", "m4rk-unknown",
    "m4rk-sdk", "m4rk-key", "m4rk-header",
)  # fmt: skip
CATALOG: dict[str, Any] = {
    "tenants": {"mark": {"limits": {"calls": {"cap": 3, "mode": "hard"}}}},
    "meters": {
        "calls": {"event_types": ["call"], "aggregation": "count", "group_by": ["model"], "unit": "calls"},
        "state": {
            "event_types": ["call"],
            "aggregation": "latest",
            "value": "state",
            "on_missing": "skip",
            "unit": "s",
        },
    },
}
BEGIN_MS = 1_709_164_799_000


def event(place: int, **more: Any) -> StreamRecord:
    document = {
        "event_id": f"{KEPT[1]}-{place}", "tenant_id": "mark", "customer_id": KEPT[0], "event_type": "call",
        "timestamp": "2024-02-28T23:50:00Z", "schema_version": 2, "source": KEPT[2], "resource_id": GONE[0],
        "user_id": GONE[1], "session_id": GONE[2], "region": GONE[3], "unknown": GONE[6], "sdk": {"name": GONE[7]},
        "properties": {"model": KEPT[3], "state": KEPT[4], "note": GONE[4], "deep": {"er": [GONE[5]]}}, **more,
    }  # fmt: skip
    return StreamRecord(place % 4, BEGIN_MS + place, GONE[8].encode(), json.dumps(document).encode())


def holding(parts: list[Any]) -> set[str]:
    """Markers in bytes or text."""
    text = "\n".join(
        part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in parts if part is not None
    )
    return {mark for mark in (*KEPT, *GONE) if mark in text}


def found(run: Settings) -> dict[str, set[str]]:
    """Markers by place, wherever they may be: every table of every schema, topics of the run, Redis, the archive."""
    places: dict[str, set[str]] = {}
    with postgres.connect(run.postgres.owner) as connection:
        tables = connection.execute(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|_timescaledb|timescaledb|information_schema)'"""
        ).fetchall()
        for schema, name in tables:
            question = sql.SQL("SELECT t::text FROM {} t WHERE t::text LIKE '%m4rk-%'").format(
                sql.Identifier(schema, name)
            )
            places[f"table {schema}.{name}"] = holding([row[0] for row in connection.execute(question)])
    with clients.admin(run.kafka) as admin:
        topics = [topic for topic in admin.list_topics() if run.run_id in topic]
    for topic in topics:
        records = [*dump(run.kafka, topic)]
        if topic == run.names.dlq:
            # The bytes of an event are in base64.
            records += [one._replace(value=raw_of(dead)) for one in records if (dead := parsed(one)) is not None]
        values = [part for one in records for part in (one.key, one.value, *(value for _, value in one.headers))]
        places[f"topic {topic}"] = holding(values)
    with closing(client(run.redis)) as redis:
        for key in redis.scan_iter("*"):
            kind = redis.type(key)
            content = redis.hgetall(key) if kind == "hash" else redis.zrange(key, 0, -1) if kind == "zset" else ""
            places[f"redis {key}"] = holding([key, content])
    for path in Path(run.archive.dir.removeprefix("file://")).rglob("*"):
        if path.suffix == ".parquet":
            rows = [part for one in read(path, 0) for part in (one.key, one.value, *(v for _, v in one.headers))]
            places[f"archive {path}"] = holding(rows)
    return {place: marks for place, marks in places.items() if marks}


def named(place: Copy) -> str:
    return f"{place.kind} {place.name}"


def assert_counted(made: Pipeline) -> None:
    """The jobs have counted what was sent, were not restarted, and the index says how much of the deltas is foreign."""
    run = made.settings
    with postgres.connect(run.postgres.owner) as connection:
        usage, billing = run.names.usage_schema, run.names.billing_schema

        def number(question: str) -> Any:
            return connection.execute(question.encode()).fetchall()[0][0]

        count = f"SELECT sum(samples) FROM {usage}.usage_period WHERE tenant_id = 'mark' AND meter = 'calls'"
        wait_until(lambda: number(count) == 8, 60, "rollup to have all calls")
        assert number(f"SELECT count(*) FROM {billing}.delta_foreign") >= len(corpus())
        assert number(f"SELECT count(*) FROM {usage}.usage_period WHERE tenant_id <> 'mark'") == 0
    for name in JOBS:
        job = made.rest.active(run.names.job(name))
        assert job is not None
        assert made.rest.root_cause(job.id) == ""


@pytest.mark.drill
def test_what_an_erasure_leaves_of_a_customer_is_what_it_names(stack: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"archive.dir": (tmp_path / "archive").as_uri()}
    # Whatever a meter of any time reads is kept: those of other drills too, in a database that they share.
    with own_database(stack, "erasure") as own, pipeline(own, "erasure", CATALOG, tmp_path, **changes) as made:
        run = made.settings
        made.start()
        # Given events that are counted, reach a limit, and one that is refused, with their copies everywhere, and what
        # another program wrote beside them, which ends no job.
        made.send_foreign()
        made.send([*(event(place) for place in range(8)), event(8, quantity="many")])
        made.wait_drained()
        made.wait_offsets()
        with closing(Intake(run)) as intake:
            wait_until(lambda: bool(intake.run_once().outcomes), 60, "the alert of the limit")
        archiver.run(run)
        delta_index.catch_up(run, run.names)
        dead_letter_index.catch_up(run)
        assert_counted(made)
        assert {*KEPT, *GONE} - {GONE[9]} <= set().union(*found(run).values())
        # When the customer is erased, ...
        done = erase.erase(run, "mark", KEPT[0], by="dpo")
        # ... then what only the event said is left where whole events are said to be, and nowhere else; ...
        left = found(run)
        whole = {named(place) for place in done.remaining if place.holds == EVENTS}
        assert {place for place, marks in left.items() if marks & {*GONE}} <= whole
        # ... the archive has ids and what meters read; and each other place that has anything of it is named, ...
        outside = {place for place in left if not place.startswith("archive ")}
        reported = {named(place) for place in done.remaining}
        assert outside <= reported
        # ... and no table or key is named that has nothing.
        assert {place for place in reported if place.startswith(("table ", "redis "))} <= outside
