"""The recorder against a real server, over a real disk, in real processes: in is out, once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from tests.integration.sdk.event_server import KEY, EventServer, event_server, silence, status
from tidemark_client import Client, Rejected
from tidemark_client.events.http import HttpTransport

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "recorder.md"
WAIT_S = 60.0


@pytest.fixture
def server() -> Iterator[EventServer]:
    with event_server() as made:
        yield made


def client(server: EventServer, spool: Path, **options: Any) -> Client:
    return Client(server.url, **{"api_key": KEY, "tenant": "acme", "spool": spool, "linger_s": 0.05} | options)


def program(do: str, server: EventServer, spool: Path, **options: Any) -> subprocess.Popen[str]:
    arguments = {"do": do, "url": server.url, "key": KEY, "spool": str(spool), **options}
    command = [sys.executable, "-m", "tests.integration.sdk.recording", json.dumps(arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    """Ids that the program said, until it ended."""
    text, _ = process.communicate(timeout=WAIT_S)
    # The last line of a killed program may be cut.
    return [one for line in text.splitlines(keepends=True) if line.endswith("\n") for one in json.loads(line)]


def test_events_arrive_in_requests_within_the_contract(server: EventServer, tmp_path: Path) -> None:
    with client(server, tmp_path, source="checkout", batch_events=1_000) as made:
        ids = [made.record("tokens", customer="c-7", quantity=1520, model="x" * 1_200).id for _ in range(2_500)]
        assert made.flush(WAIT_S)
        stats = made.stats()
    assert server.ids() == dict.fromkeys(ids, 1)
    assert (stats.accepted, stats.queued, stats.spooled, stats.error) == (2_500, 0, 0, "")
    assert max(map(len, server.batches)) <= 1_000
    assert len(server.batches) >= 4
    headers = server.requests[0]
    assert (headers["Authorization"], headers["Content-Encoding"]) == (f"Bearer {KEY}", "gzip")
    assert headers["Content-Type"] == "application/x-ndjson"
    event = json.loads(server.batches[0][0])
    assert event["quantity"] == 1520
    assert event["source"] == "checkout"


def test_a_rejected_event_is_kept_with_the_words_of_the_server_and_can_be_sent_again(
    server: EventServer, tmp_path: Path
) -> None:
    heard: list[Rejected] = []
    with client(server, tmp_path, on_rejected=heard.extend) as made:
        bad = made.record("call", customer="c", text="nul \x00")
        good = made.record("call", customer="c")
        assert made.flush(WAIT_S)
        (kept,) = made.rejected()
        assert (kept.id, kept.reason, heard) == (bad.id, "nul_character", [kept])
        assert server.ids() == {good.id: 1}
        assert made.resend_rejected(kept) == 1
        wait_until(lambda: len(heard) == 2, WAIT_S, "the second answer")
        assert made.stats().kept_rejected == 1
        assert made.forget_rejected(kept) == 1
        assert made.rejected() == []


def test_what_a_callback_raises_harms_nobody(server: EventServer, tmp_path: Path) -> None:
    def fail(_: list[Rejected]) -> None:
        raise RuntimeError

    with client(server, tmp_path, on_rejected=fail) as made:
        made.record("call", customer="c", text="nul \x00")
        assert made.flush(WAIT_S)
        made.record("call", customer="c")
        assert made.flush(WAIT_S)
        assert made.stats().accepted == 1


def test_a_server_in_trouble_is_asked_again_with_the_same_events(server: EventServer, tmp_path: Path) -> None:
    server.troubles = [status(503, Retry_After="0"), status(429, Retry_After="0"), status(500), status(413)]
    with client(server, tmp_path) as made:
        ids = [made.record("call", customer="c").id for _ in range(20)]
        assert made.flush(WAIT_S)
    assert server.ids() == dict.fromkeys(ids, 1)
    assert len(server.requests) >= 6


def test_an_answer_that_comes_too_late_is_the_same_event_twice_under_one_id(
    server: EventServer, tmp_path: Path
) -> None:
    server.troubles = [silence(1.0)]
    with client(server, tmp_path) as made:
        made._transport = made._running().sender.transport = HttpTransport(server.url, KEY, timeout_s=0.3)
        one = made.record("call", customer="c")
        assert made.flush(WAIT_S)
        wait_until(lambda: server.ids()[one.id] == 2, WAIT_S, "the slow request to be taken too")
    bodies = {event for batch in server.batches for event in batch}
    assert len(bodies) == 1


def test_a_key_that_is_rotated_is_taken_up(server: EventServer, tmp_path: Path) -> None:
    keys = ["old"]
    with client(server, tmp_path, api_key=lambda: keys[0]) as made:
        made._running().sender.backoff._cap_s = 0.1
        one = made.record("call", customer="c")
        wait_until(lambda: "401" in made.stats().error, WAIT_S, "the key to be refused")
        keys[0] = KEY
        assert made.flush(WAIT_S)
        assert made.stats().error == ""
    assert server.ids() == {one.id: 1}


def test_with_no_server_events_stay_on_disk_for_the_next_process(tmp_path: Path) -> None:
    with event_server() as gone:
        pass
    made = client(gone, tmp_path)
    ids = [made.record("call", customer="c", durable=True).id for _ in range(5)]
    assert not made.flush(0.2)
    assert not made.close(0.1)
    with event_server(gone.server_port) as back, client(back, tmp_path) as again:
        assert again.flush(WAIT_S)
        wait_until(lambda: again.stats().spooled == 0, WAIT_S, "the spool to be empty")
        assert back.ids() == dict.fromkeys(ids, 1)


def test_a_killed_process_loses_no_durable_event(server: EventServer, tmp_path: Path) -> None:
    server.keys.clear()
    process = program("record_and_die", server, tmp_path, count=30)
    ids = said(process)
    assert (len(ids), process.returncode) == (30, -signal.SIGKILL)
    server.keys.add(KEY)
    with client(server, tmp_path) as again:
        wait_until(lambda: again.stats().spooled == 0, WAIT_S, "the spool to be empty")
    assert server.ids() == dict.fromkeys(ids, 1)


def test_the_end_of_a_program_leaves_nothing_in_memory(server: EventServer, tmp_path: Path) -> None:
    ids = said(program("record_and_end", server, tmp_path, count=700))
    assert server.ids() == dict.fromkeys(ids, 1)


def test_a_fork_sends_what_it_recorded_and_nothing_of_its_parent(server: EventServer, tmp_path: Path) -> None:
    process = program("record_and_fork", server, tmp_path)
    ids = said(process)
    assert (process.returncode, len(ids)) == (0, 200)
    assert server.ids() == dict.fromkeys(ids, 1)


def test_processes_on_one_spool_share_it_without_sharing_an_event(server: EventServer, tmp_path: Path) -> None:
    processes = [program("record_and_end", server, tmp_path, count=200) for _ in range(3)]
    ids = [one for process in processes for one in said(process)]
    assert len(ids) == 600
    assert server.ids() == dict.fromkeys(ids, 1)


def test_tasks_record_and_wait_without_stopping_the_event_loop(server: EventServer, tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with client(server, tmp_path) as made:
            events = await asyncio.gather(*(made.record_durable("call", customer=f"c-{n}") for n in range(20)))
            assert await made.flush_async(WAIT_S)
            return [event.id for event in events]

    ids = asyncio.run(run())
    assert server.ids() == dict.fromkeys(ids, 1)


def test_the_examples_of_the_documentation_run(server: EventServer, tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL))
    before_kafka, imports, kafka = code.rpartition("from tidemark_client import Client\n")
    changes = {"http://127.0.0.1:8080": server.url, "tmk_…": KEY, "/var/lib/checkout/tidemark": str(tmp_path)}
    for shown, here in changes.items():
        before_kafka, kafka = before_kafka.replace(shown, here), kafka.replace(shown, here)
    names: dict[str, Any] = {"app": None}
    exec(before_kafka, names)  # noqa: S102
    assert names["answer"]("c-7", "how many words") == "3 tokens"
    assert names["render"]("c-8", pages=2) == 2
    assert names["client"].close()
    assert sorted(json.loads(event)["customer_id"] for batch in server.batches for event in batch) == [
        "c-7",
        "c-7",
        "c-8",
    ]
    # That of Kafka has no broker here; tests/integration/sdk/test_kafka.py has one.
    exec(imports + kafka, names)  # noqa: S102
    assert names["client"].close()
