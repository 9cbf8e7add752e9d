"""What waits for a yes: a watermark that jumped, many periods of a customer; and which periods a scope and day mean."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.billing.decide import _accepted as accepted
from tidemark.billing.guard import jumped, too_many
from tidemark.billing.lines import PeriodKey
from tidemark.billing.moments import Moment, day_start, moment
from tidemark.billing.preview import Preview
from tidemark.billing.refusals import Refusal
from tidemark.billing.scope import Scope
from tidemark.billing.watermark import arrival_of
from tidemark.cli import close as cli_close
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from udfs.alerts import pipeline
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant
from udfs.values import epoch_ms

DAY = timedelta(days=1)
GRACE = timedelta(hours=48)
START = datetime(2013, 1, 1, tzinfo=UTC)
PAIR = ("acme", "alice")
LIMITS = Settings(events={"grace_s": GRACE.total_seconds()}, close={"max_jump_days": 35, "max_periods": 100})


def days(count: int, customer: str = "alice", first: int = 0) -> list[PeriodKey]:
    return [PeriodKey("acme", customer, START + n * DAY, START + (n + 1) * DAY) for n in range(first, first + count)]


#   last watermark           one event dated today
#   |------------------ 13 years ------------------|
def test_a_watermark_that_jumps_closes_what_was_due_before_it_and_no_more() -> None:
    before = START + 10 * DAY + GRACE
    refusal = jumped(LIMITS, before, datetime(2026, 11, 29, tzinfo=UTC), days(40))
    assert refusal is not None
    assert refusal.cause == "watermark_jump"
    assert refusal.periods == tuple(days(30, first=10))
    assert "close.max_jump_days 35" in refusal.detail
    assert "2026-11-29T00:00:00Z" in refusal.detail
    assert "--yes" in refusal.detail


@pytest.mark.parametrize(("ahead", "refused"), [(35 * DAY, False), (35 * DAY + timedelta(milliseconds=1), True)])
def test_the_jump_is_exact_to_the_millisecond(ahead: timedelta, refused: bool) -> None:
    before = START + GRACE
    assert (jumped(LIMITS, before, before + ahead, days(3)) is not None) == refused
    # Before the first close the oldest due period takes the place of the last watermark.
    first = days(1)[0].end + GRACE
    assert (jumped(LIMITS, None, first + ahead, days(3)) is not None) == refused


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, 253_402_300_800_000])
def test_an_arrival_that_no_date_can_say_is_a_jump_and_no_crash(timestamp_ms: int) -> None:
    watermark = arrival_of(timestamp_ms)
    assert jumped(LIMITS, START + GRACE, watermark, days(3)) is not None
    assert arrival_of(-(2**63)) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_jump_over_nothing_that_is_due_refuses_nothing() -> None:
    assert jumped(LIMITS, START, START + 5_000 * DAY, []) is None
    assert jumped(LIMITS, None, START, []) is None
    assert jumped(LIMITS, START + 20 * DAY, START + 5_000 * DAY, days(3)) is None


def test_a_customer_with_many_periods_waits_and_the_others_close() -> None:
    month_end = [key for n in range(20_000) for key in days(1, f"c{n}")]
    assert too_many(LIMITS, month_end) is None
    refusal = too_many(LIMITS, [*month_end, *days(100, "bob"), *days(101)])
    assert refusal is not None
    assert refusal.periods == tuple(days(101))
    assert "more than close.max_periods 100 periods are due at once for acme/alice;" in refusal.detail


def test_a_few_of_many_customers_are_named() -> None:
    refusal = too_many(LIMITS, [key for n in range(6) for key in days(101 + n, f"c{n}")])
    assert refusal is not None
    assert "for acme/c0, acme/c1, acme/c2 and 3 more customers;" in refusal.detail


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(), START + 90 * DAY),
        (Scope("acme"), None),
        (Scope("acme", "alice"), None),
        (Scope(until=moment("2013-01-04T00:00:00Z")), days(3)[-1].end + GRACE),
    ],
    ids=["everybody", "a tenant", "a customer", "until"],
)
def test_a_close_of_some_says_nothing_of_the_watermark_of_the_others(scope: Scope, expected: datetime | None) -> None:
    assert accepted(scope, START, START + 90 * DAY, GRACE, days(3)) == expected


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    source = InMemoryCatalogSource(
        tenants=[Tenant("acme")],
        calendars=[CalendarDef("ny", "2013-01-01T00:00:00", "P1M", "America/New_York")],
        customer_versions=[Customer(*PAIR, "ny")],
    )
    made = Catalog(source, float("inf"), 10)
    made.refresh()
    made.prefetch([PAIR])
    return made


def test_until_a_day_is_until_midnight_of_the_customer(catalog: Catalog) -> None:
    january = PeriodKey(*PAIR, datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2013, 2, 1, 5, tzinfo=UTC))
    assert Scope(until=moment("2013-02-01")).holds(catalog, january)
    assert not Scope(until=moment("2013-01-31")).holds(catalog, january)
    assert not Scope(until=moment("2013-02-01T00:00:00Z")).holds(catalog, january)
    assert Scope(until=moment("2013-02-01T05:00:00Z")).holds(catalog, january)
    assert Scope("acme", "alice").holds(catalog, january)
    assert not Scope("acme", "bob").holds(catalog, january)
    assert not Scope("globex").holds(catalog, january)


@given(st.dates(date(1971, 1, 1), date(2099, 12, 31)))
def test_a_local_day_begins_where_its_date_does(catalog: Catalog, day: date) -> None:
    start = epoch_ms(day_start(catalog, PAIR, day))
    calendar = catalog.calendar_at(PAIR, start)
    assert calendar.day_at(start) == day.isoformat()
    assert calendar.day_at(start - 1) == (day - DAY).isoformat()


def test_moments_are_read_as_people_write_them() -> None:
    assert moment("2026-11") == Moment("2026-11", day=date(2026, 11, 1), month=True)
    assert moment("2026-11-30") == Moment("2026-11-30", day=date(2026, 11, 30))
    assert moment("2026-11-30T01:00:00+01:00").at == datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-13", "2026-02-30", "yesterday", "2026-11-30T00:00:00", ""])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an? (instant|month|day)"):
        moment(text)


def test_a_preview_counts_what_has_usage_and_says_why_the_rest_stays() -> None:
    keys = days(3)
    refused = (Refusal("max_periods", "many", tuple(days(2, "bob"))),)
    shown = Preview(START, None, keys, frozenset(keys[:1]), 2, refused, [1])
    document = cli_close._preview_document(shown)
    assert (document["closes"], document["with_usage"], document["without_usage"]) == (3, 1, 2)
    assert [period["with_usage"] for period in document["periods"]] == [True, False, False]
    assert document["refused"][0]["cause"] == "max_periods"
    assert len(document["refused"][0]["periods"]) == 2
    assert document["last_watermark"] is None


def test_a_customer_is_of_a_tenant() -> None:
    with pytest.raises(UsageError, match="needs its tenant"):
        cli_close._request(None, "alice", None, (), yes=False)


def test_the_alert_says_how_many_wait_and_what_to_do() -> None:
    evidence = {"periods": 5_526, "by_cause": {"watermark_jump": 5_526}}
    alert = pipeline.close("firing", evidence=evidence, at_ms=0, event_id="x")
    assert (alert.type, alert.value, alert.threshold) == ("pipeline.close", "5526", "0")
    assert "--yes" in (alert.suggested_action or "")
