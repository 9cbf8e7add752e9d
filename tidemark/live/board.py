"""Leaderboards: the top customers of a window, chosen from its rows, and as they stand in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from tidemark_client.keys import leaderboard_keys
from udfs.live.lua import script
from udfs.values import epoch_ms, instant, plain

WINDOW = timedelta(hours=1)
# A board that no later window replaces is gone after this, counted from when its rows were stored.
LIFE = 2 * WINDOW
_TOTAL = "total:"

SCRIPT = script("tidemark.live", "replace_board")

Pair = tuple[str, str]
Version = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A customer in a window, as it is stored.

    Parameters
    ----------
    customers_n, tenant_n:
        Measurements in the window: the sum over all its customers, and of the row of the tenant, None without one.
    stored_at:
        When the last row of the window was written.

    """

    tenant: str
    meter: str
    window_end: datetime
    customer: str
    total: Decimal
    customers_n: int
    tenant_n: int | None
    stored_at: datetime

    @property
    def complete(self) -> bool:
        """Whether all customers of the window are stored: together they have what the tenant has, or more.

        More is there after a restart without state, when rows of both runs are kept by the guard.
        """
        return self.tenant_n is not None and self.customers_n >= self.tenant_n


@dataclass(frozen=True, slots=True)
class Board:
    """The top customers of a window with their exact totals, greatest first; equal ones in the order of their ids."""

    tenant: str
    meter: str
    window_end: datetime
    n: int
    stored_at: datetime
    totals: tuple[tuple[str, Decimal], ...]

    @property
    def pair(self) -> Pair:
        """Name what it is the board of."""
        return self.tenant, self.meter

    @property
    def version(self) -> Version:
        """Differs when something changed: windows go on, and n only grows."""
        return self.window_end, self.n


def choose(entries: Iterable[Entry], size: int) -> list[Board]:
    """The board of each tenant and meter: the `size` greatest customers of its latest complete window."""
    latest: dict[Pair, Board] = {}
    ordered = sorted(entries, key=lambda e: (e.tenant, e.meter, e.window_end))
    for (tenant, meter, window_end), group in groupby(ordered, lambda e: (e.tenant, e.meter, e.window_end)):
        rows = list(group)
        if rows[0].complete:
            totals = greatest_first((row.customer, row.total) for row in rows)[:size]
            board = Board(tenant, meter, window_end, rows[0].customers_n, rows[0].stored_at, tuple(totals))
            latest[board.pair] = board
    return list(latest.values())


def changed(boards: Iterable[Board], pushed: Mapping[Pair, Version]) -> list[Board]:
    """Boards that were not written before as they are now."""
    return [board for board in boards if pushed.get(board.pair) != board.version]


def arguments(prefix: str, board: Board, now: datetime) -> list[str | int]:
    """What the script is called with: two keys; end and life of the window; the number of customers; scores; fields."""
    left_ms = max(1, epoch_ms(board.stored_at + LIFE) - epoch_ms(now))
    scores = [text for customer, total in board.totals for text in (plain(total), customer)]
    fields: dict[str, str | int] = {
        "window_start": epoch_ms(board.window_end - WINDOW),
        "window_end": epoch_ms(board.window_end),
        "updated_at": epoch_ms(now),
        **{_TOTAL + customer: plain(total) for customer, total in board.totals},
    }
    keys = leaderboard_keys(prefix, *board.pair)
    head: list[str | int] = [*keys, epoch_ms(board.window_end), left_ms, len(board.totals)]
    return [*head, *scores, *(part for field in fields.items() for part in field)]


@dataclass(frozen=True, slots=True)
class Top:
    """A board as Redis has it: bounds of the window, UTC, and totals, greatest first."""

    window_start: datetime
    window_end: datetime
    totals: tuple[tuple[str, Decimal], ...]


def read(fields: Mapping[str, str]) -> Top:
    """A board from the fields of its hash."""
    totals = [(name.removeprefix(_TOTAL), Decimal(text)) for name, text in fields.items() if name.startswith(_TOTAL)]
    start, end = (instant(int(fields[name])) for name in ("window_start", "window_end"))
    return Top(start, end, tuple(greatest_first(totals)))


def greatest_first(totals: Iterable[tuple[str, Decimal]]) -> list[tuple[str, Decimal]]:
    """Totals in the order of a board; compared, because a negated decimal would be rounded to 28 digits."""
    return sorted(sorted(totals), key=lambda total: total[1], reverse=True)
