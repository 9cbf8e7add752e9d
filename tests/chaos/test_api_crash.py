"""The API killed again and again and the broker restarted under a client: what was acknowledged is counted once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local import probes
from infra.local.ports import read_ports
from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.integration.serve.test_serve import WITHIN_S, serving
from tests.pipeline import pipeline
from tests.ports import free_port
from tests.streams import CATALOG
from tidemark.core.kafka import dump

KILLS, BATCHES, SIZE = 8, 120, 25
TENANT = "acme"


class Client(threading.Thread):
    """Sends batches in their order, each until it is acknowledged, as a client of a spool does."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._go = threading.Semaphore(0)
        self.acknowledged: list[str] = []
        self.attempts = 0

    def allow(self, batches: int) -> None:
        for _ in range(batches):
            self._go.release()

    def run(self) -> None:
        for number in range(BATCHES):
            self._go.acquire()
            batch = [event(f"e-{number}-{place}", place) for place in range(SIZE)]
            while not self._send(batch):
                pass
            self.acknowledged += [one["event_id"] for one in batch]

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        self.attempts += 1
        try:
            answer = requests.post(f"{self._url}/v1/events", json=batch, headers=self._headers, timeout=30)
        except requests.RequestException:
            return False
        assert answer.status_code in {202, 503}, answer.text
        assert answer.status_code == 503 or answer.json()["accepted"] == SIZE
        return answer.status_code == 202


def event(event_id: str, place: int) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"event_id": event_id, "customer_id": ("alice", "bob")[place % 2], "event_type": "call", "timestamp": at}


def restart_broker(stack: Any) -> None:
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    stack.local.supervisor.stop_program("kafka")
    stack.local.supervisor.start_program("kafka")
    wait_until(lambda: probes.ask("kafka", ports, stack.local.paths).ready, 90, "Kafka to come back")


@pytest.mark.drill
def test_what_was_acknowledged_is_counted_once_whatever_is_killed(stack: Any, tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with pipeline(stack.settings, "apicrash", CATALOG, tmp_path) as run:
        run.start()
        api = run.settings.with_changes(
            {"api.listen": listen, "serve.listen": "off", "api.tenant_events_per_s": 100_000}
        )
        client = Client(f"http://{listen}", key_of(run.settings, TENANT, "ingest"))
        client.start()

        def sent(batches: int) -> Callable[[], bool]:
            return lambda: len(client.acknowledged) >= batches * SIZE

        share = BATCHES // (KILLS + 1)
        for kill in range(KILLS):
            with serving(api, "api", tmp_path / f"api-{kill}.log"):
                client.allow(share)
                # Some are acknowledged and some are on their way: `serving` ends it by SIGKILL.
                wait_until(sent(kill * share + share // 2), WITHIN_S, f"half of round {kill}")
        with serving(api, "api", tmp_path / "api-last.log") as served:
            client.allow(BATCHES - KILLS * share)
            restart_broker(stack)
            client.join(180)
            assert not client.is_alive()
            assert served.stop() < WITHIN_S
        ids = [json.loads(one.value or b"")["event_id"] for one in dump(run.settings.kafka, run.settings.topics.events)]
        assert len(client.acknowledged) == BATCHES * SIZE
        assert set(ids) == set(client.acknowledged)
        assert client.attempts > BATCHES
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
            assert oracle.counts().counted == BATCHES * SIZE
