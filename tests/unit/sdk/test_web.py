"""Middleware without a server: names of routes, answers to what is denied; compute time; spans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from tests.unit.sdk.reader_parts import FEB, NOW, counter, decided, stored
from tests.unit.sdk.recorder_parts import Answers
from tidemark_client import Client
from tidemark_client.decision import without_redis
from tidemark_client.stored import Suspension
from tidemark_client.timing import measure, timed
from tidemark_client.web.denial import denial
from tidemark_client.web.routes import OTHER, UNMATCHED, Routes, template_of


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(Answers(), tenant="acme", spool=tmp_path) as made:
        yield made


def events(client: Client) -> list[dict[str, Any]]:
    client.sync()
    return [json.loads(one.body) for one in client._running().spool.oldest(100, 1 << 30)]


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users/17/files", "/users/{}/files"),
        ("/users/0190163d-8694-739b-aea5-966c26f8ad91", "/users/{}"),
        ("/commits/9fceb02d0ae598e95dc970b74767f19372d61af8", "/commits/{}"),
        ("/t/" + "x" * 40, "/t/{}"),
        ("/k/sk_live_4eC39HqLyjWDarjtT1", "/k/{}"),
        ("/api/v1/completions", "/api/v1/completions"),
        ("/deadbeef", "/deadbeef"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_what_looks_like_an_id_is_no_part_of_a_name(path: str, template: str) -> None:
    assert template_of(path) == template


@given(st.lists(st.text(), max_size=40))
def test_there_are_only_so_many_names(templates: list[str]) -> None:
    routes = Routes(5)
    names = [routes.name(one) for one in templates]
    assert len({*names} - {OTHER}) <= 5
    assert [routes.name(one) for one in templates] == names
    assert routes.name(None) == UNMATCHED


def answer(decision: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = denial(decision, datetime.fromtimestamp(NOW / 1_000, UTC))
    assert dict(headers)["content-length"] == str(len(body))
    return int(status), dict(headers), json.loads(body)


def test_a_reached_limit_is_429_until_the_period_ends() -> None:
    status, headers, problem = answer(decided(stored(counter("10"))))
    assert (status, headers["content-type"]) == (429, "application/problem+json")
    assert int(headers["retry-after"]) == (FEB - NOW) // 1_000 + 1
    assert (problem["reason"], problem["detail"]) == ("limit_reached", "10 of 10 are used.")


def test_a_suspension_is_403_and_what_is_unknown_503() -> None:
    held = decided(stored(None, suspension=Suspension("fraud", "ops", None)))
    status, headers, problem = answer(held)
    assert (status, "retry-after" in headers, problem["reason"]) == (403, False, "suspended")
    # Why is for those who operate it.
    assert "fraud" not in json.dumps(problem)
    status, headers, problem = answer(without_redis("redis_unreachable", "10.0.0.1", Decimal(1), "fail_closed"))
    assert (status, headers["retry-after"], problem["detail"]) == (503, "5", "Usage is unknown at present.")


def test_what_is_said_of_a_denial_is_its_reason_also_where_there_is_a_limit() -> None:
    suspension = Suspension("fraud", "ops", None)
    for heartbeat_ms in (NOW, NOW - 600_000):
        held = decided(stored(counter("5"), suspension=suspension, heartbeat_ms=heartbeat_ms))
        status, _, problem = answer(held)
        assert (status, problem["detail"]) == (403, "This customer is suspended.")
    stale = decided(stored(counter("5"), heartbeat_ms=NOW - 600_000), policy="fail_closed")
    status, headers, problem = answer(stale)
    assert (status, headers["retry-after"], problem["reason"]) == (503, "5", "stale")
    assert problem["detail"] == "Usage is unknown at present."


def test_a_block_is_recorded_in_seconds_with_its_outcome(client: Client) -> None:
    with measure(client, "compute", customer="c", model="large") as work:
        work.properties["steps"] = 3
    with pytest.raises(ZeroDivisionError), measure(client, "compute", customer="c", clock="cpu"):
        _ = 1 // 0
    good, bad = events(client)
    assert work.seconds is not None
    assert Decimal(good["quantity"]) == work.seconds > 0
    assert good["properties"] == {"model": "large", "steps": 3, "outcome": "ok"}
    assert bad["properties"] == {"outcome": "error"}


def test_a_function_and_a_coroutine_function_are_recorded_by_call(client: Client) -> None:
    @timed(client, "compute", customer=lambda user, **_: f"c-{user}", kind="sync")
    def double(user: int, times: int = 2) -> int:
        """It doubles."""
        return user * times

    @timed(client, "compute", customer="c-9")
    async def later() -> str:
        await asyncio.sleep(0)
        return "done"

    assert (double(4, times=3), double.__doc__, asyncio.run(later())) == (12, "It doubles.", "done")
    assert [event["customer_id"] for event in events(client)] == ["c-4", "c-9"]


def test_what_does_not_end_with_its_call_is_refused(client: Client) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> None:
        """Nothing."""

    with pytest.raises(TypeError, match="generator"):
        timed(client, "compute", customer="c")(generator)
    with pytest.raises(TypeError, match="coroutine"):
        timed(client, "compute", customer="c", clock="cpu")(coroutine)
    with pytest.raises(ValueError, match="clock is"):
        timed(client, "compute", customer="c", clock="sun")  # type: ignore[arg-type]


def test_a_span_names_the_usage_recorded_in_it(client: Client) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        event = client.record("tokens", customer="c-7", quantity=Decimal("1.5"))
        client.record("calls", customer="c-7", quantity=2)
    attributes = dict(span.attributes)  # type: ignore[attr-defined]
    assert attributes.pop("tidemark.event_id") > event.id
    assert attributes == {"tidemark.customer": "c-7", "tidemark.usage.tokens": "1.5", "tidemark.usage.calls": 2}
