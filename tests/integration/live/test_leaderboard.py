"""Leaderboards from a real TimescaleDB into a real Redis: complete, exact, never older, gone when nobody goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.integration.storage import OwnRedis, own_run
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.usage import register
from tidemark.core import postgres
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.settings import Settings
from tidemark.live.leaderboard import Leaderboard, top

HOUR_MS = 3_600_000
# 19 digits in front and 9 behind: no double holds it.
EXACT = "1234567890123456789.000000001"


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        yield settings.with_changes({"live.leaderboard_size": 3})


@pytest.fixture
def board(run: Settings) -> Iterator[Leaderboard]:
    with closing(Leaderboard(run)) as made:
        yield made


def store(run: Settings, end: str, *, tenant_n: int = 0, meter: str = "calls", ago: str = "0 s", **totals: str) -> None:
    """An hour until `end`, stored `ago`: one measurement a customer, and the row of the tenant where it has any."""
    schema = run.names.usage_schema
    columns = "meter, window_s, window_start, window_end, n, total"
    values = "%(meter)s, 3600, %(end)s::timestamptz - interval '1 hour', %(end)s, %(n)s, %(total)s"
    with postgres.connect(run.postgres) as connection:
        for customer, total in totals.items():
            connection.execute(
                f"INSERT INTO {schema}.usage_sliding_customer (tenant_id, customer_id, updated_at, {columns}) "  # type: ignore[arg-type]
                f"VALUES ('acme', %(customer)s, now() - %(ago)s::interval, {values}) "
                "ON CONFLICT (tenant_id, customer_id, meter, window_s, window_end) DO NOTHING",
                {"customer": customer, "meter": meter, "end": end, "n": 1, "total": total, "ago": ago},
            )
        if tenant_n:
            connection.execute(
                f"INSERT INTO {schema}.usage_sliding (tenant_id, {columns}) VALUES ('acme', {values})",  # type: ignore[arg-type]
                {"meter": meter, "end": end, "n": tenant_n, "total": 0},
            )


def members(run: Settings, server: OwnRedis, meter: str = "calls") -> list[str]:
    found: Any = server.client.zrevrange(f"{run.names.redis_prefix}{{acme}}::top:{meter}", 0, -1)
    return list(found)


def shown(run: Settings, meter: str = "calls") -> list[tuple[str, str]]:
    found = top(run, "acme", meter)
    return [(customer, str(total)) for customer, total in found.totals] if found else []


def test_the_top_customers_of_the_latest_hour_are_in_redis_exactly(
    run: Settings, own_redis: OwnRedis, board: Leaderboard
) -> None:
    store(run, "2024-03-01 11:55Z", tenant_n=1, old="99")
    store(run, "2024-03-01 12:00Z", tenant_n=4, window_end=EXACT, b="2.5", c="2", d="1")
    assert board.refresh() == 1
    assert members(run, own_redis) == ["window_end", "b", "c"]
    assert shown(run) == [("window_end", EXACT), ("b", "2.5"), ("c", "2")]
    fields: Any = own_redis.client.hgetall(f"{run.names.redis_prefix}{{acme}}::top:calls:window")
    assert (fields["window_start"], fields["window_end"]) == ("1709290800000", "1709294400000")
    assert fields["total:window_end"] == EXACT
    for key in ("top:calls", "top:calls:window"):
        left: Any = own_redis.client.pttl(f"{run.names.redis_prefix}{{acme}}::{key}")
        assert HOUR_MS < left <= 2 * HOUR_MS


def test_a_board_waits_until_all_customers_of_the_window_are_stored(
    run: Settings, own_redis: OwnRedis, board: Leaderboard
) -> None:
    store(run, "2024-03-01 12:00Z", tenant_n=1, a="1")
    store(run, "2024-03-01 12:05Z", a="1")
    assert board.refresh() == 1
    assert members(run, own_redis) == ["a"]
    store(run, "2024-03-01 12:05Z", tenant_n=2, meter="calls")
    assert board.refresh() == 0, "one of two measurements is there"
    store(run, "2024-03-01 12:05Z", b="7")
    assert board.refresh() == 1
    assert shown(run) == [("b", "7"), ("a", "1")]
    assert board.refresh() == 0, "what is there is not written again"


def test_a_customer_that_left_the_top_is_gone(run: Settings, own_redis: OwnRedis, board: Leaderboard) -> None:
    store(run, "2024-03-01 12:00Z", tenant_n=2, a="1", b="2")
    board.refresh()
    store(run, "2024-03-01 12:05Z", tenant_n=1, c="1")
    assert board.refresh() == 1
    assert members(run, own_redis) == ["c"]
    assert shown(run) == [("c", "1")]


def test_an_older_window_never_replaces_a_newer_one(run: Settings, own_redis: OwnRedis, board: Leaderboard) -> None:
    newer = f"{run.names.redis_prefix}{{acme}}::top:calls"
    own_redis.client.zadd(newer, {"newer": 1})
    own_redis.client.hset(f"{newer}:window", "window_end", "1709294400001")
    store(run, "2024-03-01 12:00Z", tenant_n=1, a="1")
    assert board.refresh() == 0
    assert members(run, own_redis) == ["newer"]


def test_a_key_of_another_type_is_replaced(run: Settings, own_redis: OwnRedis, board: Leaderboard) -> None:
    for key in ("top:calls", "top:calls:window"):
        own_redis.client.set(f"{run.names.redis_prefix}{{acme}}::{key}", "no board")
    store(run, "2024-03-01 12:00Z", tenant_n=1, a="1")
    assert board.refresh() == 1
    assert shown(run) == [("a", "1")]


def test_boards_are_back_after_redis_lost_them(run: Settings, own_redis: OwnRedis, board: Leaderboard) -> None:
    store(run, "2024-03-01 12:00Z", tenant_n=1, a="1")
    store(run, "2024-03-01 12:00Z", tenant_n=1, meter="miles", a="2")
    assert board.refresh() == 2
    own_redis.kill()
    with pytest.raises(UnavailableError, match="Redis"):
        board.refresh()
    own_redis.start()
    assert board.refresh() == 2
    assert (shown(run), shown(run, "miles")) == ([("a", "1")], [("a", "2")])


def test_what_was_stored_more_than_two_windows_ago_is_no_board(run: Settings, board: Leaderboard) -> None:
    store(run, "2024-03-01 12:00Z", tenant_n=1, ago="2 hours 1 second", a="1")
    assert board.refresh() == 0
    assert top(run, "acme", "calls") is None
    store(run, "2024-03-01 12:00Z", tenant_n=1, ago="1 hour", meter="miles", a="1")
    assert board.refresh() == 0, "written before the last look"


def test_the_command_shows_places_and_exact_totals(
    run: Settings, board: Leaderboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = typer.Typer()
    register(app)
    monkeypatch.setattr("tidemark.cli.usage.load", lambda **_: run)
    file = tmp_path / "catalog.yaml"
    meter = {"event_types": "call", "aggregation": "count", "unit": "calls"}
    file.write_text(json.dumps({"valid_from": "beginning", "tenants": {"acme": {"meters": {"calls": meter}}}}))
    catalog_tool.apply(run, file, backdate=True, prune=True, all_tenants=True)
    missing = json.loads(CliRunner().invoke(app, ["top", "acme", "calls", "--json"]).stdout)
    assert missing["customers"] == []
    assert "nothing that a customer used" in missing["why"]
    off = run.with_changes({"rollup.customer_windows": False})
    monkeypatch.setattr("tidemark.cli.usage.load", lambda **_: off)
    assert "rollup.customer_windows is off" in CliRunner().invoke(app, ["top", "acme", "calls"]).stdout
    monkeypatch.setattr("tidemark.cli.usage.load", lambda **_: run)
    for words in (["top", "acne", "calls"], ["top", "acme", "cals"]):
        wrong = CliRunner().invoke(app, words)
        assert isinstance(wrong.exception, UsageError)
        assert "did you mean" in wrong.exception.fix
    store(run, "2024-03-01 12:00Z", tenant_n=2, a=EXACT, b="2.50")
    board.refresh()
    assert json.loads(CliRunner().invoke(app, ["top", "acme", "calls", "--json"]).stdout) == {
        "tenant_id": "acme", "meter": "calls",
        "window_start": "2024-03-01T11:00:00Z", "window_end": "2024-03-01T12:00:00Z",
        "customers": [{"customer_id": "a", "total": EXACT}, {"customer_id": "b", "total": "2.5"}],
    }  # fmt: skip
    assert EXACT in CliRunner().invoke(app, ["top", "acme", "calls"]).stdout


def test_an_unreachable_postgres_is_reported_and_used_again(run: Settings, board: Leaderboard) -> None:
    away = run.with_changes({"postgres.ops_url": "postgresql://tidemark@127.0.0.1:9/tidemark"})
    with closing(Leaderboard(away)) as without, pytest.raises(UnavailableError, match="Postgres"):
        without.refresh()
    assert board.refresh() == 0
