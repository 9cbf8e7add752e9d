"""`POST /v1/events` on a real process: what is acknowledged is in Kafka, what is not is refused with a reason."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from jobs.flink.rest import wait_until
from tests.integration.api.conftest import Door
from tests.integration.serve.test_serve import STOP_S, WITHIN_S
from tidemark.api import key_store
from tidemark.api.key_ring import USED_EVERY_S, KeyRing
from tidemark.api.keys import id_of
from tidemark.api.problem import Problem
from tidemark.api.rate import RateLimit
from tidemark.core import postgres
from tidemark.core.settings import Settings


def event(event_id: str, **changes: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"event_id": event_id, "customer_id": "alice", "event_type": "call", "timestamp": at, **changes}


def test_what_is_accepted_is_in_kafka_and_what_is_rejected_is_not(door: Door) -> None:
    key = door.key("ingest")
    batch = [
        event("a-1"),
        event("a-2", tenant_id="another"),
        event("a-3", timestamp=(datetime.now(UTC) + timedelta(hours=1)).isoformat()),
        {"event_id": "a-4"},
        event("a-5", tenant_id=door.tenant, customer_id="nobody knows"),
    ]
    answer = door.send(key, gzip.compress(json.dumps(batch).encode()), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 202
    document = answer.json()
    assert (document["accepted"], document["rejected"]) == (2, 3)
    assert [(one["index"], one["id"], one["status"], one.get("reason")) for one in document["events"]] == [
        (0, "a-1", "accepted", None),
        (1, "a-2", "rejected", "foreign_tenant"),
        (2, "a-3", "rejected", "in_future"),
        (3, "a-4", "rejected", "missing_field"),
        (4, "a-5", "accepted", None),
    ]
    records = {json.loads(one.value or b"")["event_id"]: one for one in door.records()}
    assert {"a-1", "a-5"} == {name for name in records if name.startswith("a-")}
    assert records["a-1"].key == f"{door.tenant}/alice".encode()
    assert json.loads(records["a-1"].value or b"")["tenant_id"] == door.tenant
    assert json.loads(records["a-5"].value or b"") == batch[4]


def test_cloudevents_and_lines_are_taken(door: Door) -> None:
    key = door.key("ingest")
    cloud = {"specversion": "1.0", "id": "c-1", "source": "s", "type": "call", "subject": "bob"}
    assert door.send(key, json.dumps(cloud), "application/cloudevents+json").status_code == 202
    batch = json.dumps([{**cloud, "id": "c-2"}, {**cloud, "id": "c-3"}])
    assert door.send(key, batch, "application/cloudevents-batch+json").json()["accepted"] == 2
    headers = {f"ce-{name}": value for name, value in {**cloud, "id": "c%2D4"}.items()}
    assert door.send(key, '{"quantity": 3}', **headers).json()["accepted"] == 1
    lines = "\n".join(json.dumps(event(f"l-{n}")) for n in range(3))
    assert door.send(key, lines + "\n\n{", "application/x-ndjson").json()["rejected"] == 1
    values = [json.loads(one.value or b"") for one in door.records()]
    assert {"c-1", "c-2", "c-3", "c-4"} <= {value.get("id") for value in values}
    assert {value["tenantid"] for value in values if "specversion" in value} == {door.tenant}
    assert next(value for value in values if value.get("id") == "c-4")["data"] == {"quantity": 3}


def test_a_declared_rule_adds_what_an_event_does_not_state(door: Door) -> None:
    batch = [event("n-1"), event("n-2", properties={"edge": "stated"})]
    assert door.send(door.key("ingest"), json.dumps(batch), **{"X-Edge": "fra-1"}).json()["accepted"] == 2
    assert door.send(door.key("ingest"), json.dumps(event("n-3"))).json()["accepted"] == 1
    values = {value.get("event_id"): value for one in door.records() if (value := json.loads(one.value or b""))}
    assert [values[f"n-{n}"].get("properties") for n in (1, 2, 3)] == [{"edge": "fra-1"}, {"edge": "stated"}, None]


def test_requests_are_refused_with_problems(door: Door) -> None:
    ingest, read = door.key("ingest"), door.key("read")

    def refused(answer: requests.Response) -> tuple[int, str]:
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["code"]

    assert refused(requests.post(f"{door.url}/v1/events", timeout=10)) == (401, "unauthorized")
    assert refused(door.send(ingest[:17] + "A" * 43, "{}")) == (401, "unauthorized")
    assert refused(door.send(read, "{}")) == (403, "forbidden")
    assert refused(door.send(ingest, "x", "text/plain")) == (415, "unsupported_media_type")
    assert refused(door.send(ingest, b"x" * 1_048_577)) == (413, "body_too_large")
    bomb = gzip.compress(b" " * 50_000_000)
    assert refused(door.send(ingest, bomb, **{"Content-Encoding": "gzip"})) == (413, "body_too_large")
    assert refused(door.send(ingest, "{")) == (400, "all_events_rejected")
    none = door.send(ingest, "{}")
    assert refused(none) == (422, "all_events_rejected")
    assert none.json()["events"][0]["reason"] == "missing_field"
    assert refused(requests.get(f"{door.url}/v1/nothing", timeout=10)) == (404, "not_found")
    assert refused(requests.get(f"{door.url}/v1/events", timeout=10)) == (405, "method_not_allowed")


def test_a_tenant_that_sends_too_much_waits_and_others_do_not(door: Door) -> None:
    first, second = (door.key("ingest", tenant=f"{door.tenant}-{name}") for name in ("busy", "calm"))
    batch = json.dumps([event(f"r-{n}") for n in range(1_000)])
    answers = [door.send(first, batch) for _ in range(3)]
    assert [one.status_code for one in answers] == [202, 202, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 10
    assert door.send(second, batch).status_code == 202


def test_a_revoked_key_is_refused_and_a_rotated_one_goes_on(door: Door) -> None:
    old = door.key("ingest")
    assert door.send(old, json.dumps(event("k-1"))).status_code == 202
    with postgres.connect(door.run.postgres) as connection:
        postgres.use_schema(connection, key_store.SCHEMA)
        new = key_store.rotate(connection, id_of(old) or "", timedelta(hours=1), "tests").text
        assert [door.send(key, json.dumps(event("k-2"))).status_code for key in (old, new)] == [202, 202]
        key_store.revoke(connection, id_of(new) or "")
        wait_until(lambda: door.send(new, json.dumps(event("k-3"))).status_code == 401, WITHIN_S, "the end of a key")
        assert door.send(old, json.dumps(event("k-4"))).status_code == 202


def test_processes_share_the_rate_of_a_tenant(run: Settings) -> None:
    async def taken() -> list[bool]:
        both = [RateLimit(run), RateLimit(run)]
        try:
            return [await _passes(both[turn % 2], f"{run.run_id}-shared", 500) for turn in range(6)]
        finally:
            for one in both:
                await one.close()

    # A burst is 2 000 events, and 100 come back in a second.
    assert asyncio.run(taken()) == [True, True, True, True, False, False]


async def _passes(rates: RateLimit, tenant: str, events: int) -> bool:
    try:
        await rates.take(tenant, events)
    except Problem:
        return False
    return True


def test_the_last_use_of_a_key_is_stored(door: Door) -> None:
    now_s = [0.0]
    ring = KeyRing(door.run.postgres, 1, clock=lambda: now_s[0])
    key = door.key("read")
    ring.checked(ring.read(key), key, "read")
    now_s[0] = USED_EVERY_S
    ring.write_used()
    ring.close()
    with postgres.connect(door.run.postgres) as connection:
        postgres.use_schema(connection, key_store.SCHEMA)
        listed = {one.key_id: one.last_used_at for one in key_store.listed(connection, door.tenant, everything=False)}
    used_at = listed[id_of(key) or ""]
    assert used_at is not None
    assert datetime.now(UTC) - used_at < timedelta(minutes=1)


def test_a_stop_answers_what_is_here_first(door: Door) -> None:
    """A request whose body is still to come when the process is asked to end, and takes no more connections."""
    address = (door.url.rpartition("/")[2].partition(":")[0], int(door.url.rpartition(":")[2]))
    body = json.dumps(event("last")).encode()
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {door.key('ingest')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(address, WITHIN_S) as connection:
        connection.sendall(head.encode())
        # It reads the body now.
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100")
        door.served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _is_refused(address), WITHIN_S, "the end of new connections", every_s=0.01)
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 202")
    assert door.served.process.wait(STOP_S) == 0
    assert door.served.lines("drained", "api")[0]["unacknowledged"] == 0
    assert "last" in {json.loads(one.value or b"").get("event_id") for one in door.records()}


def _is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False
