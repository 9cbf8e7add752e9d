"""What the oracle makes of each aggregation, value path, group-by and filter, against values worked out by hand."""

import hashlib
import json

import pytest

from tests.oracle.support import ARRIVAL, NOON, catalog_of, event, millis, oracle_of, parts, plain, void
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.oracle.oracle import Oracle

NOON_MS = millis("2013-03-10T09:00:00")


def parts_of(meter, *values):
    with oracle_of(catalog_of(m=meter), *values) as oracle:
        return parts(oracle)


def outcome_of(meter, value):
    with oracle_of(catalog_of(m=meter), value) as oracle:
        return oracle.outcomes()[0, 0]


def measured(meter, **more):
    """Text of the amount that a meter gets from an event, or the reason why it refuses the event."""
    with oracle_of(catalog_of(m=meter), event("1", **more)) as oracle:
        outcome = oracle.outcomes()[0, 0]
        return parts(oracle)[0][3] if outcome == "counted" else outcome


@pytest.mark.parametrize("aggregation", ["sum", "min", "max", "avg"])
def test_a_sum_and_its_like_keep_total_least_and_greatest(aggregation):
    values = [event("1", quantity="2.5"), event("2", quantity='"-1"'), event("3", quantity=None)]
    meter = {"aggregation": aggregation, "allow_negative": True}
    assert parts_of(meter, *values) == [("", 3, 3, "2.5", "-1", "2.5", None)]


def test_a_count_adds_one_whatever_the_quantity():
    values = [event("1", quantity="2.5"), event("2", quantity="-7")]
    assert parts_of({"aggregation": "count"}, *values) == [("", 2, 2, "2", "1", "1", None)]


def test_latest_is_the_last_by_event_time_to_the_nanosecond_then_by_source_and_then_by_the_bytes_of_the_id():
    values = [
        event("b", quantity="1"),
        event("é", quantity="2.50"),
        event("z", quantity="3"),
        event("y", "2013-03-10T08:59:59.999Z", "4"),
    ]
    newest = f"{NOON_MS:015d}000000\x1f\x1fé\x1f2.5"
    assert parts_of({"aggregation": "latest"}, *values) == [("", 4, 4, "10.5", "1", "4", newest)]
    values.append(event("a", quantity="4", source="/b", schema_version=2))
    values.append(event("z", quantity="4", source="/a", schema_version=2))
    assert parts_of({"aggregation": "latest"}, *values)[0][6] == f"{NOON_MS:015d}000000\x1f/b\x1fa\x1f4"
    values.append(event("0", "2013-03-10T09:00:00.0000003Z", "5"))
    values.append(event("z2", "2013-03-10T11:00:00.00000029999+02:00", "6"))
    assert parts_of({"aggregation": "latest"}, *values)[0][6] == f"{NOON_MS:015d}000300\x1f\x1f0\x1f5"


def test_an_id_that_begins_another_comes_before_it():
    values = [event("a", quantity="1"), event("a!", quantity="2")]
    assert parts_of({"aggregation": "latest"}, *values)[0][6] == f"{NOON_MS:015d}000000\x1f\x1fa!\x1f2"


def test_a_unique_meter_has_a_part_for_every_text():
    meter = {"aggregation": "unique", "value": "user"}
    texts = [("1", "1"), ("2", 1), ("3", True), ("4", "true"), ("5", "")]
    values = [event(event_id, properties={"user": user}) for event_id, user in texts]
    for event_id, literal in (("6", b"1.50"), ("7", b"15e-1"), ("8", b'"1.50"'), ("9", b"1.0"), ("10", b"10e-1")):
        values.append(event(event_id, quantity=None)[:-1] + b', "properties": {"user": ' + literal + b"}}")
    hashes = {text: "u" + hashlib.sha256(text.encode()).hexdigest()[:32] for text in ("1", "true", "", "1.5", "1.50")}
    counts = {hashes["1"]: 4, hashes["true"]: 2, hashes[""]: 1, hashes["1.5"]: 2, hashes["1.50"]: 1}
    expected = sorted((part, n, n, str(n), "1", "1", None) for part, n in counts.items())
    with oracle_of(catalog_of(m=meter), *values) as oracle:
        assert parts(oracle) == expected == parts(oracle, "usage_day")
        assert parts(oracle, "usage_minute") == parts(oracle, "usage_hour") == []


BINS = [
    ("0", "b0"), ("-0.0", "b0"), ("1", "bp0"), ("-1", "bn0"), ("1.02", "bp1"), ("1.020000001", "bp2"), ("-1.02", "bn1"),
    # All powers of 1.02 that are values, and their neighbours.
    ("1.0404", "bp2"), ("1.061208", "bp3"), ("1.08243216", "bp4"), ("-1.08243216", "bn4"), ("1.104080803", "bp5"),
    ("1.040400001", "bp3"), ("1.061207999", "bp3"), ("1.061208001", "bp4"), ("1.082432161", "bp5"),
    # ln 100 / ln 1.02 = 232.55, ln 0.5 / ln 1.02 = -35.003, ln 10^-9 / ln 1.02 = -1046.48
    ("100", "bp233"), ("0.5", "bp-35"), ("-100", "bn233"), ("0.000000001", "bp-1046"),
]  # fmt: skip


def test_a_percentile_meter_has_a_part_for_every_bin():
    meter = {"aggregation": "percentile", "allow_negative": True}
    catalog = catalog_of(m=meter)
    with oracle_of(catalog, *(event(f"{i}", quantity=value) for i, (value, _) in enumerate(BINS))) as oracle:
        query = 'SELECT "offset", part FROM usage ORDER BY 1'
        assert [part for _, part in oracle.db.execute(query).fetchall()] == [part for _, part in BINS]
        assert ("b0", 2, 2, "0", "0", "0", None) in parts(oracle, "usage_minute")


def test_a_value_near_the_edge_of_a_bin_is_refused_as_undecidable():
    with pytest.raises(TidemarkError, match="near the edge of a bin"):
        oracle_of(catalog_of(m={"aggregation": "percentile"}), event("1", quantity="52.484897379"))


def test_a_weighted_sum_keeps_changes_of_the_level_and_their_moments():
    meter = {"aggregation": "weighted_sum"}
    values = [event("1", quantity="2.5"), event("2", "2013-03-10T09:00:00.001Z", "-999999999999.999999999")]
    # 1362906000000 * 2.5, and 1362906000001 * -999999999999.999999999
    rise, fall = "3407265000000", "-1362906000000999999998637.093999999"
    assert parts_of(meter, *values) == [
        ("", 2, 2, "-999999999997.499999999", "-999999999999.999999999", "2.5", None),
        ("m", 2, 2, "-1362905999997592734998637.093999999", fall, rise, None),
    ]


def test_a_level_changes_by_less_than_10_to_the_12():
    meter = {"aggregation": "weighted_sum"}
    assert outcome_of(meter, event("1", quantity="1000000000000")) == "quantity_out_of_range"
    assert outcome_of(meter, event("1", quantity="-1e12")) == "quantity_out_of_range"


@pytest.mark.parametrize("aggregation", ["sum", "min", "max", "avg", "latest", "percentile"])
def test_a_negative_value_needs_to_be_allowed(aggregation):
    assert outcome_of({"aggregation": aggregation}, event("1", quantity="-1")) == "negative_quantity"
    assert outcome_of({"aggregation": aggregation, "allow_negative": True}, event("1", quantity="-1")) == "counted"


PATHS = [
    # A property, of the name or inside objects; the name as a whole comes first.
    ("size", {"size": 7}, "7"),
    ("a.b", {"a": {"b": 7}}, "7"),
    ("a.b", {"a": {"b": 7}, "a.b": 8}, "8"),
    ("a.b", {"a": {"b": 7}, "a.b": None}, "missing_value"),
    ("a.b.c", {"a": {"b.c": 7}}, "missing_value"),
    ("a.0", {"a": [7]}, "missing_value"),
    ("a.b", {"a": "b"}, "missing_value"),
    ("a/b~c'\"", {"a/b~c'\"": 7}, "7"),
    ("size", {"sizes": 7}, "missing_value"),
    ("size", {"size": None}, "missing_value"),
    # With the prefix even a property that is named like the quantity.
    ("quantity", {"quantity": 7}, "1"),
    ("properties.quantity", {"quantity": 7}, "7"),
    ("properties.a.b", {"a": {"b": 7}}, "7"),
    # The rules of numbers are those of the quantity.
    ("size", {"size": "7.50"}, "7.5"),
    ("size", {"size": "+1e3"}, "1000"),
    ("size", {"size": "seven"}, "invalid_quantity"),
    ("size", {"size": ""}, "invalid_quantity"),
    ("size", {"size": "-Infinity"}, "non_finite_quantity"),
    ("size", {"size": 10**18}, "quantity_out_of_range"),
    ("size", {"size": "0.0000000001"}, "0"),
    ("size", {"size": 0.1 + 0.2}, "0.3"),
    ("size", {"size": "-0.0000000005"}, "0"),
    ("size", {"size": "1.0000000005"}, "1"),
    ("size", {"size": "1.0000000015"}, "1.000000002"),
    ("size", {"size": "999999999999999999.9999999995"}, "quantity_out_of_range"),
    ("$.a.b", {"a": {"b": 7}, "a.b": 8}, "7"),
    ("$['a.b']", {"a": {"b": 7}, "a.b": 8}, "8"),
    ('$["a"].b', {"a": {"b": 7}, "a.b": 8}, "7"),
    ("$.quantity", {"size": 7}, "missing_value"),
    ("size", {"size": -1}, "negative_quantity"),
    ("size", {"size": True}, "wrong_type"),
    ("size", {"size": {}}, "wrong_type"),
    ("size", {"size": [1]}, "wrong_type"),
]


@pytest.fixture(scope="module")
def found_amounts():
    """Of each case, which has a meter and an event type of its own."""
    paths = {f"m{i}": {"event_types": f"e{i}", "aggregation": "sum", "value": case[0]} for i, case in enumerate(PATHS)}
    stream = [
        event(f"{i}", event_type=f"e{i}", properties=case[1], quantity=None if i % 2 else "1")
        for i, case in enumerate(PATHS)
    ]
    with oracle_of(catalog_of(**paths), *stream) as oracle:
        amounts = dict(oracle.db.execute('SELECT "offset", amount FROM usage').fetchall())
        outcomes = oracle.outcomes()
    return [plain(amounts.get(i, outcomes[0, i])) for i in range(len(PATHS))]


@pytest.mark.parametrize("place", range(len(PATHS)))
def test_a_value_is_the_quantity_or_what_its_path_names(place, found_amounts):
    assert found_amounts[place] == PATHS[place][2]


def test_digits_of_a_number_in_a_property_are_kept_exactly():
    value = event("1")[:-1] + b', "properties": {"note": "\\"size\\": 5", "size": 123456789012345678.123456789}}'
    assert parts_of({"aggregation": "sum", "value": "size"}, value)[0][3] == "123456789012345678.123456789"


def test_fields_of_the_event_answer_where_no_property_does():
    meter = {"aggregation": "sum", "value": "region"}
    assert measured(meter, quantity=None, region="7") == "7"
    assert measured(meter, region="7", properties={"region": 8}) == "8"
    assert measured(meter, region="7", properties={"region": None}) == "missing_value"
    assert measured(meter, quantity=None, region=None) == "missing_value"
    assert measured({"aggregation": "sum", "value": "properties.region"}, quantity=None, region="7") == "missing_value"
    assert measured({"aggregation": "sum", "value": "customer_id"}, quantity=None, customer="7") == "7"
    assert measured({"aggregation": "sum", "value": "event_id"}, quantity=None) == "1"


def test_what_takes_an_event_back_is_in_the_group_of_that_event():
    meter = {"aggregation": "count", "group_by": ["event_id", "timestamp", "source", "quantity"]}
    with oracle_of(catalog_of(m=meter), event("1", quantity="1.0"), void("1", quantity="1")) as oracle:
        (row,) = oracle.rows("usage_day")
        assert row[3] == '{"event_id":"1","quantity":"1","source":"","timestamp":"2013-03-10T09:00:00Z"}'
        assert row[6:8] == (2, 0)


def test_a_meter_may_take_its_values_exactly():
    for meter in ({"aggregation": "sum", "precision": "exact"}, {"aggregation": "max", "precision": "exact"}):
        assert outcome_of(meter, event("1", quantity="0.30000000000000004")) == "quantity_too_precise"
        assert outcome_of(meter, event("1", quantity='"1.0000000001"')) == "quantity_too_precise"
        assert outcome_of(meter, event("1", quantity="1.0000000010")) == "counted"
    of_property = {"aggregation": "sum", "value": "size", "precision": "exact"}
    assert outcome_of(of_property, event("1", quantity="0.30000000000000004", properties={"size": 1})) == "counted"
    assert outcome_of(of_property, event("1", properties={"size": "1e-10"})) == "quantity_too_precise"
    assert (
        outcome_of({"aggregation": "count", "precision": "exact"}, event("1", quantity="0.30000000000000004"))
        == "counted"
    )


def test_a_meter_that_skips_what_is_missing_leaves_the_event_to_others():
    catalog = catalog_of(m={"aggregation": "sum", "value": "size", "on_missing": "skip"}, n={"aggregation": "count"})
    values = [event("1", properties={"size": 5}), event("2"), event("3", properties={"size": None})]
    with oracle_of(catalog, *values) as oracle:
        assert [(row[2], row[6], str(row[8])) for row in oracle.rows("usage_day")] == [
            ("m", 1, "5.000000000"),
            ("n", 3, "3.000000000"),
        ]


def test_an_event_that_no_meter_measures_is_counted_as_such():
    meter = {"aggregation": "sum", "value": "size", "on_missing": "skip", "group_by": ["size"]}
    with oracle_of(catalog_of(m=meter), event("1"), event("2"), void("2"), void("3")) as oracle:
        assert [row[:5] for row in oracle.rows("usage_hour")] == [("t", "c", "tidemark.unmeasured", "", "")]
        assert parts(oracle) == [("", 4, 0, "0", "1", "1", None)]
        assert oracle.counts().counted == 4
        assert oracle.rows("live")[0][2] == "tidemark.unmeasured"


SIZE = {"aggregation": "sum", "value": "size"}


def test_one_meter_that_refuses_an_event_leaves_it_to_the_others():
    catalog = catalog_of(m=SIZE, n={"aggregation": "count"})
    with oracle_of(catalog, event("1"), event("1"), event("2", properties={"size": 7})) as oracle:
        assert oracle.outcomes() == {(0, 0): "counted", (0, 1): "duplicate", (0, 2): "counted"}
        assert [(row[2], row[6], row[8]) for row in oracle.rows("usage_day")] == [("m", 1, 7), ("n", 2, 2)]
        # Of copies it is refused once.
        assert oracle.counts().partial == {"missing_value": 1}


def test_an_event_that_some_meters_refuse_and_none_takes_is_rejected_as_a_whole():
    never = {"property": "size", "exists": True}
    catalog = catalog_of(m=SIZE, n={"aggregation": "count", "filter": never}, o=SIZE | {"on_missing": "skip"})
    with oracle_of(catalog, event("1")) as oracle:
        assert oracle.outcomes() == {(0, 0): "missing_value"}
        assert oracle.counts().partial == {}
        assert oracle.rows("usage_day") == []


def redriven(meter, raw, run=""):
    """A record of the redrive topic's partition 0, for one meter alone."""
    return json.dumps({"tidemark_meter": meter, "run": run}, separators=(",", ":")).encode() + b"\n" + raw


def test_what_is_redriven_for_one_meter_counts_for_it_alone_and_once():
    repaired = redriven("m", event("1", properties={"size": 7}))
    records = [(0, 0, event("1")), (-1, 0, repaired), (-1, 1, repaired), (0, 1, event("1"))]
    with Oracle(catalog_of(m=SIZE, n={"aggregation": "count"}), _arrived(records)) as oracle:
        assert oracle.outcomes() == {(0, 0): "counted", (-1, 0): "counted", (-1, 1): "duplicate", (0, 1): "duplicate"}
        assert [(row[2], row[6], row[8]) for row in oracle.rows("usage_day")] == [("m", 1, 7), ("n", 1, 1)]


def test_what_is_redriven_for_a_meter_that_counted_the_event_itself_is_a_copy():
    raw = event("1", properties={"size": 5})
    with Oracle(
        catalog_of(m=SIZE, n={"aggregation": "count"}), _arrived([(0, 0, raw), (-1, 0, redriven("m", raw))])
    ) as o:
        assert o.outcomes() == {(0, 0): "counted", (-1, 0): "duplicate"}
        assert [(row[2], row[8]) for row in o.rows("usage_day")] == [("m", 5), ("n", 1)]


def test_what_is_redriven_for_a_meter_that_measures_nothing_of_it_adds_nothing():
    catalog = catalog_of(m=SIZE | {"on_missing": "skip"}, n={"aggregation": "count"})
    with Oracle(catalog, _arrived([(0, 0, event("1")), (-1, 0, redriven("m", event("1")))])) as oracle:
        assert oracle.outcomes() == {(0, 0): "counted", (-1, 0): "duplicate"}
        assert [row[2] for row in oracle.rows("usage_day")] == ["n"]


def test_only_the_redrive_topic_is_read_so():
    with Oracle(catalog_of(m=SIZE), _arrived([(0, 0, redriven("m", event("1", properties={"size": 7})))])) as oracle:
        assert oracle.outcomes() == {(0, 0): "malformed_json"}


def test_a_meter_that_does_not_take_what_was_redriven_for_it_rejects_it():
    catalog = catalog_of(m=SIZE, n={"aggregation": "count"})
    records = [(-1, 0, redriven("m", event("1"))), (-1, 1, redriven("x", event("1")))]
    with Oracle(catalog, _arrived(records)) as oracle:
        assert oracle.outcomes() == {(-1, 0): "missing_value", (-1, 1): "unknown_event_type"}


def _arrived(records):
    return [(partition, offset, millis(ARRIVAL), value) for partition, offset, value in records]


DIMS = [
    ({}, '{"a.b":"","region":""}'),
    ({"properties": {"a": {"b": 1.0}, "region": None}, "region": "eu"}, '{"a.b":"1","region":""}'),
    ({"properties": {"a": {"b": False}}, "region": "eu"}, '{"a.b":"false","region":"eu"}'),
    ({"properties": {"a.b": 'x"é\\u000B\n'}}, '{"a.b":"x\\"é\\\\u000B\\n","region":""}'),
]


@pytest.mark.parametrize(("fields", "dims"), DIMS)
def test_dims_are_canonical_json_of_the_group_by_values(fields, dims):
    meter = {"aggregation": "count", "group_by": ["region", "a.b"]}
    with oracle_of(catalog_of(m=meter), event("1", **fields)) as oracle:
        assert oracle.rows("usage_day")[0][3] == dims


def test_dims_escape_control_characters_as_python_does():
    text = "".join(map(chr, range(1, 32))) + "\x7f\\\\u001f"
    meter = {"aggregation": "count", "group_by": ["a"]}
    with oracle_of(catalog_of(m=meter), event("1", properties={"a": text})) as oracle:
        expected = json.dumps({"a": text}, ensure_ascii=False, separators=(",", ":"))
        assert oracle.rows("usage_day")[0][3] == expected


def test_group_by_values_must_be_scalars_within_the_limit():
    meter = {"aggregation": "count", "group_by": ["a"]}
    assert outcome_of(meter, event("1", properties={"a": {}})) == "wrong_type"
    # {"a":"..."} has 8 bytes around the value.
    assert outcome_of(meter, event("1", properties={"a": "x" * 1_016})) == "counted"
    assert outcome_of(meter, event("1", properties={"a": "x" * 1_017})) == "dimension_too_long"


def is_(operator, operand, path="p"):
    return {"property": path, operator: operand}


MISSING = object()
FILTERS = [
    # Operands that are numbers compare as numbers, with numeric texts too; others as text.
    (is_("eq", 5), [5, 5.0, "5", "5.00", "+5", "0.5e1"], [6, "five", True, MISSING, None, [5], {}]),
    (is_("eq", "5"), [5, "5", 5.0], ["5.0", MISSING]),
    (is_("eq", "5.0"), [5, 5.0, "5.0"], ["5", "5.00", MISSING]),
    (is_("eq", True), [True, "true"], [1, False, "True", MISSING]),
    (is_("eq", ""), [""], [" ", MISSING, None]),
    (is_("eq", "it's"), ["it's"], ["its"]),
    (is_("ne", 5), [6, "five", True, MISSING, None, [5], {}], [5, 5.0, "5"]),
    (is_("ne", "a"), ["b", MISSING, None, ["a"]], ["a"]),
    (is_("in", ["a", 5, False]), ["a", 5.0, "5.0", "false", False], ["5a", True, MISSING, None, ["a"]]),
    (is_("exists", True), [0, "", False, [], {}], [MISSING, None]),
    (is_("exists", False), [MISSING, None], [0, "", False, [], {}]),
    (is_("gt", 10), [11, "10.000000000000000000001", "1e400"], [10, 9, "9", "ten", True, MISSING, None, [11], {}]),
    (is_("gte", 10), [10, "10.0", 11], [9, "9.99999999999999999999999999999999999999999", "-1e400"]),
    (is_("lt", -0.5), [-1, "-0.50000000000000000000000000001", "-1e9"], [-0.5, "-0.5", -0.4, 0, 1, "x", MISSING]),
    (is_("lte", 0), [0, "-0", "0e9", -1, "-1e-400"], ["1e-400", 1]),
    (is_("gt", "-12"), [-11, "-11.9", "-1.2"], [-12, -12.5, -120]),
    # Paths as for values.
    (is_("eq", 1, "properties.p"), [1], [2, MISSING]),
    # Both, either, nested.
    ({"all": [is_("gte", 1), is_("lt", 3)]}, [1, 2.5], [0.5, 3, MISSING]),
    ({"any": [is_("eq", "a"), is_("eq", "b")]}, ["a", "b"], ["c", MISSING]),
    ({"all": [{"any": [is_("eq", 1), {"all": [is_("gt", 5), is_("ne", 7)]}]}, is_("exists", True)]}, [1, 6], [2, 7]),
]


@pytest.fixture(scope="module")
def found_taken():
    """Of each filter, which has a meter and an event type of its own, the places of the values that it takes."""
    meters, stream, places = {}, [], []
    for i, (document, taken, left) in enumerate(FILTERS):
        meters[f"m{i}"] = {"event_types": f"e{i}", "aggregation": "count", "filter": document}
        for place, case in enumerate([*taken, *left]):
            properties = {} if case is MISSING else {"p": case}
            stream.append(event(f"{i}-{place}", event_type=f"e{i}", properties=properties))
            places.append((i, place))
    with oracle_of(catalog_of(**meters), *stream) as oracle:
        assert oracle.counts().counted == len(stream)
        query = "SELECT \"offset\" FROM usage WHERE meter LIKE 'm%' ORDER BY 1"
        offsets = [offset for (offset,) in oracle.db.execute(query).fetchall()]
    accepted = [places[offset] for offset in offsets]
    return [[place for j, place in accepted if j == i] for i in range(len(FILTERS))]


@pytest.mark.parametrize("i", range(len(FILTERS)))
def test_a_filter_takes_what_fits_and_leaves_the_rest(i, found_taken):
    assert found_taken[i] == list(range(len(FILTERS[i][1])))


def test_what_a_filter_leaves_is_not_refused_either():
    catalog = catalog_of(m={"aggregation": "sum", "value": "size", "filter": is_("eq", "a", "kind")})
    stream = [event("1", properties={"kind": "b", "size": "x"}), event("2", properties={"kind": "a", "size": "x"})]
    with oracle_of(catalog, *stream) as oracle:
        assert oracle.outcomes() == {(0, 0): "counted", (0, 1): "invalid_quantity"}


def test_a_tenants_own_meter_hides_the_common_one_with_all_its_types():
    own = {"m": {"event_types": ["own", "use"], "aggregation": "sum", "unit": "u"}}
    catalog = {
        "tenants": {"t": {"meters": own}, "other": None},
        "meters": {"m": {"event_types": ["use", "common"], "aggregation": "sum", "unit": "u", "group_by": ["a"]}},
    }
    types = [("t", "use"), ("t", "own"), ("t", "common"), ("other", "common"), ("other", "own")]
    stream = [event(f"{i}", tenant_id=tenant, event_type=kind) for i, (tenant, kind) in enumerate(types)]
    with oracle_of(catalog, *stream) as oracle:
        outcomes = [oracle.outcomes()[0, offset] for offset in range(5)]
        assert outcomes == ["counted", "counted", "unknown_event_type", "counted", "unknown_event_type"]
        assert {(row[0], row[3]) for row in oracle.rows("usage_day")} == {("t", ""), ("other", '{"a":""}')}


@pytest.mark.parametrize(
    "meter",
    [
        {"aggregation": "median"},
        {"aggregation": "count", "colour": "red"},
        {"aggregation": "count", "filter": {"property": "p", "like": "a"}},
        {"aggregation": "count", "filter": {"property": "p", "gt": 1, "lt": 2}},
        {"aggregation": "count", "filter": {"eq": 1}},
    ],
)
def test_a_meter_that_the_oracle_does_not_know_in_full_is_refused(meter):
    with pytest.raises(UsageError):
        Oracle(catalog_of(m=meter), [])


def test_a_catalog_without_meters_takes_no_event():
    with oracle_of(catalog_of(), event("1", NOON)) as oracle:
        assert oracle.counts().rejected == {"unknown_event_type": 1}


@pytest.mark.parametrize("text", ["$grace_ms", "$max_dims_bytes", "$none", "'$grace_ms", "{x}", "?"])
def test_a_text_of_a_catalog_is_never_a_parameter_of_a_statement(text):
    meter = {"aggregation": "count", "filter": {"property": "plan", "eq": text}}
    with oracle_of(catalog_of(m=meter), event("1", properties={"plan": text}), event("2")) as oracle:
        assert [row[6] for row in oracle.rows("usage_day") if row[2] == "m"] == [1]
