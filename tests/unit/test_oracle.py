"""The oracle against values worked out by hand: calendars, time zones, decimals, rejections, comparison both ways."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from jobs.errors import TidemarkError
from jobs.oracle.compare import compare
from jobs.oracle.deltas import check_deltas
from jobs.oracle.oracle import Oracle

CALENDARS = {
    "ny-31st": {"anchor": "2013-01-31", "interval": "P1M", "timezone": "America/New_York"},
    "ny-skipped": {"anchor": "2013-02-10T02:30:00", "interval": "P1M", "timezone": "America/New_York"},
    "ny-repeated": {"anchor": "2013-10-03T01:30:00", "interval": "P1M", "timezone": "America/New_York"},
    "tokyo-quarter": {"anchor": "2013-01-01", "interval": "P3M", "timezone": "Asia/Tokyo"},
    "leap-year": {"anchor": "2012-02-29", "interval": "P1Y", "timezone": "Etc/UTC"},
    "half-days": {"anchor": "2013-01-01", "interval": "PT12H", "timezone": "America/New_York"},
}
CATALOG = {
    "calendars": CALENDARS,
    "tenants": {"t": {"customers": {name: {"calendar": name} for name in CALENDARS}}, "other": None},
    "meters": {"units": {"event_types": ["use"], "aggregation": "sum", "unit": "u", "group_by": ["b", "a"]}},
}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def millis(text):
    return int(at(text).timestamp() * 1000)


def event(event_id, when, quantity="1", customer="ny-31st", **more):
    fields = {"event_id": event_id, "tenant_id": "t", "customer_id": customer, "event_type": "use", **more}
    return (json.dumps(fields)[:-1] + f', "timestamp": "{when}", "quantity": {quantity}}}').encode()


def oracle_of(*values, arrival="2013-03-10T12:00:00"):
    arrival_ms = millis(arrival)
    records = [(0, offset, arrival_ms, value) for offset, value in enumerate(values)]
    return Oracle(CATALOG, records)


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
    # A customer without a calendar: calendar month in UTC.
    ("somebody", "2013-02-28T23:59:59", "2013-02-01T00:00:00", "2013-03-01T00:00:00"),
]


@pytest.fixture(scope="module")
def found_periods():
    records = [
        (0, place, millis(instant), event(f"{place}", instant + "Z", customer=customer))
        for place, (customer, instant, _, _) in enumerate(PERIODS)
    ]
    with Oracle(CATALOG, records) as oracle:
        query = 'SELECT "offset", period_start, period_end FROM usage'
        return {offset: (start, end) for offset, start, end in oracle.db.execute(query).fetchall()}


@pytest.mark.parametrize("place", range(len(PERIODS)))
def test_a_period_has_the_bounds_worked_out_by_hand(place, found_periods):
    assert found_periods[place] == tuple(map(at, PERIODS[place][2:]))


def test_an_event_is_in_its_minute_its_hour_and_the_day_of_its_customer():
    with oracle_of(event("1", "2013-03-10T04:59:59.999Z")) as oracle:
        assert oracle.rows("usage_minute")[0][4] == at("2013-03-10T04:59:00")
        assert oracle.rows("usage_hour")[0][4] == at("2013-03-10T04:00:00")
        assert oracle.rows("usage_day")[0][4] == date(2013, 3, 9)


def test_offsets_and_fractions_of_a_timestamp_name_the_instant():
    with oracle_of(event("1", "2013-03-10 14:30:59.9999999+05:30")) as oracle:
        assert oracle.rows("usage_minute")[0][4] == at("2013-03-10T09:00:00")


def test_sums_are_exact_where_doubles_are_not():
    big, small = "123456789012345678.123456789", '"0.000000001"'
    with oracle_of(event("1", "2013-03-10T09:00:00Z", big), event("2", "2013-03-10T09:00:01Z", small)) as oracle:
        assert oracle.rows("usage_hour") == [
            ("t", "ny-31st", "units", '{"a":"","b":""}', at("2013-03-10T09:00:00"), 2,
             Decimal("123456789012345678.123456790"), Decimal("0.000000001"), Decimal(big)),
        ]  # fmt: skip


def test_dims_are_canonical_json_of_the_group_by_values():
    with oracle_of(event("1", "2013-03-10T09:00:00Z", properties={"b": 'x"é', "a": 7, "c": "no"})) as oracle:
        assert oracle.rows("usage_day")[0][3] == '{"a":"7","b":"x\\"é"}'


def test_live_is_the_latest_period_over_all_dimensions():
    with oracle_of(
        event("1", "2013-02-28T04:00:00Z", "5"),
        event("2", "2013-02-28T06:00:00Z", "2", properties={"a": "x"}),
        event("3", "2013-02-28T07:00:00Z", "3", properties={"a": "y"}),
        arrival="2013-02-28T08:00:00",
    ) as oracle:
        start, end = (millis(text) for text in ("2013-02-28T05:00:00", "2013-03-31T04:00:00"))
        assert oracle.rows("live") == [("t", "ny-31st", "units", start, end, 2, Decimal(5), Decimal(2), Decimal(3))]


def test_the_first_of_an_id_counts_and_each_tenant_has_its_own_ids():
    other = event("1", "2013-03-10T09:00:00Z").replace(b'"tenant_id": "t"', b'"tenant_id": "other"')
    with oracle_of(event("1", "2013-03-10T09:00:00Z", "5"), event("1", "2013-03-10T09:00:00Z", "7"), other) as oracle:
        assert oracle.verdicts() == {(0, 0): "counted", (0, 1): "duplicate", (0, 2): "counted"}
        assert oracle.counts().duplicates == 1


VERDICTS = [
    (None, "empty_value"),
    (b" \n", "empty_value"),
    (b'"' + b"x" * 65_535 + b'"', "event_too_large"),
    (b'{"event_id": "\xff"}', "invalid_utf8"),
    (b"not json", "malformed_json"),
    (b'{"event_id": "1",}', "malformed_json"),
    (b'{"event_id": "1"', "truncated_json"),
    (b'{"event_id": "1', "truncated_json"),
    (b"null", "not_an_object"),
    (b"[]", "not_an_object"),
    (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nesting_too_deep"),
    (event("1", "2013-03-10T09:00:00Z")[:-1] + b', "event_id": "1"}', "duplicate_key"),
    (event("\0", "2013-03-10T09:00:00Z"), "nul_character"),
    (event("\ud800", "2013-03-10T09:00:00Z"), "invalid_unicode"),
    (b'{"event_id": "1"}', "missing_field"),
    (event(1, "2013-03-10T09:00:00Z"), "wrong_type"),
    (event("1", "2013-03-10T09:00:00Z", properties=[]), "wrong_type"),
    (event("1", "2013-03-10T09:00:00Z", "true"), "wrong_type"),
    (event("", "2013-03-10T09:00:00Z"), "invalid_id"),
    (event("\x7f", "2013-03-10T09:00:00Z"), "invalid_id"),
    (event("é" * 129, "2013-03-10T09:00:00Z"), "id_too_long"),
    (event("1", "2013-03-10T09:00:00Z", tenant_id="nobody"), "unknown_tenant"),
    (event("1", "2013-03-10T09:00:00Z", event_type="nothing"), "unknown_event_type"),
    (event("1", "2013-03-10T09:00:00Z", schema_version=2), "unsupported_schema_version"),
    (event("1", "10 March"), "invalid_timestamp"),
    (event("1", "2013-02-29T09:00:00Z"), "invalid_timestamp"),
    (event("1", "2013-03-10T09:00:00"), "timestamp_without_zone"),
    (event("1", "2013-03-08T11:59:59.999Z"), "too_late"),
    (event("c1", "2013-03-08T12:00:00Z"), "counted"),
    (event("1", "2013-03-10T12:05:00.001Z"), "in_future"),
    (event("c2", "2013-03-10T12:05:00Z"), "counted"),
    (event("1", "2013-03-10T09:00:00Z", "NaN"), "non_finite_quantity"),
    (event("1", "2013-03-10T09:00:00Z", '"Infinity"'), "non_finite_quantity"),
    (event("1", "2013-03-10T09:00:00Z", '"many"'), "invalid_quantity"),
    (event("1", "2013-03-10T09:00:00Z", "1e400"), "quantity_out_of_range"),
    (event("1", "2013-03-10T09:00:00Z", "1" * 40), "quantity_out_of_range"),
    (event("1", "2013-03-10T09:00:00Z", "0.0000000001"), "quantity_too_precise"),
    (event("c3", "2013-03-10T09:00:00Z", "0.1000000000"), "counted"),
    (event("1", "2013-03-10T09:00:00Z", "-1"), "negative_quantity"),
]


@pytest.fixture(scope="module")
def found_verdicts():
    with oracle_of(*(value for value, _ in VERDICTS)) as oracle:
        return oracle.verdicts()


@pytest.mark.parametrize("place", range(len(VERDICTS)))
def test_a_record_is_rejected_for_the_documented_reason(place, found_verdicts):
    assert found_verdicts[0, place] == VERDICTS[place][1]


def test_every_offset_is_counted_duplicate_or_rejected():
    with oracle_of(event("1", "2013-03-10T09:00:00Z"), event("1", "2013-03-10T09:00:00Z"), b"{", None) as oracle:
        counts = oracle.counts()
    assert (counts.offsets_in, counts.counted, counts.duplicates) == (4, 1, 1)
    assert counts.rejected == {"empty_value": 1, "truncated_json": 1}


def test_one_id_with_two_contents_in_two_partitions_is_refused_as_undecidable():
    arrival_ms = millis("2013-03-10T12:00:00")
    records = [(p, 0, arrival_ms, event("1", "2013-03-10T09:00:00Z", str(p))) for p in (1, 2)]
    with pytest.raises(TidemarkError, match="different content"):
        Oracle(CATALOG, records)


def test_a_comparison_names_the_rows_of_both_sides():
    with oracle_of(event("1", "2013-03-10T09:00:00Z"), event("2", "2013-03-10T10:00:00Z")) as oracle:
        rows = oracle.rows("usage_hour")
        assert compare(oracle, "usage_hour", rows) == []
        changed = [rows[0], (*rows[1][:6], Decimal("1.000000001"), *rows[1][7:])]
        found = compare(oracle, "usage_hour", changed)
        assert [(d.side, d.row["total"]) for d in found] == [("oracle", Decimal(1)), ("stored", Decimal("1.000000001"))]
        assert [d.side for d in compare(oracle, "usage_hour", [*rows, rows[0]])] == ["stored"]
        assert [d.side for d in compare(oracle, "usage_hour", [])] == ["oracle", "oracle"]


def delta(offset, total="1"):
    return json.dumps(
        {"tenant_id": "t", "customer_id": "ny-31st", "meter": "units", "dims": '{"a":"","b":""}',
         "minute": "2013-03-10T09:00:00Z", "period_start": "2013-02-28T05:00:00Z", "period_end": "2013-03-31T04:00:00Z",
         "day": "2013-03-10", "n": 1, "total": total, "lo": total, "hi": total, "events": 1,
         "source_partition": 0, "first_offset": offset, "last_offset": offset}
    ).encode()  # fmt: skip


def test_deltas_must_add_up_to_the_minutes_and_be_there_once():
    with oracle_of(event("1", "2013-03-10T09:00:00Z"), event("2", "2013-03-10T09:00:09Z")) as oracle:
        assert check_deltas(oracle, [delta(0), delta(1)]).equal
        repeated = check_deltas(oracle, [delta(0), delta(1), delta(1)])
        assert (repeated.equal, repeated.repeated, repeated.events, len(repeated.differences)) == (False, 1, 3, 2)
        assert not check_deltas(oracle, [delta(0)]).equal
