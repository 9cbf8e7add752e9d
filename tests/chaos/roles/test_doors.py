"""Each fault of each service under the roles `api` and `web`: what is acknowledged is in the topic, pages come back.

They have a topic of their own: `api` stamps records with the time of today, and the days of `World` are simulated.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
import requests

from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.chaos.roles.world import Serve, World, note
from tests.toxics import Fault
from tidemark.core import topics
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings

pytestmark = pytest.mark.drill

ROLES = ("api", "web")
# `api` takes events of keys that it knows while Postgres is away; limits have a policy for an absent Redis.
UNREADY = {"postgres": "web", "kafka": "api", "redis": ""}
BATCH, PACE_S, LEAST_BATCHES = 20, 0.1, 10
WITHIN_S, ANSWER_WITHIN_S = 120.0, 60.0


@dataclass(frozen=True)
class Doors:
    """A process of both roles, and what a tenant needs to use them."""

    run: Settings
    serve: Serve
    key: str
    api: str
    web: str
    customer: str

    def ready(self, role: str) -> bool:
        return bool(self.serve.readyz()[role]["ready"])

    def page(self) -> int:
        """Status of the page of a customer, signed in as a browser does."""
        session = requests.Session()
        done = session.post(f"{self.web}/sign-in", {"key": self.key, "zone": "Etc/UTC"}, timeout=ANSWER_WITHIN_S)
        if done.status_code != 200:
            return done.status_code
        answer = session.get(f"{self.web}/usage", params={"customer": self.customer}, timeout=ANSWER_WITHIN_S)
        assert answer.status_code != 200 or f"Usage of {self.customer}" in answer.text
        return answer.status_code


class Sender(threading.Thread):
    """Posts batches until it is asked to end, each until it is acknowledged, and counts the answers."""

    def __init__(self, doors: Doors, name: str) -> None:
        super().__init__(daemon=True)
        self._doors, self._name = doors, name
        self._end = threading.Event()
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        while not self._end.is_set():
            names = [f"{self._name}/{len(self.acknowledged) + place}" for place in range(BATCH)]
            while not self._post(names):
                time.sleep(PACE_S)
            self.acknowledged += names
            time.sleep(PACE_S)

    def end(self) -> None:
        self._end.set()
        self.join(WITHIN_S)
        assert not self.is_alive(), "a batch was not acknowledged after the fault"

    def _post(self, names: list[str]) -> bool:
        headers = {"Authorization": f"Bearer {self._doors.key}"}
        batch = [event(name, self._doors.customer) for name in names]
        try:
            url = f"{self._doors.api}/v1/events"
            answer = requests.post(url, json=batch, headers=headers, timeout=ANSWER_WITHIN_S)
        except requests.RequestException:
            self.statuses[0] += 1
            return False
        self.statuses[answer.status_code] += 1
        return answer.status_code == 202


def event(name: str, customer: str) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"event_id": name, "customer_id": customer, "event_type": "call", "timestamp": at}


@pytest.fixture(scope="module")
def doors(here: World) -> Iterator[Doors]:
    own = {
        "topics.events": f"{here.run.topics.events}.posted", "serve.listen": "127.0.0.1:0", "api.listen": "127.0.0.1:0",
        "web.listen": "127.0.0.1:0", "web.secure_cookie": False, "api.tenant_events_per_s": 100_000,
    }  # fmt: skip
    topics.apply(here.run.with_changes(own))
    case = here.case()
    key = key_of(here.run, case.tenant, "ingest", "read")
    changed = replace(here, proxied=here.proxied.with_changes(own))
    with changed.serving(",".join(ROLES)) as serve:
        wait_until(lambda: all(serve.served.lines("listening", role) for role in ROLES), WITHIN_S, "api and web")
        wait_until(lambda: bool(serve.readyz()), WITHIN_S, "the endpoint")
        api, web = (f"http://{serve.served.lines('listening', role)[0]['address']}" for role in ROLES)
        made = Doors(here.run.with_changes(own), serve, key, api, web, "a")
        wait_until(lambda: all(map(made.ready, ROLES)), WITHIN_S, "both to be ready")
        assert made.page() == 200
        yield made


def sent_ids(doors: Doors) -> list[str]:
    return [json.loads(one.value or b"")["event_id"] for one in dump(doors.run.kafka, doors.run.topics.events)]


@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("service", UNREADY)
def test_what_is_acknowledged_under_a_fault_is_there_and_pages_come_back(
    here: World, doors: Doors, service: str, fault: Fault
) -> None:
    sender = Sender(doors, f"{service}-{fault}")
    sender.start()
    wait_until(lambda: len(sender.acknowledged) >= LEAST_BATCHES * BATCH, WITHIN_S, "events before the fault")
    role, seen_s, reason = "" if fault == "slow" else UNREADY[service], 0.0, "ready"
    begin = time.monotonic()
    with here.proxies[service].under(fault):
        if role:
            wait_until(lambda: not doors.ready(role), WITHIN_S, f"{role} to be unready")
            seen_s, reason = time.monotonic() - begin, doors.serve.readyz()[role]["reason"]
        if service != "kafka" or fault == "slow":
            before = len(sender.acknowledged)
            wait_until(lambda: len(sender.acknowledged) > before + BATCH, WITHIN_S, "events during the fault")
        assert doors.page() in {200, 503}
    begin = time.monotonic()
    wait_until(lambda: all(map(doors.ready, ROLES)), WITHIN_S, "both to be ready again")
    back_s = time.monotonic() - begin
    wait_until(lambda: doors.page() == 200, WITHIN_S, "the page")
    sender.end()
    note(service, fault, role or "api, web", "ok", f"{seen_s:.0f}", f"{back_s:.0f}", "", reason[:160])
    assert set(sender.statuses) <= {202, 503}, sender.statuses
    mine = {one for one in sent_ids(doors) if one.startswith(f"{service}-{fault}/")}
    assert mine == set(sender.acknowledged)
    assert doors.serve.is_alive
