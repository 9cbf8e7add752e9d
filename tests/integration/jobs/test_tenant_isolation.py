"""One tenant's flood and garbage change nothing of the others: not a total, not a dead letter, not an alarm."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.pipeline import Pipeline, pipeline
from tests.streams import StreamRecord
from tidemark.core.kafka import dump
from tidemark.dead_letters import records as dlq
from tidemark.oracle.compare import compare, live_rows
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import GRAINS, schema_of
from tidemark.quotas import daemon as watch
from tidemark.quotas.rules import RULES

CATALOG: dict[str, Any] = {
    "calendars": {"utc-month": {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"}},
    "tenants": {name: {"calendar": "utc-month"} for name in ("acme", "globex", "loud")},
    "meters": {
        "calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls", "group_by": ["route"]},
        "gigabytes": {"event_types": ["transfer"], "aggregation": "sum", "unit": "GB"},
        "routes": {"event_types": ["call"], "aggregation": "unique", "value": "route", "unit": "routes"},
    },
}
CALM = ("acme", "globex")
BEGIN_MS = int(datetime(2024, 3, 1, 10, tzinfo=UTC).timestamp() * 1_000)
HOUR_MS, GRACE_MS = 3_600_000, 172_800_000
PER_TENANT = 150
FLOOD = 20
# Far above the calm tenants, far below the loud one.
BOUNDS = {
    "quotas.tenant_measurements_per_hour": 2_000,
    "quotas.tenant_series": 1_000,
    "quotas.tenant_unique_values": 1_000,
}


def event(tenant: str, number: int, at_ms: int, **changed: Any) -> bytes:
    """An event: every third a transfer, the others calls; two customers, whose names all tenants share."""
    kind = {"event_type": "transfer", "quantity": f"{number}.25"} if number % 3 == 0 else {"event_type": "call"}
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {"event_id": f"e-{number}", "tenant_id": tenant, "customer_id": f"c{number % 2}", "timestamp": at}
    return json.dumps({**common, **kind, "properties": {"route": f"r{number % 7}"}, **changed}).encode()


def calm() -> list[StreamRecord]:
    """Each calm tenant: good events over an hour, every tenth sent twice, every fifteenth spoilt in a known way."""
    records = []
    for number in range(PER_TENANT):
        at_ms = BEGIN_MS + number * HOUR_MS // PER_TENANT
        for place, tenant in enumerate(CALM):
            partition, key = (number + place) % 4, tenant.encode()
            good = StreamRecord(partition, at_ms + 500, key, event(tenant, number, at_ms))
            if number % 15 == 14:
                reason, value = spoilt(tenant, number, at_ms)
                records.append(StreamRecord(partition, at_ms + 500, key, value, reason))
            else:
                records += [good] * (2 if number % 10 == 0 else 1)
    return records


def spoilt(tenant: str, number: int, at_ms: int) -> tuple[str, bytes]:
    kinds = [
        ("unknown_event_type", event(tenant, number, at_ms, event_type="nothing")),
        ("negative_quantity", event(tenant, number, at_ms, event_type="transfer", quantity=-1)),
        ("too_late", event(tenant, number, at_ms - GRACE_MS - HOUR_MS)),
        ("wrong_type", event(tenant, number, at_ms, customer_id=7)),
    ]
    return kinds[number // 15 % len(kinds)]


def loud(rng: random.Random, number: int, record: StreamRecord) -> StreamRecord:
    """Usage or garbage of the loud tenant at the time of another's record, often in its partition."""
    partition = record.partition if rng.random() < 0.5 else rng.randrange(4)
    at_ms = record.timestamp_ms - 500
    # Ids of the calm tenants too: an id belongs to its tenant.
    usage = event("loud", number, at_ms, properties={"route": f"r{number}"})
    garbage = [
        None, b"", b"not json at all", usage[:-1], b"[]", b"\xff\xfe" + usage,
        usage[:-1] + b',"event_id":"twice"}',
        event("loud", number, at_ms, customer_id="c\n"),
        event("nobody", number, at_ms),
        event("loud", number, at_ms - GRACE_MS - HOUR_MS),
        event("loud", number, at_ms, event_type="transfer", quantity="many"),
        event("loud", number, at_ms, properties={"route": {"deep": 1}}, event_type="call"),
    ]  # fmt: skip
    value = usage if rng.random() < 0.6 else rng.choice(garbage)
    if number % 2_000 == 7:
        value = event("loud", number, at_ms, properties={"route": "x" * 70_000})
    return StreamRecord(partition, record.timestamp_ms, b"loud", value)


def flooded(records: list[StreamRecord]) -> Iterator[StreamRecord]:
    """The calm records in their order, each behind its share of the flood."""
    rng = random.Random(4)
    for place, record in enumerate(records):
        for number in range(FLOOD):
            yield loud(rng, place * FLOOD + number, record)
        yield record


@pytest.fixture(scope="module")
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Both jobs with the calm stream inside the flood, drained."""
    folder = tmp_path_factory.mktemp("isolation")
    with pipeline(stack.settings, "isolation", CATALOG, folder, **BOUNDS) as made:
        made.start()
        made.send(flooded(calm()))
        made.wait_drained()
        with made.oracle() as oracle:
            made.assert_exact(oracle)
        yield made


def stored(run: Pipeline, grain: str) -> list[tuple[Any, ...]]:
    """Rows of the calm tenants as they are stored."""
    columns = ", ".join(schema_of(grain).names)
    query = f"SELECT {columns} FROM {run.settings.names.usage_schema}.{grain} WHERE tenant_id = ANY(%s)"
    with psycopg.connect(run.settings.postgres.url, options="-c timezone=UTC") as connection:
        return connection.execute(query.encode(), [list(CALM)]).fetchall()


def test_totals_of_the_others_are_those_of_their_stream_alone(run: Pipeline) -> None:
    alone = [(r.partition, number, r.timestamp_ms, r.value) for number, r in enumerate(calm())]
    with Oracle(CATALOG, alone) as oracle:
        for grain in GRAINS:
            assert compare(oracle, grain, stored(run, grain)) == []
        live = [row for row in live_rows(run.settings) if row[0] in CALM]
        assert compare(oracle, "live", live) == []


def test_totals_of_the_others_are_what_they_were_built_to_be(run: Pipeline) -> None:
    expected: dict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for value in {record.value for record in calm() if record.reason is None}:
        sent = json.loads(value or b"")
        meter, amount = ("gigabytes", sent["quantity"]) if sent["event_type"] == "transfer" else ("calls", "1")
        expected[sent["tenant_id"], sent["customer_id"], meter].append(Decimal(amount))
    found: dict[tuple[str, str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for tenant, customer, meter, _, _, _, _, n, _, total, *_ in stored(run, "usage_period"):
        if meter != "routes":
            found[tenant, customer, meter] = (
                found[tenant, customer, meter][0] + n,
                found[tenant, customer, meter][1] + total,
            )
    assert found == {key: (len(amounts), sum(amounts)) for key, amounts in expected.items()}


def test_dead_letters_of_the_others_are_those_of_their_stream_alone(run: Pipeline) -> None:
    theirs = {record.value for record in calm()}
    records = dlq.read_dead_letters(run.settings)
    rejected = [(base64.b64decode(record["raw"] or ""), record["reason"]) for record in records]
    expected = Counter((record.value, record.reason) for record in calm() if record.reason is not None)
    assert Counter(row for row in rejected if row[0] in theirs) == expected


def test_the_flood_was_one_and_none_of_it_was_dropped(run: Pipeline) -> None:
    with run.oracle() as oracle:
        counts = oracle.counts()
    assert counts.offsets_in == len(calm()) * (FLOOD + 1)
    assert counts.offsets_in == counts.counted + counts.duplicates + sum(counts.rejected.values())
    assert sum(counts.rejected.values()) > 0.3 * FLOOD * len(calm())
    assert counts.counted > 0.4 * FLOOD * len(calm())


def test_the_loud_tenant_alone_is_alarmed_by_name(run: Pipeline) -> None:
    with closing(watch.QuotaMonitor(run.settings)) as watcher:
        begun = watcher.run_once().begun
    assert {(alarm.tenant, alarm.rule) for alarm in begun} == {("loud", rule) for rule in RULES}
    alerts = [json.loads(record.value or b"") for record in dump(run.settings.kafka, run.settings.names.alerts)]
    about = [alert["data"]["evidence"] for alert in alerts if alert["source"] == "tidemark/watch"]
    assert {evidence["tenant_id"] for evidence in about} == {"loud"}
    shown = watch.check(run.settings).ranks
    assert {rank.tenant_id for rank in shown if rank.over} == {"loud"}
    assert {rank.tenant_id for rank in shown} == {"loud", *CALM}
