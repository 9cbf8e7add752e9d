"""Anomaly detectors of one series: what begins, what ends, what stays quiet, and that time alone decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.anomaly.detector import STATE_VERSION, Detector, StateError, replay, utc_offset_ms
from udfs.anomaly.series import Change, Minute, Series, series_of
from udfs.anomaly.tuning import DAY_MS, HOUR_MS, MINUTE_MS, STEP_MS, Tuning

METER = Series("meter", "acme", "", "calls")
CUSTOMER = Series("customer", "acme", "c-1", "calls")
TENANT = Series("tenant", "acme")
TUNING = Tuning()
MONDAY_MS = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000
Rate = Callable[[int], float]


def poisson(rng: Random, rate: float) -> int:
    """Events of an hour at this rate."""
    count, passed = 0, rng.expovariate(1) if rate else float("inf")
    while passed < rate:
        count, passed = count + 1, passed + rng.expovariate(1)
    return count


def minutes(days: float, rate: Rate, seed: int = 1, amount: str = "1") -> Iterator[Minute]:
    """Minutes of a series with `rate(at_ms)` events an hour."""
    rng = Random(seed)
    for at_ms in range(MONDAY_MS, MONDAY_MS + round(days * DAY_MS), STEP_MS):
        n = poisson(rng, rate(at_ms) / 12)
        if n:
            yield Minute(at_ms + rng.randrange(5) * MINUTE_MS, n, n * Decimal(amount))


def by_day(at_ms: int, day: float = 20.0, night: float = 0.0) -> float:
    """Usage of people: nothing at night, half as much on Saturdays and Sundays."""
    hours = (at_ms - MONDAY_MS) // HOUR_MS
    level = day if 6 <= hours % 24 < 22 else night
    return level / 2 if hours // 24 % 7 >= 5 else level


def fault(factor: float, start_ms: int, hours: float, rate: Rate = by_day) -> Rate:
    return lambda at_ms: rate(at_ms) * (factor if 0 <= at_ms - start_ms < hours * HOUR_MS else 1)


def said(series: Series, given_minutes: Iterator[Minute], until_ms: int) -> list[tuple[str, str]]:
    return [(change.kind, change.status) for change in replay(series, given_minutes, until_ms, TUNING)]


def at(day: int, hour: float) -> int:
    return MONDAY_MS + day * DAY_MS + round(hour * HOUR_MS)


@pytest.mark.parametrize(
    ("factor", "kind"), [(3.0, "spike"), (0.0, "missing"), (0.15, "drop")], ids=["three times", "nothing", "little"]
)
def test_a_fault_of_two_hours_begins_once_and_ends_once(factor: float, kind: str) -> None:
    # Given five weeks by the hours of the week, and two hours of a Wednesday that are not like them ...
    rate = fault(factor, at(30, 12), 2)
    changes = replay(METER, minutes(35, rate), at(35, 0), TUNING)
    # ... then it is said within them, and its end soon after.
    assert [(change.kind, change.status) for change in changes] == [(kind, "firing"), (kind, "resolved")]
    begun, ended = changes
    assert at(30, 12) < begun.at_ms <= at(30, 14)
    assert at(30, 14) < ended.at_ms <= at(30, 16)
    assert begun.since_ms == ended.since_ms <= begun.at_ms


def test_a_change_says_what_was_expected_and_seen() -> None:
    rate = fault(4.0, at(30, 12), 2)
    begun, _ = replay(METER, minutes(35, rate, amount="2.5"), at(35, 0), TUNING)
    assert 30 < begun.expected < 70  # 20 events of 2.5 an hour
    assert begun.observed > begun.threshold > begun.expected
    assert begun.observed % Decimal("2.5") == 0
    assert begun.score >= Decimal(str(TUNING.spike.begin))


@pytest.mark.parametrize("seed", range(4))
def test_weeks_without_a_fault_are_quiet(seed: int) -> None:
    assert said(METER, minutes(56, by_day, seed), at(56, 0)) == []


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_a_holiday_is_no_anomaly(factor: float) -> None:
    # A Thursday with three tenths more or less than other Thursdays, all day.
    assert said(METER, minutes(42, fault(factor, at(38, 0), 24)), at(42, 0)) == []


def test_nothing_is_said_before_there_is_history() -> None:
    assert said(METER, minutes(2, fault(5.0, at(1, 10), 3, lambda _: 30)), at(2, 0)) == []


def test_an_even_series_is_judged_by_its_last_week_until_its_seasons_are_known() -> None:
    rate = fault(4.0, at(4, 10), 2, lambda _: 60)
    assert said(METER, minutes(6, rate), at(6, 0)) == [("spike", "firing"), ("spike", "resolved")]


def test_nights_and_days_make_no_silence_before_the_seasons_are_known() -> None:
    assert said(METER, minutes(20, by_day), at(20, 0)) == []


def test_silence_is_seen_though_no_minute_comes() -> None:
    # Given 35 days that end at noon; nothing at all comes after them ...
    changes = replay(METER, minutes(35.5, by_day), at(35, 15), TUNING)
    # ... then the silence is counted from the last event.
    (missing,) = changes
    assert missing.kind == "missing"
    assert at(35, 11.8) < missing.since_ms <= at(35, 12)


def test_a_customer_alarms_by_spikes_alone() -> None:
    spiky = fault(4.0, at(30, 12), 2)
    assert said(CUSTOMER, minutes(35, spiky), at(35, 0)) == [
        ("customer_spike", "firing"),
        ("customer_spike", "resolved"),
    ]
    assert said(CUSTOMER, minutes(35, fault(0.0, at(30, 12), 6)), at(36, 0)) == []


def test_a_customer_of_few_events_is_no_spike_however_many_times_its_usage() -> None:
    few = fault(20.0, at(30, 12), 2, lambda _: 0.2)
    assert said(CUSTOMER, minutes(35, few), at(35, 0)) == []


@pytest.mark.parametrize(("to", "days"), [(1.6, 28), (0.6, 28)])
def test_a_slow_drift_is_seen_and_becomes_the_new_usual(to: float, days: int) -> None:
    def rate(at_ms: int) -> float:
        grown = min(max((at_ms - at(70, 0)) / (days * DAY_MS), 0.0), 1.0)
        return by_day(at_ms) * (1 + (to - 1) * grown)

    changes = [one for one in replay(METER, minutes(180, rate), at(180, 0), TUNING) if one.kind == "drift"]
    assert [change.status for change in changes] == ["firing", "resolved"]
    assert at(75, 0) < changes[0].at_ms < at(70 + days + 14, 0)


def test_what_lasts_is_learned_so_that_its_episode_ends() -> None:
    doubled = fault(2.2, at(35, 0), 24 * 90, lambda _: 60)
    changes = [one for one in replay(METER, minutes(100, doubled), at(100, 0), TUNING) if one.kind == "spike"]
    assert [change.status for change in changes] == ["firing", "resolved"]


def test_an_outage_of_three_hours_is_not_learned() -> None:
    # The same three hours of the next Wednesday are as usual, and are not taken for a spike.
    changes = replay(METER, minutes(45, fault(0.0, at(30, 12), 3)), at(45, 0), TUNING)
    assert [change.kind for change in changes] == ["missing", "missing"]


def test_a_share_of_dead_letters_begins_and_ends() -> None:
    def stream() -> Iterator[Minute]:
        for at_ms in range(MONDAY_MS, at(5, 0), STEP_MS):
            bad = 5 if at(4, 10) <= at_ms < at(4, 11) else at_ms // STEP_MS % 20 == 0
            yield Minute(at_ms, 10, Decimal(int(bad)))

    changes = replay(TENANT, stream(), at(5, 0), TUNING)
    assert [(change.kind, change.status) for change in changes] == [
        ("error_rate", "firing"),
        ("error_rate", "resolved"),
    ]
    assert Decimal("0.05") < changes[0].observed < Decimal("0.4")


def test_sums_that_fall_below_zero_are_counted_in_events() -> None:
    def stream() -> Iterator[Minute]:
        for index, minute in enumerate(minutes(35, fault(4.0, at(30, 12), 2))):
            yield minute._replace(total=minute.n * Decimal(-1 if index % 2 else 1))

    assert said(METER, stream(), at(35, 0)) == [("spike", "firing"), ("spike", "resolved")]


def test_hours_of_the_week_follow_the_clocks_of_the_zone() -> None:
    # New York's clocks go forward on 10 March 2024: usage from 6 to 22 h there moves by an hour in UTC.
    def rate(at_ms: int) -> float:
        local = at_ms + utc_offset_ms("America/New_York", at_ms // HOUR_MS)
        return 40.0 if 6 <= local // HOUR_MS % 24 < 22 else 0.0

    stream = list(minutes(84, rate))
    assert replay(METER, stream, at(84, 0), TUNING, "America/New_York") == []
    assert replay(METER, stream, at(84, 0), TUNING, "Etc/UTC") != []


def test_a_series_is_forgotten_after_weeks_of_silence_and_its_episode_ends() -> None:
    detector = Detector(METER, TUNING, "Etc/UTC")
    for minute in minutes(30, by_day):
        detector.advance(minute.at_ms)
        detector.add(minute)
    changes = detector.advance(at(80, 0))
    assert [(change.kind, change.status) for change in changes][-2:] == [("missing", "firing"), ("missing", "resolved")]
    assert detector.forgotten


def test_a_minute_whose_step_is_judged_is_refused() -> None:
    detector = Detector(METER, TUNING, "Etc/UTC")
    assert detector.add(Minute(MONDAY_MS, 1, Decimal(1)))
    detector.advance(MONDAY_MS + STEP_MS)
    assert not detector.add(Minute(MONDAY_MS, 1, Decimal(1)))


def test_state_of_another_version_is_refused() -> None:
    state = msgspec.msgpack.encode([STATE_VERSION + 1, None, None, None, None])
    with pytest.raises(StateError, match="start the job without state"):
        Detector(METER, TUNING, "Etc/UTC", state)
    with pytest.raises(StateError):
        Detector(METER, TUNING, "Etc/UTC", b"\xc1")


def test_state_stays_small_however_long_the_history() -> None:
    sizes = []
    for weeks in (8, 16):
        detector = Detector(METER, TUNING, "Etc/UTC")
        for minute in minutes(weeks * 7, by_day):
            detector.advance(minute.at_ms)
            detector.add(minute)
        sizes.append(len(detector.dump()))
    assert max(sizes) < 10_000
    assert sizes[1] < sizes[0] * 1.05


def test_a_key_names_its_series() -> None:
    for series in (METER, CUSTOMER, TENANT):
        assert series_of(series.key) == series


HISTORY = list(minutes(33, fault(4.0, at(30, 12), 2)))
TELLS: list[Change] = replay(METER, HISTORY, at(33, 0), TUNING)


@settings(max_examples=5)  # each replays a month
@given(seed=st.integers(0, 2**32))
def test_portions_order_and_restarts_change_nothing(seed: int) -> None:
    # Given the same minutes in shuffled portions of any size, and a detector made anew from its bytes now and then
    chance = Random(seed)
    detector = Detector(METER, TUNING, "Etc/UTC")
    changes: list[Change] = []
    rest = HISTORY
    while rest:
        size = chance.randrange(1, 2_000)
        portion, rest = rest[:size], rest[size:]
        chance.shuffle(portion)
        for minute in portion:
            assert detector.add(minute)
        # All minutes up to the first of the next portion are there.
        changes += detector.advance(rest[0].at_ms if rest else at(33, 0))
        if chance.random() < 0.5:
            detector = Detector(METER, TUNING, "Etc/UTC", detector.dump())
    # then it says the same.
    assert changes == TELLS != []


def test_a_series_that_doubles_for_good_stops_alarming_within_days() -> None:
    # By day and night, so that every night would end the episode and every morning begin another.
    grown = fault(2.2, at(35, 0), 24 * 30, lambda at_ms: by_day(at_ms, 60.0))
    begun = [one for one in replay(METER, minutes(60, grown), at(60, 0), TUNING) if one.kind == "spike"]
    assert begun
    assert begun[-1].at_ms < at(39, 0)


def test_a_day_of_storm_is_not_taken_for_the_new_usual() -> None:
    storm = fault(0.2, at(37, 12), 24, lambda at_ms: by_day(at_ms, 40.0))
    changes = replay(METER, minutes(60, storm), at(60, 0), TUNING)
    assert {one.kind for one in changes} <= {"drop", "missing"}
    assert changes[-1].at_ms < at(39, 12)
