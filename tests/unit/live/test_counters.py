"""Live counters: keys, what a batch is reduced to, the status of a total, what is written, the plan of the sync."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.limits.limit_parts import limit
from tidemark.live import counters as counter_sync
from tidemark.live.stored_totals import plain
from tidemark_client.keys import counter_key, heartbeat_key, limits_key
from udfs.live.counters import LiveTotal, latest, limit_status_of, queue

JAN, FEB, MAR = 1_356_998_400_000, 1_359_676_800_000, 1_362_096_000_000


def total(n: int, *, customer: str = "UA", start: int = JAN, end: int = FEB, value: str = "1") -> LiveTotal:
    return LiveTotal("EWR", customer, "miles", start, end, n, n, value, "1", "1")


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        (("EWR", "UA", "miles"), "usage:{EWR/UA}:miles"),
        (("a/b", "c}d", "e:f"), "usage:{a%2Fb/c%7Dd}:e%3Af"),
        (("{x}", "ü %", "m"), "usage:{%7Bx%7D/%C3%BC%20%25}:m"),
    ],
)
def test_a_key_percent_encodes_each_id(ids: tuple[str, str, str], key: str) -> None:
    assert counter_key("usage:", *ids) == key


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.tuples(ids, ids, ids), st.tuples(ids, ids, ids))
def test_different_ids_have_different_keys(left: tuple[str, str, str], right: tuple[str, str, str]) -> None:
    assert (counter_key("usage:", *left) == counter_key("usage:", *right)) == (left == right)


def test_a_batch_keeps_the_newest_row_of_each_counter() -> None:
    rows = [total(3), total(5), total(4), total(1, customer="AA")]
    assert latest(rows) == [total(5), total(1, customer="AA")]


def test_a_later_period_wins_over_a_larger_n() -> None:
    #  |---- January, n = 90 ----|---- February, n = 1 ----|
    assert latest([total(1, start=FEB, end=MAR), total(90)]) == [total(1, start=FEB, end=MAR)]


def test_of_two_rows_with_one_n_the_later_wins() -> None:
    assert latest([total(5, value="1"), total(5, value="2")]) == [total(5, value="2")]


def test_a_tenants_limits_and_the_heartbeat_have_keys_that_no_counter_has() -> None:
    found = {limits_key("usage:", "a/b"), heartbeat_key("usage:"), counter_key("usage:", "a/b", "", "limits")}
    assert found == {"usage:{a%2Fb}::limits", "usage:heartbeat", "usage:{a%2Fb/}:limits"}


HOUR_MS = 3_600_000
VERSION = limit("100.0", mode="hard", on_unknown="fail_closed", valid_from_ms=7).version


@pytest.mark.parametrize(
    ("used", "status"),
    [
        ("10", ["100", "hard", "fail_closed", VERSION, "90", "0", str(JAN + 10 * HOUR_MS)]),
        ("0", ["100", "hard", "fail_closed", VERSION, "100", "0", ""]),
        ("100", ["100", "hard", "fail_closed", VERSION, "0", "1", ""]),
        ("-0.5", ["100", "hard", "fail_closed", VERSION, "100.5", "0", ""]),
    ],
)
def test_a_limit_status_has_the_limit_and_what_is_left(used: str, status: list[str]) -> None:
    held = limit("100.0", mode="hard", on_unknown="fail_closed", valid_from_ms=7)
    assert limit_status_of(held, Decimal(used), (JAN, FEB), JAN + HOUR_MS).split("\x1f") == status


def test_without_a_limit_the_status_is_empty() -> None:
    assert limit_status_of(None, Decimal(5), (JAN, FEB), JAN) == ""


class Pipeline:
    """Notes the commands put into it."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    def script_load(self, script: str) -> None:
        self.commands.append(("load", script))

    def execute_command(self, *command: Any) -> None:
        self.commands.append(command)


def test_a_write_carries_the_limit_status_or_that_it_is_unknown() -> None:
    pipeline = Pipeline()
    rows = [
        total(3),
        replace(total(4), limit_status="", revision=7),
        replace(total(5), limit_status="x", revision=8, lo=""),
    ]
    queue(pipeline, "usage:", rows, now_ms=9, grace_ms=5, strict=True)
    assert pipeline.commands[0][0] == "load"
    life = FEB - JAN + 5
    assert [command[4:] for command in pipeline.commands[1:]] == [
        (f"{JAN} {FEB} 3 3 1 1 1 9 {life} 1 -1", "", "?"),
        (f"{JAN} {FEB} 4 4 1 1 1 9 {life} 1 7", "", ""),
        (f"{JAN} {FEB} 5 5 1  1 9 {life} 1 8", "", "x"),
    ]


NOW = datetime(2013, 1, 2, tzinfo=UTC)


def test_the_sync_reads_everything_at_the_start() -> None:
    assert counter_sync.since(counter_sync.Progress(), redis_has_data=True) is None


def test_the_sync_reads_everything_after_redis_lost_its_data() -> None:
    assert counter_sync.since(counter_sync.Progress(NOW), redis_has_data=False) is None


def test_the_sync_goes_on_a_minute_before_its_last_success() -> None:
    #  ……|-- 60 s again --|cursor|-- new --|
    assert counter_sync.since(counter_sync.Progress(NOW), redis_has_data=True) == NOW - timedelta(seconds=60)


def test_the_sync_leaves_out_what_it_wrote_before_as_it_is_now() -> None:
    rows, versions = counter_sync.plan([total(1), total(1, customer="AA")], {})
    assert len(rows) == 2
    rows, versions = counter_sync.plan([total(2), total(1, customer="AA")], versions)
    assert rows == [total(2)]
    assert versions == {("EWR", "UA", "miles"): (JAN, 2, -1), ("EWR", "AA", "miles"): (JAN, 1, -1)}


def test_the_sync_writes_an_equal_total_again_when_the_limits_are_newer() -> None:
    _, versions = counter_sync.plan([replace(total(1), revision=3)], {})
    rows, _ = counter_sync.plan([replace(total(1), revision=4)], versions)
    assert [row.revision for row in rows] == [4]
    assert counter_sync.plan([replace(total(1), revision=3)], versions)[0] == []


def test_the_sync_forgets_what_it_no_longer_reads() -> None:
    _, versions = counter_sync.plan([total(1)], {("EWR", "AA", "miles"): (JAN, 9, -1)})
    assert versions == {("EWR", "UA", "miles"): (JAN, 1, -1)}


def test_chunks_cover_every_row_once() -> None:
    rows = [total(n) for n in range(1, 2_502)]
    parts = list(counter_sync.chunks(rows))
    assert [len(part) for part in parts] == [1_000, 1_000, 501]
    assert [row for part in parts for row in part] == rows


@pytest.mark.parametrize("text", ["0E-9", "1E+3", "123456789012345678901234567890.123456789", "-0.000000001"])
def test_a_stored_decimal_keeps_its_digits_and_has_no_exponent(text: str) -> None:
    assert Decimal(plain(Decimal(text))) == Decimal(text)
    assert "E" not in plain(Decimal(text))
