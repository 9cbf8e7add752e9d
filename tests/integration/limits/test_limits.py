"""Limits through the running job: denied and reported once, also when the limit moves and nobody sends anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.flink.rest import wait_until
from tests.integration.storage import reader_url
from tests.pipeline import Pipeline, pipeline
from tests.streams import StreamRecord
from tidemark.catalog import tool as catalog_tool
from tidemark.core.redis import client as redis_client
from tidemark.core.supervisor import Supervisor
from tidemark.live import counters, limits
from tidemark_client import LimitReader

WITHIN_S = 60.0
METERS = {"calls": {"event_types": ["call"], "aggregation": "sum", "unit": "calls", "group_by": ["model"]}}


@dataclass
class Shop:
    """A tenant whose catalog changes while its customers use it."""

    run: Pipeline
    folder: Path
    tenant: dict[str, Any] = field(default_factory=dict)
    sent: int = 0

    def state(self, **tenant: Any) -> None:
        """Make this the catalog of the tenant from the running minute on."""
        minute = datetime.now(UTC).replace(second=0, microsecond=0)
        # The keys of the first catalog hold from the beginning, so that each change has a version before it.
        begin = minute.isoformat().replace("+00:00", "Z") if self.tenant else "beginning"
        self.tenant = tenant
        file = self.folder / "shop.yaml"
        file.write_text(yaml.safe_dump({"valid_from": begin, "tenants": {"shop": tenant}, "meters": METERS}))
        catalog_tool.apply(self.run.settings, file, backdate=True, prune=True, all_tenants=True)

    def use(self, customer: str, quantity: str, voids: str = "") -> str:
        """Send one event, or a void; its id."""
        self.sent += 1
        event_id = voids or f"e-{self.sent}"
        at = datetime.now(UTC)
        void = f',"voids":"{voids}"' if voids else ""
        value = (
            f'{{"event_id":"{"v-" if voids else ""}{event_id}","tenant_id":"shop","customer_id":"{customer}",'
            f'"event_type":"call","timestamp":"{at.isoformat()}","quantity":"{quantity}",'
            f'"properties":{{"model":"m{self.sent % 2}"}}{void}}}'
        )
        self.run.send([StreamRecord(0, int(at.timestamp() * 1_000), None, value.encode(), None, None)])
        return event_id

    def reported(self, customer: str) -> list[tuple[str, str]]:
        """Type and threshold of each alert about a customer, in order."""
        return [(one.type, one.threshold or "") for one in self.run.alerts() if one.customer_id == customer]

    def wait_reported(self, customer: str, *expected: tuple[str, str]) -> None:
        """Wait until exactly these were reported."""
        seen: list[list[tuple[str, str]]] = [[]]

        def all_there() -> bool:
            seen[0] = self.reported(customer)
            return len(seen[0]) >= len(expected)

        wait_until(all_there, WITHIN_S, f"{expected} about {customer}")
        assert seen[0] == list(expected)


@pytest.fixture(scope="module")
def shop(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("limits")
    changes = {"catalog.refresh_s": 1, "live.refresh_s": 1}
    with pipeline(stack.settings, "limits", {"meters": METERS}, folder, **changes) as run:
        made = Shop(run, folder)
        made.state(
            limits={"calls": {"cap": 10, "mode": "hard", "thresholds": ["50%", {"every": 4}]}},
            plans={
                "small": {"limits": {"calls": {"cap": 5, "mode": "hard", "thresholds": []}}},
                "large": {"limits": {"calls": {"cap": 500, "mode": "hard", "thresholds": []}}},
            },
            customers={"mover": {"plan": "small"}, "quiet": {"plan": "small"}},
        )
        run.start()
        stop = threading.Event()
        services = {"live": [counters.service(run.settings), *limits.services(run.settings)]}
        serving = threading.Thread(target=Supervisor(services, stop).run)
        serving.start()
        yield made
        stop.set()
        serving.join()


@pytest.fixture(scope="module")
def reader(shop: Shop) -> Iterator[LimitReader]:
    settings = shop.run.settings
    made = LimitReader(reader_url(settings), prefix=settings.names.redis_prefix, timeout_s=5, max_age_s=60)
    yield made
    made.close()


def wait_used(reader: LimitReader, customer: str, used: str) -> None:
    wait_until(lambda: reader.check("shop", customer, "calls").used == Decimal(used), WITHIN_S, f"{customer}: {used}")


def wait_reason(reader: LimitReader, customer: str, reason: str) -> None:
    wait_until(lambda: reader.check("shop", customer, "calls").reason == reason, WITHIN_S, f"{customer}: {reason}")


def test_a_cap_denies_and_each_threshold_is_reported_once(shop: Shop, reader: LimitReader) -> None:
    shop.use("anna", "3")
    wait_used(reader, "anna", "3")
    assert reader.check("shop", "anna", "calls", 8).reason == "would_exceed"
    shop.use("anna", "3")
    shop.use("anna", "6.5")
    wait_reason(reader, "anna", "limit_reached")
    assert reader.check("shop", "anna", "calls").limit == 10
    # One tick may hold several events, so the order within it is that of the amounts.
    shop.wait_reported(
        "anna",
        ("limit.threshold", "4"), ("limit.threshold", "5"), ("limit.threshold", "8"), ("limit.exceeded", "10"),
        ("limit.threshold", "12"),
    )  # fmt: skip
    figures = [one.evidence for one in shop.run.alerts() if one.customer_id == "anna"]
    assert all(one["cap"] == "10" and one["mode"] == "hard" and one["why"] == "usage" for one in figures)


def test_a_void_takes_a_customer_back_under_the_cap_once(shop: Shop, reader: LimitReader) -> None:
    event = shop.use("vera", "12")
    wait_reason(reader, "vera", "limit_reached")
    shop.use("vera", "12", voids=event)
    wait_used(reader, "vera", "0")
    shop.wait_reported(
        "vera",
        ("limit.threshold", "4"), ("limit.threshold", "5"), ("limit.threshold", "8"), ("limit.exceeded", "10"),
        ("limit.threshold", "12"),
        ("limit.resolved", "12"), ("limit.resolved", "10"), ("limit.resolved", "8"), ("limit.resolved", "5"),
        ("limit.resolved", "4"),
    )  # fmt: skip


def test_customers_without_usage_have_their_limit_from_the_start(reader: LimitReader) -> None:
    wait_until(lambda: reader.check("shop", "quiet", "calls").limit == 5, WITHIN_S, "the limit of a plan")
    assert reader.check("shop", "quiet", "calls", 6).reason == "would_exceed"
    wait_until(lambda: reader.check("shop", "nobody", "calls").limit == 10, WITHIN_S, "the limit of the tenant")
    assert reader.check("shop", "nobody", "calls", 11).reason == "would_exceed"
    assert reader.check("shop", "nobody", "other").reason == "no_limit"


def test_a_limit_that_moves_is_reported_although_nobody_sends(shop: Shop, reader: LimitReader) -> None:
    # Given three customers: one at its cap, one on a small plan that it has used up, and one far below.
    shop.use("cara", "10")
    shop.use("mover", "7")
    shop.use("lowe", "3.9")
    wait_reason(reader, "cara", "limit_reached")
    wait_reason(reader, "mover", "limit_reached")
    wait_used(reader, "lowe", "3.9")
    shop.wait_reported("mover", ("limit.exceeded", "5"))
    before = {customer: len(shop.reported(customer)) for customer in ("cara", "lowe")}
    # When the cap is raised, and one moves to a larger plan, then both go on, and each end is reported once.
    plans = shop.tenant["plans"]
    shop.state(
        limits={"calls": {"cap": 100, "mode": "hard", "thresholds": []}},
        plans=plans,
        customers={"mover": {"plan": "large"}},
    )
    wait_reason(reader, "cara", "within_limit")
    wait_reason(reader, "mover", "within_limit")
    shop.wait_reported("mover", ("limit.exceeded", "5"), ("limit.resolved", "5"))
    wait_until(lambda: ("limit.resolved", "10") in shop.reported("cara"), WITHIN_S, "the end of the cap")
    # When it is lowered below what is used, then it denies at once.
    shop.state(
        limits={"calls": {"cap": 2, "mode": "hard", "thresholds": []}},
        plans=plans,
        customers={"mover": {"plan": "large"}},
    )
    wait_reason(reader, "lowe", "limit_reached")
    wait_until(lambda: ("limit.exceeded", "2") in shop.reported("lowe"), WITHIN_S, "the lowered cap")
    assert shop.reported("lowe")[before["lowe"] :].count(("limit.exceeded", "2")) == 1
    assert shop.reported("cara").count(("limit.resolved", "10")) == 1
    moved = [one.evidence["why"] for one in shop.run.alerts() if (one.customer_id, one.threshold) == ("lowe", "2")]
    assert moved == ["rule"]


def test_a_flushed_redis_has_caps_again_from_the_stored_totals(shop: Shop, reader: LimitReader) -> None:
    shop.use("flo", "11")
    wait_reason(reader, "flo", "limit_reached")
    wait_until(lambda: shop.reported("flo"), WITHIN_S, "the alert about the cap")  # type: ignore[arg-type, return-value]
    applied = shop.reported("flo")
    # Only what is this run's: others count in this Redis at the same time.
    with closing(redis_client(shop.run.settings.redis)) as client:
        client.delete(*client.scan_iter(f"{shop.run.settings.names.redis_prefix}*"))
    wait_reason(reader, "flo", "limit_reached")
    # What Redis lost is no news.
    assert shop.reported("flo") == applied
