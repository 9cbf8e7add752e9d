"""The oracle's final values of meters, computed from the events themselves: quantiles, distinct texts, integrals."""

import pytest

from tests.oracle.support import catalog_of, event, oracle_of, plain, values, void
from tidemark.oracle.oracle import Rules

# A grace of ten days.
DAYS = Rules(grace_ms=864_000_000)
ALL = ("count", "sum", "min", "max", "avg", "latest", "unique", "percentile")


def stream(*quantities):
    return [event(f"{i}", quantity=str(quantity)) for i, quantity in enumerate(quantities)]


def test_every_aggregation_says_its_value():
    meters = {name: {"aggregation": name} for name in ALL} | {"level": {"aggregation": "weighted_sum"}}
    with oracle_of(catalog_of(**meters), *stream(3, 1, 1, 5)) as oracle:
        expected = {
            "avg": "2.5", "count": "4", "latest": "5", "max": "5", "min": "1", "percentile": "1", "sum": "10",
        }  # fmt: skip
        assert values(oracle, "value_minute") == values(oracle, "value_hour") == expected
        # 10 from 09:00 on: 15 hours of the day, and 21 days more of the period.
        more = {"unique": "3", "level": str(10 * 15)}
        assert values(oracle, "value_day") == expected | more
        assert values(oracle, "value_period") == expected | more | {"level": str(10 * (15 + 21 * 24))}


def test_an_average_is_rounded_half_to_even_in_the_ninth_decimal():
    catalog = catalog_of(m={"aggregation": "avg", "allow_negative": True})
    cases = [
        ((1, 1, 0), "0.666666667"),
        (("0.000000001", 0), "0"),
        (("0.000000003", 0), "0.000000002"),
        (("-0.000000001", 0), "0"),
        (("-0.000000003", 0), "-0.000000002"),
        ((-1, -1, 0), "-0.666666667"),
    ]
    # Each case is a customer.
    sent = [
        event(f"{customer}-{i}", quantity=str(quantity), customer=f"{customer}")
        for customer, (quantities, _) in enumerate(cases)
        for i, quantity in enumerate(quantities)
    ]
    with oracle_of(catalog, *sent) as oracle:
        oracle.build_values()
        assert [plain(row[6]) for row in oracle.rows("value_period")] == [expected for _, expected in cases]


def test_percentiles_are_values_that_occurred():
    with oracle_of(catalog_of(m={"aggregation": "percentile"}), *stream(*range(20, 0, -1))) as oracle:
        oracle.build_values()
        # Of twenty: ceil(0.5 * 20) = 10, ceil(0.95 * 20) = 19, ceil(0.99 * 20) = 20.
        assert [plain(value) for value in oracle.rows("value_hour")[0][5:]] == [20, "10", "10", "19", "20"]
    with oracle_of(catalog_of(m={"aggregation": "percentile"}), *stream(7)) as oracle:
        oracle.build_values()
        assert [plain(value) for value in oracle.rows("value_hour")[0][5:]] == [1, "7", "7", "7", "7"]


def test_latest_goes_by_event_time_and_then_by_id():
    first, last = "2013-03-10T09:00:00Z", "2013-03-10T09:00:00.001Z"
    sent = [event("c", last, "1"), event("d", last, "2"), event("e", first, "3"), event("cz", last, "4")]
    with oracle_of(catalog_of(m={"aggregation": "latest"}), *sent) as oracle:
        assert values(oracle) == {"m": "2"}


def test_voids_take_back_what_can_be_added_and_nothing_else():
    meters = {name: {"aggregation": name} for name in ALL}
    with oracle_of(catalog_of(**meters), *stream(3, 1, 5), void("2", quantity="5")) as oracle:
        assert values(oracle) == {
            "avg": "2", "count": "2", "latest": "5", "max": "5", "min": "1", "percentile": "3", "sum": "4",
            "unique": "3",
        }  # fmt: skip


def test_a_bucket_of_voids_alone_says_nothing_but_sums():
    meters = {name: {"aggregation": name} for name in ALL}
    with oracle_of(catalog_of(**meters), void("1", quantity="5")) as oracle:
        assert values(oracle) == {"count": "-1", "sum": "-5"}
    with oracle_of(catalog_of(**meters), event("1", quantity="5"), void("1", quantity="5")) as oracle:
        by_meter = values(oracle)
        assert (by_meter["count"], by_meter["sum"], "avg" in by_meter) == ("0", "0", False)


LEVEL_DAYS = [
    # Tokyo's days begin at 15:00 UTC.
    #          10th            11th            12th
    #  2 GB  |----10:00=======|=====22:00.....|--  then 0.5 GB to the end of the last event's day
    ("2013-03-10", 1, "28"),  # 2 * 14 h (01:00 UTC to 15:00 UTC)
    ("2013-03-11", 1, "45"),  # 2 * 22 h + 0.5 * 2 h
    ("2013-03-12", 0, "12"),
    ("2013-03-13", 0, "12"),
]


def levels_catalog(**meter):
    calendars = {"tokyo": {"anchor": "2013-03-12", "interval": "P1W", "timezone": "Asia/Tokyo"}}
    catalog = catalog_of(m={"aggregation": "weighted_sum", "event_types": "level", **meter}, n={"aggregation": "count"})
    return catalog | {"calendars": calendars, "tenants": {"t": {"calendar": "tokyo"}}}


def level_events():
    """A level that changes twice, and a last event that is no change of it."""
    return [
        event("1", "2013-03-10T01:00:00Z", "2", event_type="level"),
        event("2", "2013-03-11T13:00:00Z", "-1.5", event_type="level"),
        event("3", "2013-03-12T16:00:00Z", customer="somebody"),
    ]


def test_a_level_is_integrated_over_every_day_up_to_the_last_event():
    with oracle_of(levels_catalog(), *level_events(), arrival="2013-03-12T16:00:00", rules=DAYS) as oracle:
        oracle.build_values()
        rows = [row for row in oracle.rows("value_day") if row[2] == "m"]
        assert [(str(day), samples, plain(value)) for *_, day, samples, value, _, _, _ in rows] == LEVEL_DAYS


def test_a_day_is_as_long_as_it_is_where_midnight_comes_twice():
    # St. John's, 2010-11-07 00:01 (02:31Z) is 6 November 23:01 once more, until 03:30Z.
    calendars = {"cal": {"interval": "P1M", "timezone": "America/St_Johns"}}
    catalog = catalog_of(m={"aggregation": "weighted_sum", "per": "minute"}) | {"calendars": calendars}
    catalog["tenants"] = {"t": {"calendar": "cal"}}
    begin = event("a", "2010-11-06T02:30:00Z")

    def days(*sent):
        with oracle_of(catalog, *sent, arrival="2010-11-06T12:00:00", rules=DAYS) as oracle:
            oracle.build_values()
            return {str(row[4]): plain(row[6]) for row in oracle.rows("value_day")}

    assert days(begin) == {"2010-11-06": str(1440 + 59)}
    later = event("b", "2010-11-06T11:00:00Z", "0")
    assert days(begin, later) == {"2010-11-06": str(1440 + 59)}


def test_a_level_is_carried_over_the_boundaries_of_periods():
    with oracle_of(levels_catalog(per="day"), *level_events(), arrival="2013-03-12T16:00:00", rules=DAYS) as oracle:
        oracle.build_values()
        rows = [row for row in oracle.rows("value_period") if row[2] == "m"]
        # Weeks from 11 March 15:00 UTC: 2 * 36 h + 0.5 * 2 h = 73 GB-hours, then a week of 0.5 GB.
        assert [(samples, plain(value)) for *_, samples, value, _, _, _ in rows] == [(2, "3.041666667"), (0, "3.5")]


def test_a_level_of_zero_that_is_carried_makes_no_row():
    # Up on the 10th, down to 0 on the 11th, up and down again on the 13th of March, in UTC.
    sent = [
        event(f"{day}-{change}", f"2013-03-{day}T12:00:00Z", f"{change}")
        for day, change in ((10, 1), (11, -1), (13, 2), (13, -2))
    ]
    catalog = catalog_of(m={"aggregation": "weighted_sum"})
    with oracle_of(catalog, *sent, arrival="2013-03-13T12:00:00", rules=DAYS) as oracle:
        oracle.build_values()
        rows = [(str(row[4]), row[5], plain(row[6])) for row in oracle.rows("value_day")]
        assert rows == [("2013-03-10", 1, "12"), ("2013-03-11", 1, "12"), ("2013-03-13", 2, "0")]


@pytest.mark.parametrize(("per", "value"), [("second", "0.003"), ("minute", "0.00005"), ("day", "0.000000035")])
def test_an_integral_is_given_per_unit_of_time(per, value):
    # A level of 1 for 3 ms.
    catalog = catalog_of(m={"aggregation": "weighted_sum", "per": per})
    sent = [event("1"), event("2", "2013-03-10T09:00:00.003Z", "-1")]
    with oracle_of(catalog, *sent) as oracle:
        assert values(oracle) == {"m": value}


def test_a_void_takes_a_change_of_level_back_at_its_time():
    catalog = catalog_of(m={"aggregation": "weighted_sum"})
    with oracle_of(catalog, event("1"), event("2", quantity="4"), void("2", quantity="4")) as oracle:
        assert values(oracle, "value_day") == {"m": "15"}


def test_the_integral_is_that_of_the_moments():
    # Independent of each other: L*(e-s) + D*e - M of the parts, and the level step by step.
    catalog = catalog_of(m={"aggregation": "weighted_sum", "per": "second"})
    hours = [(8, "2"), (9, "-0.5"), (10, "7.25"), (11, "-3")]
    sent = [event(f"{hour}", f"2013-03-10T{hour:02}:30:00.123Z", quantity) for hour, quantity in hours]
    with oracle_of(catalog, *sent) as oracle:
        day_end_ms = 1_362_960_000_000
        totals = dict(oracle.db.execute("SELECT part, total FROM usage_day").fetchall())
        assert values(oracle, "value_day") == {"m": plain((totals[""] * day_end_ms - totals["m"]) / 1_000)}
