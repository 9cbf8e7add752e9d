"""The oracle against values worked out by hand: time, decimals, rejections, live counters, comparison both ways."""

import json
from decimal import Decimal

import pytest

from tests.oracle import support
from tests.oracle.support import at, catalog_of, event, millis, void
from tidemark.core.errors import TidemarkError
from tidemark.oracle.compare import compare, live_values
from tidemark.oracle.deltas import check_deltas
from tidemark.oracle.oracle import Oracle, Rules, statement_named
from tidemark.oracle.relations import schema_of
from udfs.limits.rule import threshold_of

CATALOG = {
    "calendars": {"ny-31st": {"anchor": "2013-01-31", "interval": "P1M", "timezone": "America/New_York"}},
    "tenants": {"t": {"customers": {"c": {"calendar": "ny-31st"}}}, "other": None},
    "meters": {"units": {"event_types": ["use"], "aggregation": "sum", "unit": "u", "group_by": ["b", "a"]}},
}


def oracle_of(*values, catalog=CATALOG, arrival=support.ARRIVAL):
    return support.oracle_of(catalog, *values, arrival=arrival)


def test_offsets_and_fractions_of_a_timestamp_name_the_instant():
    with oracle_of(event("1", "2013-03-10 14:30:59.9999999+05:30")) as oracle:
        assert oracle.rows("usage_minute")[0][5] == at("2013-03-10T09:00:00")


def test_sums_are_exact_where_doubles_are_not():
    big, small = "123456789012345678.123456789", '"0.000000001"'
    with oracle_of(event("1", "2013-03-10T09:00:00Z", big), event("2", "2013-03-10T09:00:01Z", small)) as oracle:
        assert oracle.rows("usage_hour") == [
            ("t", "c", "units", '{"a":"","b":""}', "", at("2013-03-10T09:00:00"), 2, 2,
             Decimal("123456789012345678.123456790"), Decimal("0.000000001"), Decimal(big), None),
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
        row = ("t", "c", "units", start, end, 2, 2, Decimal(5), Decimal(2), Decimal(3), None)
        assert oracle.rows("live") == [row]


def test_live_leaves_out_the_parts_of_a_meter():
    catalog = catalog_of(m={"aggregation": "percentile"}, w={"aggregation": "weighted_sum"})
    with oracle_of(event("1", quantity="5"), void("2", quantity="3"), catalog=catalog) as oracle:
        assert [(row[2], *row[5:]) for row in oracle.rows("live")] == [("w", 2, 0, 2, 5, 5, None)]


def test_live_counts_the_values_of_a_unique_meter_over_all_dimensions():
    catalog = catalog_of(m={"aggregation": "unique", "value": "user", "group_by": ["plan"]})
    users = [("a", "free"), ("a", "pro"), ("b", "pro"), ("b", "pro")]
    sent = [event(f"{i}", properties={"user": user, "plan": plan}) for i, (user, plan) in enumerate(users)]
    # A void takes no value back, and opens no period.
    sent += [void("9", properties={"user": "c"}), void("8", "2013-04-01T00:00:00Z", properties={"user": "c"})]
    # The period before has a value more.
    sent += [event(f"5{user}", "2013-02-28T23:59:59Z", properties={"user": user}) for user in "abc"]
    rules = Rules(grace_ms=10**10, future_tolerance_ms=10**10)
    with support.oracle_of(catalog, *sent, rules=rules) as oracle:
        month = [millis(text) for text in ("2013-03-01T00:00:00", "2013-04-01T00:00:00")]
        assert oracle.rows("live") == [("t", "c", "m", *month, 2, 2, 2, None, None, None)]


def test_sliding_windows_hold_the_plain_part_of_a_meter_alone():
    catalog = catalog_of(m={"aggregation": "percentile"}, w={"aggregation": "weighted_sum"})
    with oracle_of(event("1", quantity="5"), catalog=catalog) as oracle:
        oracle.db.execute(statement_named("usage_sliding"))
        rows = oracle.db.execute(
            "SELECT meter, window_s, count(*), sum(total) FROM usage_sliding GROUP BY ALL ORDER BY ALL"
        )
        # Five windows of 5 minutes, twelve of an hour, 24 of a day, seven of a week hold the minute.
        assert rows.fetchall() == [
            ("w", 300, 5, 25), ("w", 3_600, 12, 60), ("w", 86_400, 24, 120), ("w", 604_800, 7, 35)
        ]  # fmt: skip


def test_the_first_of_an_id_counts_and_each_tenant_has_its_own_ids():
    other = event("1", "2013-03-10T09:00:00Z").replace(b'"tenant_id": "t"', b'"tenant_id": "other"')
    with oracle_of(event("1", "2013-03-10T09:00:00Z", "5"), event("1", "2013-03-10T09:00:00Z", "7"), other) as oracle:
        assert oracle.outcomes() == {(0, 0): "counted", (0, 1): "duplicate", (0, 2): "counted"}
        assert oracle.counts().duplicates == 1


OUTCOMES = [
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
    (event("1", "2013-03-10T09:00:00Z", schema_version=3), "unsupported_schema_version"),
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
    (event("1", "2013-03-10T09:00:00Z", "999999999999999999.9999999995"), "quantity_out_of_range"),
    (event("c4", "2013-03-10T09:00:00Z", "0.0000000001"), "counted"),
    (event("c5", "2013-03-10T09:00:00Z", "1e-99999999999999999999"), "counted"),
    (event("c6", "2013-03-10T09:00:00Z", "0e99999999999999999999"), "counted"),
    (event("c3", "2013-03-10T09:00:00Z", "0.1000000000"), "counted"),
    (event("1", "2013-03-10T09:00:00Z", "-1"), "negative_quantity"),
]


@pytest.fixture(scope="module")
def found_outcomes():
    with oracle_of(*(value for value, _ in OUTCOMES)) as oracle:
        return oracle.outcomes()


@pytest.mark.parametrize("place", range(len(OUTCOMES)))
def test_a_record_is_rejected_for_the_documented_reason(place, found_outcomes):
    assert found_outcomes[0, place] == OUTCOMES[place][1]


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
        changed = [rows[0], (*rows[1][:8], Decimal("1.000000001"), *rows[1][9:])]
        differences = compare(oracle, "usage_hour", changed)
        totals = [(difference.side, difference.row["total"]) for difference in differences]
        assert totals == [("oracle", Decimal(1)), ("stored", Decimal("1.000000001"))]
        assert [d.side for d in compare(oracle, "usage_hour", [*rows, rows[0]])] == ["stored"]
        assert [d.side for d in compare(oracle, "usage_hour", [])] == ["oracle", "oracle"]


@pytest.mark.parametrize("relation", ["usage_minute", "usage_hour", "usage_day", "usage_period", "live"])
def test_a_comparison_tells_null_from_a_number_and_from_a_text(relation):
    catalog = catalog_of(m={"aggregation": "latest"})
    names = schema_of(relation).names
    with oracle_of(void("1"), catalog=catalog) as oracle:
        assert oracle.db.execute(f"FROM {relation}").fetchall()
        assert [column[0] for column in oracle.db.description] == names
        (row,) = oracle.rows(relation)
        assert row[-3:] == (None, None, None)
        assert compare(oracle, relation, [row]) == []
        for place, other in ((-3, Decimal(0)), (-2, Decimal(0)), (-1, "")):
            changed = [*row]
            changed[place] = other
            assert [d.side for d in compare(oracle, relation, [changed])] == ["oracle", "stored"]


def test_absent_and_empty_fields_of_a_live_counter_are_none():
    fields = ["1000", "2000", "2", "-1", "-5.000000000", "", None, ""]
    assert live_values(fields) == (1000, 2000, 2, -1, Decimal(-5), None, None, None)
    fields = ["1000", "2000", "2", "0", "0", "0", "3", "000\x1fa\x1f3"]
    assert live_values(fields) == (1000, 2000, 2, 0, Decimal(0), Decimal(0), Decimal(3), "000\x1fa\x1f3")


def reached_of(limit, total):
    """Threshold and amount of all that a total reaches under a limit."""
    tenants = {"t": {"limits": {"m": limit}}}
    catalog = {"tenants": tenants, "meters": {"m": {"event_types": "use", "aggregation": "sum", "unit": "u"}}}
    with oracle_of(event("1", quantity=f'"{total}"'), catalog=catalog) as oracle:
        return [(row[4], row[5]) for row in oracle.rows("reached")]


@pytest.mark.parametrize(
    ("cap", "share", "total"),
    [
        ("5000000000", "80%", "4000000000"),
        ("123456789.123456789", "33.3%", "123456788"),
        ("0.000000005", "50%", "0.000000004"),
        ("0.000000015", "50%", "0.000000014"),
        ("0.000000001", "50%", "0.000000001"),
        ("99999999999999999999999999999.999999999", "0.000000001%", "999999999999999999"),
        ("12345678901234567890123456789.123456789", "0.000000123%", "999999999999999999"),
        ("7", "99999999999999999999999999999%", "6"),
        ("0.3", "33333333333333333333.333333333%", "999999999999999999"),
        ("0", "80%", "0"),
    ],
)
def test_a_share_of_a_cap_is_reached_at_the_amount_of_the_jobs(cap, share, total):
    catalog_limit = {"cap": cap, "thresholds": [share]}
    found = [(text, amount) for text, amount in reached_of(catalog_limit, total) if text != "cap"]
    stated = threshold_of(share, Decimal(cap))
    assert found == ([(share, stated.amount)] if stated and Decimal(total) >= stated.amount else [])


@pytest.mark.parametrize(
    ("every", "total", "steps"),
    [("0.1", "0.3", 3), ("0.1", "0.7", 7), ("0.1", "0.699999999", 6), ("20%", "123456789.1", 5), ("7", "6", 0)],
)
def test_every_multiple_of_a_recurring_threshold_is_reached_exactly(every, total, steps):
    cap = Decimal("123456789.1")
    amount = threshold_of(f"every {every}", cap).amount
    found = reached_of({"cap": str(cap), "thresholds": [{"every": every}]}, total)
    assert [row for row in found if row[0] != "cap"] == [(f"every {every}", amount * k) for k in range(1, steps + 1)]


def test_a_limit_may_state_no_threshold_and_amounts_as_numbers():
    assert reached_of({"cap": 5, "thresholds": []}, 7) == [("cap", 5)]
    assert reached_of({"cap": 5, "thresholds": [0.5, 5, {"every": 3}]}, 7) == [
        ("0.5", Decimal("0.5")), ("cap", 5), ("every 3", 3), ("every 3", 6)
    ]  # fmt: skip


def delta(offset, total="1", **changed):
    return json.dumps(
        {"tenant_id": "t", "customer_id": "c", "meter": "units", "dims": '{"a":"","b":""}', "part": "",
         "minute": "2013-03-10T09:00:00Z", "period_start": "2013-02-28T05:00:00Z", "period_end": "2013-03-31T04:00:00Z",
         "day": "2013-03-10", "n": 1, "samples": 1, "total": total, "lo": total, "hi": total, "latest": "", "events": 1,
         "source_topic": "usage.events", "source_partition": 0, "first_offset": offset, "last_offset": offset} | changed
    ).encode()  # fmt: skip


def test_deltas_must_add_up_to_the_minutes_and_be_there_once():
    with oracle_of(event("1", "2013-03-10T09:00:00Z"), event("2", "2013-03-10T09:00:09Z")) as oracle:
        assert check_deltas(oracle, [delta(0), delta(1)]).equal
        # One offset of two topics is two events.
        assert check_deltas(oracle, [delta(0), delta(0, source_topic="usage.events.redrive")]).equal
        repeated = check_deltas(oracle, [delta(0), delta(1), delta(1)])
        assert (repeated.equal, repeated.repeated, repeated.events, len(repeated.differences)) == (False, 1, 3, 2)
        assert not check_deltas(oracle, [delta(0)]).equal
        assert not check_deltas(oracle, [delta(0), delta(1, samples=0, lo=None, hi=None)]).equal


def test_deltas_are_compared_part_by_part_also_those_no_table_of_minutes_keeps():
    catalog = catalog_of(m={"aggregation": "unique", "value": "user"}, l={"aggregation": "latest"})
    sent = [event("1", properties={"user": "abc"}), void("2", properties={"user": "abc"})]
    latest = f"{millis('2013-03-10T09:00:00'):015d}000000\x1f\x1f1\x1f1"
    nothing = {"dims": "", "samples": 0, "lo": None, "hi": None, "first_offset": 1}
    deltas = [
        # The beginning of sha256("abc").
        delta(0, meter="m", dims="", part="uba7816bf8f01cfea414140de5dae2223"),
        delta(0, meter="l", dims="", latest=latest, events=0),
        delta(1, "0", **nothing | {"meter": "m", "part": "v"}),
        delta(1, "0", **nothing | {"meter": "l", "events": 0, "latest": None}),
    ]
    with oracle_of(*sent, catalog=catalog) as oracle:
        assert check_deltas(oracle, deltas).equal
        assert not check_deltas(oracle, [delta(0, meter="m", dims="", part="u"), *deltas[1:]]).equal
