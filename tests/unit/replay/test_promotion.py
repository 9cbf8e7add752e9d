"""Promotions at the edges of a scope: the views of the product, and what refuses a promotion, in DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.rollup_views import view_of
from tidemark.core.settings import Settings
from tidemark.replay import promotion
from tidemark.replay.record import Replay

NAMES = Settings().names
# Start and end of a period, and its usage.
Row = tuple[datetime, datetime, int]


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


DECEMBER = datetime(2025, 12, 1, tzinfo=UTC)
MID_DECEMBER = datetime(2025, 12, 15, tzinfo=UTC)


def replay_of(start: datetime, end: datetime | None, replay_id: str = "r") -> Replay:
    return Replay(
        replay_id=replay_id, state="caught_up", scope_start=start, scope_end=end, tenants=("acme",), from_archive=False,
        events_topic="usage.events", catalog_at=None, events_per_s=0, read_from=None, late_until=at(6), starts={},
        target={}, reached=None, watermark=None, started_at=at(6), started_by="x", caught_up_at=None,
    )  # fmt: skip


class Versions:
    """The rollups of a live run and of replays, and the view that people read."""

    def __init__(self, live: Sequence[Row]) -> None:
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        self.db.execute("CREATE SCHEMA billing")
        self.promoted: list[Replay] = []
        self._add(NAMES.usage_schema, live)
        self._show()

    def add(self, replay: Replay, rows: Sequence[Row]) -> None:
        self._add(replay.overlay(NAMES).usage_schema, rows)

    def promote(self, replay: Replay) -> None:
        self.promoted.append(replay)
        self._show()

    def refuses(self, replay: Replay) -> bool:
        statement = promotion._scoped(promotion._ACROSS, Settings(), replay).as_string()
        return self.db.execute(statement).fetchone() is not None

    def read(self) -> list[Row]:
        found = self.db.execute(
            "SELECT period_start, period_end, sum(total)::int FROM billing.usage_period GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        return [(start.astimezone(UTC), end.astimezone(UTC), total) for start, end, total in found]

    def _add(self, schema: str, rows: Sequence[Row]) -> None:
        self.db.execute(f'CREATE SCHEMA "{schema}"')
        self.db.execute(
            f'CREATE TABLE "{schema}".usage_period (tenant_id text, customer_id text, meter text, dims text, '
            "part text, n bigint, samples bigint, total decimal(38, 9), lo decimal(38, 9), hi decimal(38, 9), "
            "latest text, updated_at timestamptz, period_start timestamptz, period_end timestamptz)"
        )
        for start, end, total in rows:
            self.db.execute(
                f'INSERT INTO "{schema}".usage_period VALUES '
                "('acme', 'alice', 'calls', '', '', ?, ?, ?, 1, 1, NULL, '2026-06-01', ?, ?)",
                [total, total, total, start, end],
            )

    def _show(self) -> None:
        stack = [one.overlay(NAMES) for one in self.promoted]
        self.db.execute(view_of("billing", "usage_period", NAMES.usage_schema, stack).as_string())


FIRSTS = [(DECEMBER, at(1), 31), (at(1), at(2), 31), (at(2), at(3), 28)]
MIDS = [(MID_DECEMBER, at(1, 15), 31), (at(1, 15), at(2, 15), 31), (at(2, 15), at(3, 15), 28)]


# One unit a day.
@pytest.mark.parametrize(
    ("live", "replayed", "start", "end"),
    [
        (MIDS[1:2], [(at(1, 15), at(2), 17)], at(1), at(2)),
        (FIRSTS, [(MID_DECEMBER, at(1, 15), 16), (at(1, 15), at(2, 15), 19)], at(1), at(2)),
        (FIRSTS[1:2], [(at(1, 15), at(2, 15), 17)], at(1), at(2)),
        (FIRSTS[1:2], [(MID_DECEMBER, at(1, 15), 14)], at(1), at(2)),
        (MIDS[:1], [(at(1), at(2), 14)], at(1), at(2)),
        (MIDS[:1], [(at(1), at(2), 14)], at(1), None),
        (FIRSTS, [(MID_DECEMBER, at(1, 15), 16), *MIDS[1:]], at(1), None),
        ([(MID_DECEMBER, at(2, 15), 62)], [(at(1), at(2), 31)], at(1), at(2)),
    ],
    ids=[
        "cut at the end", "other periods across both edges", "of the replay across the end",
        "of the replay across the start", "of the version below across the start", "the same without an end",
        "of the replay across the start without an end", "one period below around the scope",
    ],
)  # fmt: skip
def test_a_promotion_that_would_double_or_lose_usage_at_an_edge_is_refused(
    live: list[Row], replayed: list[Row], start: datetime, end: datetime | None
) -> None:
    versions, replay = Versions(live), replay_of(start, end)
    versions.add(replay, replayed)
    assert versions.refuses(replay)


@pytest.mark.parametrize(
    ("live", "replayed", "start", "end", "read"),
    [
        (FIRSTS, [(DECEMBER, at(1), 2), (at(1), at(2), 31), (at(2), at(3), 2)], at(1), at(2), FIRSTS),
        (MIDS, [(MID_DECEMBER, at(1, 15), 16), (at(1, 15), at(2, 15), 19)], at(1), at(2), MIDS),
        (FIRSTS, MIDS, DECEMBER, None, MIDS),
        (FIRSTS, [(MID_DECEMBER, at(1), 2), *FIRSTS[1:]], at(1), None, FIRSTS),
        (MIDS[1:2], [], at(1), at(2), MIDS[1:2]),
        ([], MIDS[1:2], at(1), at(2), []),
        (FIRSTS[:1], [(at(1), at(1, 15), 14)], at(1), at(2), [FIRSTS[0], (at(1), at(1, 15), 14)]),
    ],
    ids=[
        "the same periods", "the same periods across the edges", "another calendar without an end", "cut at the start",
        "across the edge below alone", "across the edge in the replay alone", "one after the other",
    ],
)  # fmt: skip
def test_a_promotion_without_such_an_edge_shows_each_unit_once(
    live: list[Row], replayed: list[Row], start: datetime, end: datetime | None, read: list[Row]
) -> None:
    versions, replay = Versions(live), replay_of(start, end)
    versions.add(replay, replayed)
    assert not versions.refuses(replay)
    versions.promote(replay)
    assert versions.read() == read


def test_a_replay_is_compared_with_what_people_read_not_with_the_live_run() -> None:
    # Given a live run by the 1st, and over it a replay by the 15th ...
    versions, lower, upper = Versions(FIRSTS), replay_of(DECEMBER, None), replay_of(at(1, 15), at(2, 15), "s")
    versions.add(lower, MIDS)
    versions.promote(lower)
    # ... then one by the 15th fits in, whose edges lie across periods of the live run.
    versions.add(upper, [(at(1, 15), at(2, 15), 40)])
    assert not versions.refuses(upper)
    versions.promote(upper)
    assert versions.read() == [MIDS[0], (at(1, 15), at(2, 15), 40), MIDS[2]]


DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 14)]
tilings = st.sets(st.sampled_from(range(13)), min_size=2).map(sorted)


@given(tilings, tilings, st.sampled_from(range(1, 6)), st.none() | st.sampled_from(range(6, 12)))
def test_exactly_what_would_not_show_each_day_once_is_refused(
    below: list[int], above: list[int], start: int, end: int | None
) -> None:
    # Both versions count a unit on each of the same days, by periods of their own.
    days = range(max(below[0], above[0]), min(below[-1], above[-1]))
    tiled = [
        [(DAYS[one], DAYS[two], n) for one, two in pairwise(cuts) if (n := sum(one <= day < two for day in days))]
        for cuts in (below, above)
    ]
    versions, replay = Versions(tiled[0]), replay_of(DAYS[start], None if end is None else DAYS[end])
    versions.add(replay, tiled[1])
    refused = versions.refuses(replay)
    versions.promote(replay)
    shown = versions.read()
    once = sum(total for *_, total in shown) == len(days) and all(one[1] <= two[0] for one, two in pairwise(shown))
    assert refused == (not once)
