"""Erasing a customer on real services: totals stay to the last digit, and no trace is left of what was erased."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.archive.archiving import (
    BEGIN_MS,
    DISK,
    OBJECTS,
    archived_files,
    archived_run,
    killed_when,
    send,
    started,
)
from tests.integration.audited import entries
from tests.pipeline import Pipeline
from tests.streams import CATALOG, StreamRecord, generate
from tidemark.archive import archiver, erase, verify
from tidemark.archive.index import opened
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import read
from tidemark.archive.reader import raw_records
from tidemark.archive.retention.plan import planned
from tidemark.core import grants
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle

SECRETS = ("joe@example.org", "Joe Example", "10.1.2.3", "sess-4711")
EVENT_MS = BEGIN_MS + 1_000_000
RELATIONS = (
    "usage_minute", "usage_hour", "usage_day", "usage_period", "live", "value_minute", "value_hour", "value_day",
    "value_period",
)  # fmt: skip


@pytest.fixture
def run(stack: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    with archived_run(stack.settings, tmp_path, getattr(request, "param", DISK)) as settings:
        yield settings


def personal(place: int, **more: Any) -> StreamRecord:
    """An event of acme/alice with more than metering reads."""
    mail, name, address, session = SECRETS
    event = {
        "event_id": f"p{place}", "tenant_id": "acme", "customer_id": "alice", "event_type": "request",
        "timestamp": "2024-02-29T00:16:39Z", "quantity": place, "session_id": session, "note": {"who": name},
        "properties": {"http": {"method": "GET", "from": address, "status": 200}, "mail": mail, "plan": "pro"}, **more,
    }  # fmt: skip
    return StreamRecord(place % 4, EVENT_MS, mail.encode(), json.dumps(event).encode())


def recomputed(run: Settings) -> tuple[dict[str, list[tuple[Any, ...]]], dict[tuple[int, int], str]]:
    """Usage from the archive alone, and what became of each record."""
    with Oracle(CATALOG, raw_records(run)) as oracle:
        oracle.build_values()
        return {name: oracle.rows(name) for name in RELATIONS}, oracle.outcomes()


def secrets_in(run: Settings) -> list[str]:
    """Files of the archive with something of what was to be erased."""
    place, found = Folder.of(run).place, []
    for path in archived_files(run):
        with place.open(path) as file:
            content = [file.read()]
            stored = list(read(file, 0))
        for record in stored:
            content += [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
        if any(secret.encode() in part for secret in SECRETS for part in content):
            found.append(path)
    return found


def test_an_erased_customer_leaves_totals_as_they_were_and_no_trace_of_what_was_erased(
    run: Settings, tmp_path: Path
) -> None:
    pipeline = Pipeline(run, CATALOG)
    pipeline.prepare(tmp_path)
    # Given a stream, and among it events of alice with more than metering reads, two of which are not valid events.
    broken = [personal(40, user_id=5), personal(41, properties={f"k{i}": SECRETS[0] for i in range(300)})]
    pipeline.send([*generate(2_000), *(personal(place) for place in range(30)), *broken])
    with Sender(run.kafka) as sender:
        sender.send(run.topics.redrive, personal(50).value, partition=0, timestamp_ms=EVENT_MS)
    archiver.run(run)
    usage, outcomes = recomputed(run)
    before = set(archived_files(run))
    with opened(run.postgres, run.names) as index:
        _store_alert(index.connection, run)
    with planned(run.with_changes({"retention.dlq_days": 90})) as plan:
        plan.act()
    # When it is planned, nothing changes; ...
    expected = erase.erase(run, "acme", "alice", by="dpo", dry_run=True)
    assert set(archived_files(run)) == before
    # ... when it is killed on its way, the archive is whole, with all or nothing of it; ...
    killed_when(started(run, "erase", "acme", "alice", "--by", "dpo"), lambda: bool(archived_files(run, ".1.parquet")))
    assert verify.verify(run).faults == []
    # ... and when it is done, ...
    done = erase.erase(run, "acme", "alice", by="dpo")
    again = erase.erase(run, "acme", "alice", by="dpo")
    assert (again.files, again.events) == ((), 0)
    # ... then usage is the same to the last digit, only what was no event is another kind of none, ...
    usage_after, outcomes_after = recomputed(run)
    assert usage_after == usage
    changed = {at for at in outcomes if outcomes_after[at] != outcomes[at]}
    assert len(changed) >= len(broken)
    assert all(outcomes_after[at] == "missing_field" for at in changed)
    # ... and no byte of it is in the archive.
    assert verify.verify(run).faults == []
    assert secrets_in(run) == []
    with opened(run.postgres, run.names) as index:
        rows = index.connection.execute(
            "SELECT tenant_id, customer_id, erased_by, files, events FROM erasure"
        ).fetchall()
        assert all(row[:3] == ("acme", "alice", "dpo") for row in rows)
        assert max(row[4] for row in rows) == expected.events >= 33
        acts = entries(run, "archive.erase", "acme/alice")
        assert {(entry.login, entry.stated_by) for entry in acts} == {(grants.OPS, "dpo")}
        assert [entry.detail["events"] for entry in acts] == [row[4] for row in rows]
        schema = f"usage_{run.run_id}"
        evidence = index.connection.execute(
            f"""
            SELECT event #> '{{data,evidence}}' FROM {schema}.alert
            UNION ALL
            SELECT body #> '{{alerts,0,data,evidence}}' FROM {schema}.notification
            """
        ).fetchall()
        assert evidence == [({"expected": "5"},)] * 2
    assert done.kafka[run.topics.redrive] is None
    assert done.kafka[run.names.dlq] is not None


def _store_alert(connection: Any, run: Settings) -> None:
    evidence = {"expected": "5", "top_dimensions": [{"dims": '{"plan":"pro"}', "value": "3"}]}
    event = {"id": "1", "source": "s", "data": {"summary": "", "evidence": evidence}}
    connection.execute(
        f"""
        INSERT INTO usage_{run.run_id}.alert (alert_id, source, fingerprint, type, status, severity, impact_severity,
            tenant_id, customer_id, event, at, group_key)
        VALUES ('1', 's', 'f', 'anomaly.spike', 'firing', 'info', 'info', 'acme', 'alice', %s, now(), 'g')
        """,
        [json.dumps(event)],
    )
    copied = event | {"data": event["data"] | {"tenant_id": "acme", "customer_id": "alice"}}
    connection.execute(
        f"""
        INSERT INTO usage_{run.run_id}.notification (notification_id, receiver, kind, alert_ids, alert_sources, body,
            due_at)
        VALUES ('n', 'r', 'webhook', '{{1}}', '{{s}}', %s, now())
        """,
        [json.dumps({"alerts": [copied]})],
    )


@pytest.mark.parametrize("run", [OBJECTS], indirect=True)
def test_a_customer_is_erased_in_s3_too(run: Settings, tmp_path: Path) -> None:
    pipeline = Pipeline(run, CATALOG)
    pipeline.prepare(tmp_path)
    pipeline.send(personal(place) for place in range(8))
    archiver.run(run)
    before = archived_files(run)
    assert secrets_in(run) == before != []
    assert erase.erase(run, "acme", "alice", by="dpo").events == 8
    assert secrets_in(run) == []
    assert archived_files(run) == [name.replace(".parquet", ".1.parquet") for name in before]
    assert verify.verify(run).faults == []


def test_the_account_of_erasures_never_changes(run: Settings) -> None:
    send(run, 4)
    erase.erase(run, "acme", "nobody", by="dpo")
    with (
        opened(run.postgres, run.names) as index,
        pytest.raises(psycopg.IntegrityError, match="UPDATE of erasure is refused"),
    ):
        index.connection.execute("UPDATE erasure SET erased_by = 'me'")
    with pytest.raises(UsageError, match="the name of who erases is missing"):
        erase.erase(run, "acme", "nobody", by=" ")
