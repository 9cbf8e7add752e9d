"""Reads of a real process: figures by hand from the rollups and the ledger, of one tenant alone, each in the audit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import requests
import yaml
from psycopg import sql
from typer.testing import CliRunner

from tests.integration.api.conftest import Door
from tidemark.api.keys import id_of
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.main import app
from tidemark.core import postgres

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
APRIL = datetime(2024, 4, 1, tzinfo=UTC)
HOURS = [(0, "eu", 5), (1, "us", 7), (23, "eu", 11), (25, "us", 13)]


@pytest.fixture(scope="module")
def used(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Two tenants with meters of the same names, and usage of the first: by hour, of a period, closed and corrected."""
    meters = {
        "calls": {"event_types": ["call"], "aggregation": "sum", "unit": "calls", "group_by": ["region"]},
        "seats": {"event_types": ["seat"], "aggregation": "unique", "value": "u", "unit": "seats"},
    }
    tenant = {"calendar": f"{door.tenant}-utc", "meters": meters}
    calendar = {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"}
    content = {
        "valid_from": "beginning", "calendars": {f"{door.tenant}-utc": calendar},
        "tenants": {door.tenant: tenant, f"{door.tenant}-b": tenant},
    }  # fmt: skip
    file = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    file.write_text(yaml.safe_dump(content))
    catalog_tool.apply(door.run, file, backdate=True, prune=True, all_tenants=True)
    with postgres.connect(door.run.postgres) as db:
        _insert_usage(db, door)
        yield door


def _insert_usage(db: psycopg.Connection, door: Door) -> None:
    usage, billing = door.run.names.usage_schema, door.run.names.billing_schema
    who = {"tenant_id": door.tenant, "customer_id": "alice"}
    for hour, region, amount in HOURS:
        row = {"meter": "calls", "dims": json.dumps({"region": region}), "n": 1, "samples": 1, "total": amount}
        at = MARCH + timedelta(hours=hour)
        insert(db, usage, "usage_hour", **who, **row, hour_start=at)
        insert(db, usage, "usage_hour", **who | {"customer_id": "bob"}, **row, hour_start=at)
        insert(db, usage, "usage_minute", **who, **row, minute_start=at + timedelta(minutes=40))
    period = {"period_start": MARCH, "period_end": APRIL}
    insert(db, usage, "usage_period", **who, meter="calls", dims="", n=4, samples=4, total=36, **period)
    for part in ("u1", "u2"):
        insert(db, usage, "usage_day", **who, meter="seats", dims="", part=part, n=1, samples=1, total=0, day=MARCH)
    about = {"run_id": "", "rests_on": "{}", "content_hash": "0" * 64}
    insert(db, billing, "period_close", **who, **period, **about, closed_by="t", catalog_revision=1, watermark=APRIL,
           dead_letters=0, lines=1)  # fmt: skip
    line = {"meter": "calls", "dims": "", "aggregation": "sum", "unit": "calls"}
    insert(db, billing, "period_close_line", **who, **period, **line, n=3, samples=3, value=30)
    insert(db, billing, "correction", **who, **period, **about, correction_no=1, cause="late_events", made_by="t")
    insert(db, billing, "correction_line", **who, **period, **line, correction_no=1, before=30, after=36, delta=6,
           before_n=3, after_n=4, before_samples=3, after_samples=4)  # fmt: skip
    insert(db, billing, "dead_letter", topic="dlq", partition=0, record_offset=7, **who, reason="too_late",
           is_partial=False, event_at=MARCH, source_topic="e", source_partition=0, source_offset=1, part_meter="",
           part_run="", rejected_again=False)  # fmt: skip


def insert(db: psycopg.Connection, schema: str, table: str, **row: Any) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )  # fmt: skip
    db.execute(statement, row)


def get(door: Door, path: str, key: str, headers: dict[str, str] | None = None, **asked: Any) -> requests.Response:
    asked = {name.rstrip("_"): value for name, value in asked.items()}
    authorization = {"Authorization": f"Bearer {key}", **(headers or {})}
    return requests.get(f"{door.url}/v1/{path}", params=asked, headers=authorization, timeout=30)


def buckets(answer: requests.Response) -> list[tuple[Any, ...]]:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["rows"]
    return [(row["start"], *row["dims"].values(), row.get("customer_id"), row["value"], row["n"]) for row in rows]


def test_usage_is_given_by_any_grain_zone_dimension_and_filter(used: Door) -> None:
    key = used.key("read")
    calls = {"meter": "calls", "customer": "alice", "from": "2024-03-01", "to": "2024-03-03"}
    assert buckets(get(used, "usage", key, **calls, grain="day", zone="Etc/UTC")) == [
        ("2024-03-01T00:00:00Z", None, "23", 3), ("2024-03-02T00:00:00Z", None, "13", 1),
    ]  # fmt: skip
    # Kolkata's days begin at 18:30 UTC: the hours must come from minutes.
    india = get(used, "usage", key, **calls, grain="day", zone="Asia/Kolkata")
    assert buckets(india) == [("2024-02-29T18:30:00Z", None, "12", 2), ("2024-03-01T18:30:00Z", None, "24", 2)]
    by_region = get(used, "usage", key, **calls, grain="total", group_by="region")
    assert [row[1:] for row in buckets(by_region)] == [("eu", None, "16", 2), ("us", None, "20", 2)]
    every = get(used, "usage", key, meter="calls", grain="total", group_by="customer_id", filter="region:us")
    assert [row[1:] for row in buckets(every)] == [("alice", "20", 2), ("bob", "20", 2)]
    assert buckets(get(used, "usage", key, meter="seats", grain="day")) == [("2024-03-01", None, "2", 2)]
    assert buckets(get(used, "usage", key, meter="calls")) == [("2024-03-01T00:00:00Z", None, "36", 4)]


def test_pages_follow_each_other_and_a_known_version_is_not_sent_again(used: Door) -> None:
    key = used.key("read")
    asked = {"meter": "calls", "grain": "hour", "group_by": ["region", "customer_id"], "limit": 3}
    pages, link = [], ""
    while not pages or link:
        answer = requests.get(f"{used.url}{link}", headers={"Authorization": f"Bearer {key}"}, timeout=30) if link \
            else get(used, "usage", key, **asked)  # fmt: skip
        pages.append(buckets(answer))
        link = answer.links.get("next", {}).get("url", "")
    assert [len(page) for page in pages] == [3, 3, 2]
    read = [row for page in pages for row in page]
    assert read == sorted(set(read))
    first = get(used, "usage", key, **asked)
    again = get(used, "usage", key, {"If-None-Match": first.headers["ETag"]}, **asked)
    assert (again.status_code, again.content) == (304, b"")
    lines = get(used, "usage", key, **{**asked, "format": "csv", "limit": 100})
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert len(rows) == 8
    assert (rows[0]["dims.region"], rows[0]["value"]) == ("eu", "5")
    stream = get(used, "usage", key, {"Accept": "application/vnd.apache.arrow.stream"}, **{**asked, "limit": 100})
    assert stream.headers["content-type"] == "application/vnd.apache.arrow.stream"
    arrow = pa.ipc.open_stream(stream.content).read_all().to_pylist()
    assert [(row["dims.region"], row["customer_id"], str(row["n"]), row["value"]) for row in arrow] == [
        (row["dims.region"], row["customer_id"], row["n"], Decimal(row["value"])) for row in rows
    ]


def test_what_was_closed_corrected_and_refused_is_listed(used: Door) -> None:
    key = used.key("admin")
    (period,) = get(used, "periods", key, customer="alice").json()["rows"]
    assert (period["value"], period["status"], period["correction_amount"]) == ("36", "final, corrected", "6")
    (invoiced,) = get(used, "invoice-lines", key, customer="alice", meter="calls").json()["rows"]
    assert (invoiced["value"], invoiced["final"], invoiced["period_end"]) == ("36", True, "2024-04-01T00:00:00Z")
    (close,) = get(used, "closes", key).json()["rows"]
    assert (close["corrections"], close["period_end"]) == (1, "2024-04-01T00:00:00Z")
    (correction,) = get(used, "corrections", key, customer="alice", meter="calls").json()["rows"]
    assert (correction["cause"], correction["delta"]) == ("late_events", "6")
    (dead,) = get(used, "dead-letters", key).json()["rows"]
    assert (dead["reason"], dead["offset"]) == ("too_late", 7)
    explained = get(used, "explain", key, customer="alice", meter="calls", period="2024-03").json()
    assert [one["cause"] for one in explained["versions"]] == ["close", "late_events"]
    assert [row["meter"] for row in get(used, "meters", key).json()["rows"]] == [
        "calls", "seats", "tidemark.unmeasured",
    ]  # fmt: skip


def test_the_running_period_has_its_limit_and_a_check_says_whether_more_may_be_used(used: Door) -> None:
    key = used.key("read")
    (calls,) = get(used, "usage/current", key, customer="alice", meter="calls").json()["meters"]
    assert (calls["stored"]["value"], calls["projected"], calls["limit"]["wanted"]) == ("36", None, "0")
    check = get(used, "limits/check", key, customer="alice", meter="calls", quantity="2.5")
    assert check.status_code == 200
    assert check.json()["wanted"] == "2.5"
    assert isinstance(check.json()["allowed"], bool)


def test_a_stream_says_how_it_stands_and_then_each_alert(used: Door) -> None:
    headers = {"Authorization": f"Bearer {used.key('read')}"}
    url = f"{used.url}/v1/stream?customer=alice&meter=calls"
    with (
        requests.get(url, headers=headers, stream=True, timeout=30) as answer,
        postgres.connect(used.run.postgres) as db,
    ):
        lines = answer.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("data:")).startswith('data: {"meter": "calls"')
        about = {"fingerprint": "f", "type": "limit.cap", "status": "firing", "at": datetime.now(UTC), "group_key": "g"}
        insert(db, used.run.names.usage_schema, "alert", alert_id="a", source="s", severity="info",
               impact_severity="info", tenant_id=used.tenant, customer_id="alice", meter="calls", **about,
               event='{"id": "a", "data": {"evidence": {}}}')  # fmt: skip
        assert next(line for line in lines if line.startswith("event: alert"))
        assert json.loads(next(lines).removeprefix("data: "))["id"] == "a"


def test_a_stream_ends_with_its_key_and_a_key_has_so_many(used: Door) -> None:
    key = used.key("read")
    url, headers = f"{used.url}/v1/stream?customer=alice", {"Authorization": f"Bearer {key}"}
    with (
        requests.get(url, headers=headers, stream=True, timeout=30) as first,
        requests.get(url, headers=headers, stream=True, timeout=30) as second,
    ):
        streams = [answer.iter_lines(decode_unicode=True) for answer in (first, second)]
        assert [next(line for line in lines if line.startswith("event:")) for lines in streams] == ["event: limit"] * 2
        third = requests.get(url, headers=headers, timeout=30)
        assert (third.status_code, third.json()["code"]) == (429, "too_many_streams")
        keys("revoke", id_of(key) or "")
        ends = [[line for line in lines if line][-2:] for lines in streams]
        assert [(name, json.loads(data.removeprefix("data: "))["status"]) for name, data in ends] == [
            ("event: end", 401), ("event: end", 401),
        ]  # fmt: skip


def test_a_key_reads_its_own_tenant_and_every_read_is_in_the_audit(used: Door) -> None:
    other = replace(used, tenant=f"{used.tenant}-b")
    key = other.key("read")
    assert buckets(get(used, "usage", key, meter="calls", grain="total")) == []
    listings = ["periods", "invoice-lines", "closes", "corrections", "dead-letters"]
    assert [get(used, name, key).json()["rows"] for name in listings] == [[], [], [], [], []]
    assert get(used, "usage/current", key, customer="alice").json()["meters"] == []
    assert get(used, "explain", key, customer="alice", meter="calls", period="2024-03").json()["versions"] == []
    assert get(used, "usage", used.key("ingest"), meter="calls").status_code == 403
    with postgres.connect(used.run.postgres) as db:
        audit = "SELECT route, rows FROM api.read_audit WHERE key_id = %s AND tenant_id = %s ORDER BY id"
        read = db.execute(audit, [id_of(key), other.tenant]).fetchall()
    routes = ["usage", *listings, "usage/current", "explain"]
    assert read == [(f"/v1/{name}", 1 if name == "explain" else 0) for name in routes]


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("usage", {"meter": "nothing"}, 404),
        ("usage", {}, 422),
        ("usage", {"meter": "calls", "custommer": "alice"}, 422),
        ("meters", {"meter": "calls"}, 422),
        ("usage", {"meter": "seats", "grain": "hour"}, 422),
        ("usage", {"meter": "calls", "group_by": "colour"}, 422),
        ("usage", {"meter": "calls", "grain": "day", "zone": "Mars/Base"}, 422),
        ("usage", {"meter": "calls", "grain": "hour", "from": "yesterday"}, 422),
        ("usage", {"meter": "calls", "cursor": "eyJ9"}, 422),
        ("explain", {"customer": "alice", "meter": "calls", "period": "never"}, 422),
        ("periods", {"customer": "a\x00b"}, 422),
        ("limits/check", {"customer": "a", "meter": "calls", "quantity": "-1"}, 422),
    ],
)
def test_questions_without_an_answer_are_refused_with_problems(
    used: Door, path: str, asked: dict[str, Any], status: int
) -> None:
    answer = get(used, path, used.key("read"), **asked)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"]


def keys(*words: str) -> Any:
    result = CliRunner().invoke(app, ["keys", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_line_makes_lists_rotates_and_revokes_keys(used: Door) -> None:
    made = keys("create", used.tenant, "--scope", "read", "--name", "page", "--expires-days", "1")
    assert get(used, "meters", made["key"]).status_code == 200
    new = keys("rotate", made["id"], "--overlap-hours", "1000")
    listed = {one["key_id"]: one for one in keys("list", used.tenant)}
    assert (listed[made["id"]]["replaced_by"], listed[new["id"]]["name"]) == (new["id"], "page")
    # The overlap makes no key live longer than it would have.
    assert listed[made["id"]]["expires_at"] < (datetime.now(UTC) + timedelta(days=2)).isoformat(" ")
    assert not {"secret_hash", "key"} & set(listed[made["id"]])
    keys("revoke", new["id"])
    assert new["id"] not in {one["key_id"] for one in keys("list", used.tenant)}
    assert get(used, "meters", new["key"]).status_code == 401
    for wrong in (["revoke", new["id"]], ["rotate", new["id"]], ["create", used.tenant, "--scope", "all"]):
        assert CliRunner().invoke(app, ["keys", *wrong]).exit_code != 0
