"""Leaderboards: which window and which customers are chosen, and that a board survives its way through Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tidemark.live.board import LIFE, Board, Entry, arguments, changed, choose, read
from tidemark_client.keys import leaderboard_keys

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
FIVE = timedelta(minutes=5)


def entry(customer: str, total: str, *, end: datetime = NOON, have: int = 3, of: int | None = 3) -> Entry:
    return Entry("acme", "calls", end, customer, Decimal(total), have, of, NOON)


def names(boards: list[Board]) -> list[list[str]]:
    return [[customer for customer, _ in board.totals] for board in boards]


def test_the_greatest_are_first_and_equal_ones_in_the_order_of_their_ids() -> None:
    boards = choose([entry("b", "2"), entry("z", "10"), entry("a", "2.0"), entry("y", "-1")], 3)
    assert names(boards) == [["z", "a", "b"]]


def test_the_last_of_38_digits_decides() -> None:
    whole = "12345678901234567890123456789"
    boards = choose([entry("a", f"{whole}.000000001"), entry("b", f"{whole}.000000002")], 1)
    assert names(boards) == [["b"]]


def test_the_latest_window_counts_that_is_complete() -> None:
    #  11:55  complete      12:00  complete      12:05  a row of three is there      12:10  no row of the tenant yet
    rows = [
        entry("old", "9", end=NOON - FIVE),
        entry("new", "1"),
        entry("part", "5", end=NOON + FIVE, have=1),
        entry("alone", "5", end=NOON + 2 * FIVE, of=None),
    ]
    (board,) = choose(rows, 10)
    assert (board.window_end, names([board])) == (NOON, [["new"]])


def test_customers_may_have_more_than_the_tenant_but_not_less() -> None:
    assert len(choose([entry("a", "1", have=4)], 10)) == 1
    assert choose([entry("a", "1", have=2)], 10) == []


def test_each_tenant_and_meter_has_its_own_board() -> None:
    rows = [
        Entry(tenant, meter, NOON, "c", Decimal(1), 1, 1, NOON)
        for tenant in ("acme", "globex")
        for meter in ("calls", "miles")
    ]
    assert [board.pair for board in choose(rows, 10)] == [
        ("acme", "calls"), ("acme", "miles"), ("globex", "calls"), ("globex", "miles")
    ]  # fmt: skip


def test_a_board_is_written_again_when_its_window_or_its_rows_changed() -> None:
    (board,) = choose([entry("a", "1")], 10)
    assert changed([board], {}) == [board]
    assert changed([board], {board.pair: board.version}) == []
    assert changed([board], {board.pair: (NOON, 2)}) == [board]
    assert changed([board], {board.pair: (NOON - FIVE, 3)}) == [board]


def test_ids_are_encoded_and_both_keys_are_on_one_node() -> None:
    assert leaderboard_keys("usage:", "a/b}", "x:y") == (
        "usage:{a%2Fb%7D}::top:x%3Ay",
        "usage:{a%2Fb%7D}::top:x%3Ay:window",
    )


def test_a_board_lives_two_windows_from_when_it_was_stored() -> None:
    (board,) = choose([entry("a", "1.50")], 10)
    sent = arguments("usage:", board, NOON + timedelta(minutes=30))
    end_ms = int(NOON.timestamp()) * 1_000
    assert sent[2:7] == [end_ms, (LIFE // timedelta(milliseconds=1)) - 1_800_000, 1, "1.5", "a"]
    assert arguments("usage:", board, NOON + 2 * LIFE)[3] == 1, "Redis takes no life of zero"


decimals = st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28)


@given(st.dictionaries(st.text(max_size=8), decimals, min_size=1, max_size=8))
def test_exact_totals_come_back_in_order_whatever_customers_are_called(totals: dict[str, Decimal]) -> None:
    (board,) = choose([entry(customer, str(total)) for customer, total in totals.items()], 5)
    sent = arguments("usage:", board, NOON)
    fields = [str(part) for part in sent[5 + 2 * len(board.totals) :]]
    found = read(dict(zip(fields[::2], fields[1::2], strict=True)))
    assert found.totals == board.totals
    assert (found.window_start, found.window_end) == (NOON - timedelta(hours=1), NOON)
