"""The oracle's periods against bounds worked out by hand: anchors, time zones, listed bounds, changes of calendar."""

import struct
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

import pytest

from tests.oracle.support import at, cloud, event, millis, oracle_of
from tidemark.core.errors import UsageError
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.zones import stretches
from udfs.calendars.calendar import parse_calendar
from udfs.calendars.localtime import Period, zone

CALENDARS = {
    "ny-31st": {"anchor": "2013-01-31", "interval": "P1M", "timezone": "America/New_York"},
    "ny-skipped": {"anchor": "2013-02-10T02:30:00", "interval": "P1M", "timezone": "America/New_York"},
    "ny-repeated": {"anchor": "2013-10-03T01:30:00", "interval": "P1M", "timezone": "America/New_York"},
    "tokyo-quarter": {"anchor": "2013-01-01", "interval": "P3M", "timezone": "Asia/Tokyo"},
    "leap-year": {"anchor": "2012-02-29", "interval": "P1Y", "timezone": "Etc/UTC"},
    "half-days": {"anchor": "2013-01-01", "interval": "PT12H", "timezone": "America/New_York"},
    "paris-weeks": {"interval": "P1W", "timezone": "Europe/Paris"},
    "paris-months": {"interval": "P2M", "timezone": "Europe/Paris"},
    "year-and-half": {"anchor": "2012-03-31", "interval": "P1Y6M", "timezone": "America/New_York"},
    "retail": {"boundaries": ["2013-02-03", "2013-03-10T02:30:00", "2013-04-07"], "timezone": "America/New_York"},
}
METERS = {"units": {"event_types": ["use"], "aggregation": "sum", "unit": "u"}}
CATALOG = {
    "calendars": CALENDARS,
    "tenants": {"t": {"customers": {name: {"calendar": name} for name in CALENDARS}}},
    "meters": METERS,
}

PERIODS = [
    # 31 Jan -- 28 Feb -- 31 Mar: clamped once, back to its day; New York is UTC-5, from 10 March UTC-4.
    ("ny-31st", "2013-02-28T04:59:59.999", "2013-01-31T05:00:00", "2013-02-28T05:00:00"),
    ("ny-31st", "2013-02-28T05:00:00", "2013-02-28T05:00:00", "2013-03-31T04:00:00"),
    # 10 March 02:30 does not exist in New York: it is 03:30, UTC-4.
    ("ny-skipped", "2013-03-10T07:29:59", "2013-02-10T07:30:00", "2013-03-10T07:30:00"),
    ("ny-skipped", "2013-03-10T07:30:00", "2013-03-10T07:30:00", "2013-04-10T06:30:00"),
    # 3 November 01:30 happens twice in New York: the first, UTC-4, is meant.
    ("ny-repeated", "2013-11-03T05:30:00", "2013-11-03T05:30:00", "2013-12-03T06:30:00"),
    ("ny-repeated", "2013-11-03T05:29:59", "2013-10-03T05:30:00", "2013-11-03T05:30:00"),
    ("tokyo-quarter", "2013-03-31T14:59:59", "2012-12-31T15:00:00", "2013-03-31T15:00:00"),
    ("tokyo-quarter", "2013-03-31T15:00:00", "2013-03-31T15:00:00", "2013-06-30T15:00:00"),
    ("leap-year", "2016-02-28T23:59:59", "2015-02-28T00:00:00", "2016-02-29T00:00:00"),
    ("leap-year", "2013-02-28T00:00:00", "2013-02-28T00:00:00", "2014-02-28T00:00:00"),
    # Twelve hours of elapsed time, also across the night of 23 hours.
    ("half-days", "2013-03-10T17:00:00", "2013-03-10T17:00:00", "2013-03-11T05:00:00"),
    # Without an anchor: weeks from Monday, local midnight (Paris is UTC+1, from 31 March UTC+2) ...
    ("paris-weeks", "2013-03-31T21:59:59.999", "2013-03-24T23:00:00", "2013-03-31T22:00:00"),
    ("paris-weeks", "2013-03-31T22:00:00", "2013-03-31T22:00:00", "2013-04-07T22:00:00"),
    # ... all else from January 2000: of two months, the odd ones begin.
    ("paris-months", "2013-04-01T00:00:00", "2013-02-28T23:00:00", "2013-04-30T22:00:00"),
    # 31 March, 30 September of the next year, 31 March of the third, all UTC-4.
    ("year-and-half", "2013-09-30T03:59:59.999", "2012-03-31T04:00:00", "2013-09-30T04:00:00"),
    ("year-and-half", "2013-09-30T04:00:00", "2013-09-30T04:00:00", "2015-03-31T04:00:00"),
    # Listed boundaries: 3 February 00:00 UTC-5, 10 March 02:30 (skipped, so 03:30 UTC-4), 7 April 00:00 UTC-4.
    ("retail", "2013-02-03T05:00:00", "2013-02-03T05:00:00", "2013-03-10T07:30:00"),
    ("retail", "2013-03-10T07:30:00", "2013-03-10T07:30:00", "2013-04-07T04:00:00"),
    ("retail", "2013-04-07T03:59:59.999", "2013-03-10T07:30:00", "2013-04-07T04:00:00"),
    # A customer without a calendar: calendar month in UTC.
    ("somebody", "2013-02-28T23:59:59", "2013-02-01T00:00:00", "2013-03-01T00:00:00"),
]


def periods_of(catalog, *customers_and_instants):
    """Start and end of the period of each event, in order; the outcome for events without a period."""
    records = [
        (0, place, millis(instant), event(f"{place}", instant + "Z", customer=customer))
        for place, (customer, instant) in enumerate(customers_and_instants)
    ]
    with Oracle(catalog, records) as oracle:
        query = 'SELECT "offset", period_start, period_end FROM usage'
        periods = {offset: (start, end) for offset, start, end in oracle.db.execute(query).fetchall()}
        outcomes = oracle.outcomes()
    return [periods.get(place, outcomes[0, place]) for place in range(len(records))]


@pytest.fixture(scope="module")
def found_periods():
    return periods_of(CATALOG, *(case[:2] for case in PERIODS))


@pytest.mark.parametrize("place", range(len(PERIODS)))
def test_a_period_has_the_bounds_worked_out_by_hand(place, found_periods):
    assert found_periods[place] == tuple(map(at, PERIODS[place][2:]))


def zoned(interval, zone, aggregation="sum"):
    """A catalog whose customers `c` all bill by that interval, aligned in that zone."""
    return {
        "calendars": {"hours": {"interval": interval, "timezone": zone}},
        "tenants": {"t": {"calendar": "hours"}},
        "meters": {"units": {"event_types": "use", "aggregation": aggregation, "unit": "u"}},
    }


@pytest.mark.parametrize(
    ("interval", "zone", "start", "end"),
    [
        ("PT1H", "Asia/Tokyo", "2013-03-10T09:00:00", "2013-03-10T10:00:00"),
        ("PT1H", "America/New_York", "2013-03-10T09:00:00", "2013-03-10T10:00:00"),
        ("PT1H", "Asia/Kolkata", "2013-03-10T08:30:00", "2013-03-10T09:30:00"),
        ("PT1H", "Pacific/Kiritimati", "2013-03-10T09:00:00", "2013-03-10T10:00:00"),
        ("PT1H", "Pacific/Pago_Pago", "2013-03-10T09:00:00", "2013-03-10T10:00:00"),
        ("PT2H", "Asia/Tokyo", "2013-03-10T09:00:00", "2013-03-10T11:00:00"),
    ],
)
def test_hours_have_their_periods_in_zones_far_from_utc(interval, zone, start, end):
    assert periods_of(zoned(interval, zone), ("c", "2013-03-10T09:00:00")) == [(at(start), at(end))]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_level_is_carried_through_the_hours_to_the_last_event_of_all(zone):
    sent = [event("1", "2013-03-10T06:00:00Z"), event("2", "2013-03-10T11:59:59Z", customer="d")]
    with oracle_of(zoned("PT1H", zone, "weighted_sum"), *sent) as oracle:
        oracle.build_values()
        starts = [row[4] for row in oracle.rows("value_period") if row[1] == "c"]
    assert starts == [at(f"2013-03-10T{hour:02}:00:00") for hour in range(6, 12)]


def test_an_event_before_the_first_or_after_the_last_listed_boundary_has_no_period():
    cases = [("retail", "2013-02-03T04:59:59.999"), ("retail", "2013-04-07T04:00:00")]
    assert periods_of(CATALOG, *cases) == ["no_period", "no_period"]


def test_an_event_is_in_its_minute_its_hour_and_the_day_of_its_customer():
    with oracle_of(CATALOG, event("1", "2013-03-10T04:59:59.999Z", customer="ny-31st")) as oracle:
        assert oracle.rows("usage_minute")[0][5] == at("2013-03-10T04:59:00")
        assert oracle.rows("usage_hour")[0][5] == at("2013-03-10T04:00:00")
        assert oracle.rows("usage_day")[0][5] == date(2013, 3, 9)


def zones():
    """One zone of tzdata of each content: many have several names."""
    names = files("tzdata").joinpath("zones").read_text().split()
    return sorted({files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes(): name for name in names}.values())


def changes_of(name):
    """Instants since 1959 at which a zone's file says that something about it changes; epoch seconds."""
    content = files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()
    # Two blocks, of which the second has instants of 64 bits; counts of each are in its header.
    old = struct.unpack(">20x6l", content[:44])
    start = 44 + old[3] * 5 + old[4] * 6 + old[5] + old[2] * 8 + old[1] + old[0]
    count = struct.unpack(">20x6l", content[start : start + 44])[3]
    instants = struct.unpack(f">{count}q", content[start + 44 : start + 44 + 8 * count])
    return [instant for instant in instants if instant > datetime(1959, 1, 1, tzinfo=UTC).timestamp()]


def test_every_zone_has_the_offsets_of_tzdata_before_and_after_each_change_and_far_from_any():
    years = [int(datetime(year, month, 9, tzinfo=UTC).timestamp()) for year in range(1960, 2111) for month in (1, 7)]
    for name in zones():
        instants, _, offsets = zip(*stretches(name), strict=True)
        for at_s in [*years, *(change + aside for change in changes_of(name) for aside in (-1, 0))]:
            utc = datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None)
            offset = datetime.fromtimestamp(at_s, zone(name)).utcoffset()
            assert (name, offsets[bisect_right(instants, utc) - 1]) == (name, offset.total_seconds())


def test_every_zone_reads_skipped_and_repeated_local_times_by_the_offset_before():
    for name in zones():
        instants, locals_, offsets = zip(*stretches(name), strict=True)
        for instant, offset in zip(instants[1:], offsets[1:], strict=True):
            for aside_s in (-1_800, 1_800):
                local = instant + timedelta(seconds=offset + aside_s)
                read = local - timedelta(seconds=offsets[bisect_right(locals_, local) - 1])
                assert read.replace(tzinfo=UTC).timestamp() == first_reading(local, zone(name))


def first_reading(local, zone_info):
    """The first instant that shows a local time; of one that is skipped, what the offset before makes of it."""
    readings = [local.replace(tzinfo=zone_info, fold=fold).timestamp() for fold in (0, 1)]
    # An hour of 2023 in Nuuk has an instant that shows another time.
    shown = [one for one in readings if datetime.fromtimestamp(one, zone_info).replace(tzinfo=None, fold=0) == local]
    return min(shown, default=readings[0])


def test_every_zone_has_the_days_and_months_of_the_jobs():
    instants = ["2011-12-31T10:00:00", "2026-11-30T04:30:00", "2026-12-01T04:30:00", "2027-04-01T00:00:00"]
    calendars = {name: {"interval": "P1M", "timezone": name} for name in zones()}
    tenant = {"customers": {name: {"calendar": name} for name in calendars}}
    cases = [(name, instant) for name in calendars for instant in instants]
    records = [
        (0, place, millis(instant), event(f"{place}", instant + "Z", customer=name))
        for place, (name, instant) in enumerate(cases)
    ]
    with Oracle({"calendars": calendars, "tenants": {"t": tenant}, "meters": METERS}, records) as oracle:
        query = 'SELECT epoch_ms(period_start), epoch_ms(period_end), day FROM usage ORDER BY "offset"'
        found = oracle.db.execute(query).fetchall()
    for (name, instant), (start_ms, end_ms, day) in zip(cases, found, strict=True):
        calendar = parse_calendar(None, "P1M", name)
        assert (name, Period(start_ms, end_ms)) == (name, calendar.period_at(millis(instant)))
        assert (name, day.isoformat()) == (name, calendar.day_at(millis(instant)))


def test_a_zone_that_tzdata_does_not_have_is_named():
    with pytest.raises(UsageError, match="no time zone Mars/Olympus"):
        periods_of(zoned("P1M", "Mars/Olympus"), ("c", "2013-03-10T09:00:00"))


def moved(customers, calendars=CALENDARS, calendar=None):
    tenant = {"calendar": calendar, "customers": {name: {"calendar": to} for name, to in customers.items()}}
    return {"calendars": calendars, "tenants": {"t": tenant}, "meters": METERS}


def test_a_customer_that_moves_ends_its_period_at_the_change():
    # Given Tokyo's quarter (1 January to 31 March, 15:00 UTC) until 5 March, then New York's 31st:
    #   |----- Tokyo quarter -----|-- until NY's boundary 31 March 04:00 UTC --|
    #  Jan 1 (JST)          5 March 10:00 UTC                              31 March
    history = [
        {"valid_from": "beginning", "catalog": moved({"c": "tokyo-quarter"})},
        {"valid_from": "2013-03-05T10:00:00Z", "catalog": moved({"c": "ny-31st"})},
    ]
    cut = at("2013-03-05T10:00:00")
    instants = ["2013-03-05T09:59:59.999", "2013-03-05T10:00:00", "2013-03-31T04:00:00"]
    assert periods_of(history, *(("c", instant) for instant in instants)) == [
        (at("2012-12-31T15:00:00"), cut),
        (cut, at("2013-03-31T04:00:00")),
        (at("2013-03-31T04:00:00"), at("2013-04-30T04:00:00")),
    ]


def test_the_local_day_follows_the_calendar_of_its_time():
    history = [
        {"valid_from": "beginning", "catalog": moved({"c": "tokyo-quarter"})},
        {"valid_from": "2013-03-05T20:00:00Z", "catalog": moved({"c": "ny-31st"})},
    ]
    values = [event(str(hour), f"2013-03-05T{hour}:00:00Z") for hour in (19, 20)]
    with oracle_of(history, *values, arrival="2013-03-05T21:00:00") as oracle:
        assert [row[5] for row in oracle.rows("usage_day")] == [date(2013, 3, 5), date(2013, 3, 6)]


def test_a_changed_definition_and_a_changed_default_cut_too():
    later = CALENDARS | {"ny-31st": {"anchor": "2013-01-01", "interval": "P1W", "timezone": "Etc/UTC"}}
    history = [
        {"valid_from": "beginning", "catalog": moved({"c": "ny-31st"}, calendar="ny-31st")},
        {"valid_from": "2013-03-05T10:00:00Z", "catalog": moved({"c": "ny-31st"}, later, calendar="tokyo-quarter")},
    ]
    cut = at("2013-03-05T10:00:00")
    assert periods_of(history, ("c", "2013-03-05T11:00:00"), ("other", "2013-03-05T11:00:00")) == [
        (cut, at("2013-03-12T00:00:00")),
        (cut, at("2013-03-31T15:00:00")),
    ]


def test_steps_that_leave_a_customer_its_calendar_cut_nothing():
    # The customer's calendar is renamed, and later becomes the tenant's: always the same periods.
    renamed = CALENDARS | {"new": CALENDARS["ny-31st"]}
    history = [
        {"valid_from": "beginning", "catalog": moved({"c": "ny-31st"})},
        {"valid_from": "2013-03-05T10:00:00Z", "catalog": moved({"c": "new"}, renamed)},
        {"valid_from": "2013-03-06T10:00:00Z", "catalog": moved({}, renamed, calendar="new")},
    ]
    whole = (at("2013-02-28T05:00:00"), at("2013-03-31T04:00:00"))
    instants = ["2013-03-04T00:00:00", "2013-03-05T11:00:00", "2013-03-07T00:00:00"]
    assert periods_of(history, *(("c", instant) for instant in instants)) == [whole] * 3


def aligned(interval="P1M", zone="Asia/Tokyo", **more):
    return {"interval": interval, "timezone": zone, **more}


CHANGED = "2013-03-05T10:00:00"
# The calendar of a tenant before and after CHANGED, the begin of the period of that time, and whether CHANGED cuts it.
WRITTEN = [
    (None, aligned(zone="UTC"), "2013-03-01T00:00:00", False),
    # Another time zone, though one with the same clock.
    (None, aligned(zone="Etc/UTC"), "2013-03-01T00:00:00", True),
    (None, aligned(), "2013-03-01T00:00:00", True),
    (aligned(), aligned(anchor="2000-01-01"), "2013-02-28T15:00:00", False),
    (aligned(), aligned(anchor="2000-02-01"), "2013-02-28T15:00:00", True),
    (aligned(anchor="2000-01-01"), aligned(anchor="2000-01-01T00:00:00"), "2013-02-28T15:00:00", False),
    (aligned("P1W"), aligned("P1W", anchor="2000-01-03"), "2013-03-03T15:00:00", False),
    (aligned("P1Y6M"), aligned("P18M"), "2011-12-31T15:00:00", False),
    (aligned("P1Y6M"), aligned("P17M"), "2011-12-31T15:00:00", True),
]


@pytest.mark.parametrize(("before", "after", "start", "cuts"), WRITTEN)
def test_a_calendar_that_is_only_written_in_another_way_cuts_nothing(before, after, start, cuts):
    history = [
        {"valid_from": valid_from, "catalog": moved({}, {"c": calendar} if calendar else {}, calendar and "c")}
        for valid_from, calendar in (("beginning", before), (CHANGED + "Z", after))
    ]
    ((first, first_end), (second, _)) = periods_of(history, ("c", "2013-03-05T09:00:00"), ("c", "2013-03-05T11:00:00"))
    assert first == at(start)
    assert second == (at(CHANGED) if cuts else first)
    assert (first_end == at(CHANGED)) == cuts


def test_a_tenant_bills_by_the_month_in_utc_where_it_is_not_in_the_catalog():
    # Its month in New York would begin on 28 February, 05:00 UTC, and end on 31 March, 04:00 UTC.
    there, gone = moved({}, calendar="ny-31st"), moved({}) | {"tenants": {"other": None}}
    since = {"valid_from": "2013-03-05T10:00:00Z", "catalog": there}
    until = {"valid_from": "2013-03-20T10:00:00Z", "catalog": gone}
    begins, ends = at("2013-03-05T10:00:00"), at("2013-03-20T10:00:00")
    early, late = ("c", "2013-03-06T00:00:00"), ("c", "2013-03-20T09:59:59.999")
    month = (at("2013-02-28T05:00:00"), at("2013-03-31T04:00:00"))
    for history, period in (
        ([{"valid_from": "beginning", "catalog": gone}, since], (begins, month[1])),
        ([since], (begins, month[1])),
        (there | {"valid_from": "2013-03-05T10:00:00Z"}, (begins, month[1])),
        ([{"valid_from": "beginning", "catalog": there}, until], (month[0], ends)),
        ([since, until], (begins, ends)),
    ):
        assert periods_of(history, early, late) == [period] * 2


def test_a_tenant_without_a_calendar_is_not_cut_where_it_begins_and_ends():
    since = {"valid_from": "2013-03-05T10:00:00Z", "catalog": moved({})}
    until = {"valid_from": "2013-03-20T10:00:00Z", "catalog": {"tenants": {}, "meters": METERS}}
    assert periods_of([since, until], ("c", "2013-03-06T00:00:00")) == [
        (at("2013-03-01T00:00:00"), at("2013-04-01T00:00:00"))
    ]


def test_a_tenant_that_leaves_and_comes_back_has_a_period_before_and_one_after():
    steps = [("beginning", "ny-31st"), ("2013-03-05T10:00:00Z", None), ("2013-03-20T10:00:00Z", "ny-31st")]
    gone = {"tenants": {"other": None}, "meters": METERS, "calendars": {}}
    history = [
        {"valid_from": valid_from, "catalog": moved({}, calendar=name) if name else gone} for valid_from, name in steps
    ]
    assert periods_of(history, ("c", "2013-03-04T00:00:00"), ("c", "2013-03-21T00:00:00")) == [
        (at("2013-02-28T05:00:00"), at("2013-03-05T10:00:00")),
        (at("2013-03-20T10:00:00"), at("2013-03-31T04:00:00")),
    ]


def test_every_rule_of_the_catalog_is_that_of_the_event_time():
    counted = {"calendars": {}, "tenants": {"t": None}, "meters": {"n": {"event_types": "use", "aggregation": "count"}}}
    history = [
        {"valid_from": "2013-03-10T08:00:00Z", "catalog": counted},
        {"valid_from": "2013-03-10T09:00:00Z", "catalog": counted | {"meters": {}}},
        {"valid_from": "2013-03-10T10:00:00+00:00", "catalog": counted | {"tenants": {}}},
    ]
    values = [event(f"{hour}", f"2013-03-10T{hour}:59:59Z") for hour in ("07", "08", "09", "10")]
    with oracle_of(history, *values) as oracle:
        outcomes = ["unknown_tenant", "counted", "unknown_event_type", "unknown_tenant"]
        assert [oracle.outcomes()[0, offset] for offset in range(4)] == outcomes


def test_a_tenant_takes_events_of_its_sources_alone():
    catalog = CATALOG | {"tenants": {"t": {"sources": ["", "gateway"]}, "other": {"sources": ["gateway"]}}}
    other = {"schema_version": 2, "source": "crawler"}
    sent = [
        event("1"), event("2", schema_version=2, source="gateway"), event("3", source="crawler"), event("4", **other),
        event("5", **other, voids="2"), event("6", **other, event_type="nothing"), event("7", tenant_id="other"),
        event("8", "2013-03-01T09:00:00Z", **other), cloud("9", source="crawler"), cloud("10", source="gateway"),
    ]  # fmt: skip
    with oracle_of(catalog, *sent) as oracle:
        assert [oracle.outcomes()[0, offset] for offset in range(len(sent))] == [
            "counted", "counted", "counted", "source_not_allowed", "source_not_allowed", "source_not_allowed",
            "source_not_allowed", "too_late", "source_not_allowed", "counted",
        ]  # fmt: skip


def test_a_catalog_holds_from_its_own_instant_on():
    values = [event("1", "2013-03-10T08:59:59.999Z"), event("2", "2013-03-10T09:00:00Z")]
    for valid_from in ("2013-03-10T09:00:00Z", at("2013-03-10T09:00:00")):
        with oracle_of(CATALOG | {"valid_from": valid_from}, *values) as oracle:
            assert oracle.outcomes() == {(0, 0): "unknown_tenant", (0, 1): "counted"}


WRONG = [
    [{"valid_from": "2013-03-10T08:00:01Z", "catalog": CATALOG}],
    [{"valid_from": "2013-03-10T08:00:00", "catalog": CATALOG}],
    [{"valid_from": "2013-03-10T08:00:00Z", "catalog": CATALOG}, {"valid_from": "beginning", "catalog": CATALOG}],
    [{"valid_from": "2013-03-10T08:00:00Z", "catalog": CATALOG | {"valid_from": "beginning"}}],
    CATALOG | {"limits": {}},
    CATALOG | {"tenants": {"t": {"customers": {"c": {"calendar": "retail", "valid_from": "beginning"}}}}},
    CATALOG | {"meters": {"units": METERS["units"] | {"valid_from": "beginning"}}},
]


@pytest.mark.parametrize("catalog", WRONG)
def test_a_catalog_that_the_oracle_does_not_know_in_full_is_refused(catalog):
    with pytest.raises(UsageError):
        Oracle(catalog, [])
