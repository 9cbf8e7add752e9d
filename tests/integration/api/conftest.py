"""A real process of the role `api` on real services, with a tenant and its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.integration.serve.test_serve import WITHIN_S, Serving, serving
from tests.integration.storage import own_run
from tidemark.core import topics
from tidemark.core.kafka import Record, dump
from tidemark.core.settings import EnrichRule, Settings


@dataclass(frozen=True)
class Door:
    """A running API, and how a tenant reaches it."""

    run: Settings
    served: Serving
    url: str
    tenant: str

    def key(self, *scopes: str, tenant: str = "") -> str:
        return key_of(self.run, tenant or self.tenant, *scopes)

    def send(self, key: str, data: Any, content: str = "application/json", **headers: str) -> requests.Response:
        sent = {"Authorization": f"Bearer {key}", "Content-Type": content, **headers}
        return requests.post(f"{self.url}/v1/events", data=data, headers=sent, timeout=30)

    def records(self) -> list[Record]:
        return list(dump(self.run.kafka, self.run.topics.events))


@contextmanager
def opened(run: Settings, tenant: str, log: Path) -> Iterator[Door]:
    with serving(run.with_changes({"api.listen": "127.0.0.1:0", "serve.listen": "off"}), "api", log) as served:
        wait_until(lambda: bool(served.lines("listening", "api")), WITHIN_S, "the API")
        yield Door(run, served, f"http://{served.lines('listening', 'api')[0]['address']}", tenant)


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        changes = {"topics.events": f"test.{settings.run_id}", "api.key_cache_s": 1, "api.tenant_burst_events": 2_000,
                   "api.tenant_events_per_s": 100, "api.key_streams": 2,
                   "api.enrich": (EnrichRule(property="edge", header="X-Edge"),)}  # fmt: skip
        made = settings.with_changes(changes)
        topics.apply(made)
        yield made


@pytest.fixture(scope="module")
def door(run: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(run, f"tenant-{run.run_id}", tmp_path_factory.mktemp("api") / "serve.log") as made:
        yield made
