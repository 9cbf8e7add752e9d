"""Filters and paths: what passes, what a path finds, and the errors of invalid filters."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import accepted, decoder, meters_of, raw_event, with_literal
from udfs.events.parse import parse
from udfs.events.reasons import Rejected
from udfs.meters.filters import FilterError, filter_faults, filter_of, filter_text, parse_filter
from udfs.meters.meter import UNMEASURED, Meter
from udfs.meters.paths import number_of, path_of, text_of


def passes(condition: Any, literal: str | None = None, **fields: Any) -> bool:
    """Whether an event passes; `literal` is the JSON of its property `x`, None for an event without it."""
    if literal is not None:
        raw = with_literal("properties", f'{{"x": {literal} }}')
    else:
        raw = raw_event(**{"properties": {"y": 1}, **fields})
    event = parse(raw)
    result = parse_filter(condition)(event)
    assert filter_of(filter_text(condition))(event) == result
    return result


# --- conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operand", "equal", "other"),
    [
        (5, ["5", "5.0", '"5"', '"5.00"', "5e0", '"+5"', "0.5e1"], ["6", '"five"', "true", '" 5"', '"\u0665"', '""']),
        (0, ["0", "-0", "0.0", '"0"', "0e99"], ["false", '""', "1e-999999999999999999999"]),
        (0.1, ["0.1", '"0.10"', "1e-1"], ["0.1000000000000000055511151231257827", "0.11"]),
        ("5", ["5", '"5"', "5.0", "5e0"], ['"5.0"', "true", "6"]),
        ("5.0", ["5", '"5.0"', "5.00"], ['"5"', '"5.00"', "6"]),
        ("LAX", ['"LAX"', '"\\u004cAX"'], ['"lax"', '"LAX "', '["LAX"]']),
        ("", ['""'], ['" "', "0"]),
        (True, ["true", '"true"'], ["false", "1", '"True"']),
        ("true", ["true", '"true"'], ["1"]),
        (False, ["false", '"false"'], ["0", '""']),
        (10**30, [str(10**30), "1e30", '"1E+30"'], [str(10**30 + 1)]),
    ],
)  # fmt: skip
def test_values_are_equal_by_number_or_by_text(operand: Any, equal: list[str], other: list[str]) -> None:
    for literal in equal:
        assert passes({"property": "x", "eq": operand}, literal), literal
        assert not passes({"property": "x", "ne": operand}, literal), literal
        assert passes({"property": "x", "in": ["none", operand]}, literal), literal
    for literal in other:
        assert not passes({"property": "x", "eq": operand}, literal), literal
        assert passes({"property": "x", "ne": operand}, literal), literal
        assert not passes({"property": "x", "in": ["none", operand]}, literal), literal


CONDITIONS = [{"eq": "a"}, {"in": ["a", 1]}, {"gt": 0}, {"gte": 0}, {"lt": 0}, {"lte": 0}]


@pytest.mark.parametrize("literal", [None, "null"])
def test_a_missing_value_equals_nothing_and_compares_with_nothing(literal: str | None) -> None:
    assert not any(passes({"property": "x", **one}, literal) for one in CONDITIONS)
    assert passes({"property": "x", "ne": "a"}, literal)
    assert passes({"property": "x", "exists": False}, literal)
    assert not passes({"property": "x", "exists": True}, literal)


@pytest.mark.parametrize("literal", ["{}", "[]", '{"a": 1}', '["a"]'])
def test_an_object_or_array_is_there_and_equals_nothing(literal: str) -> None:
    assert not any(passes({"property": "x", **one}, literal) for one in CONDITIONS)
    assert passes({"property": "x", "ne": "a"}, literal)
    assert passes({"property": "x", "exists": True}, literal)
    assert not passes({"property": "x", "exists": False}, literal)


@pytest.mark.parametrize("literal", ["0", '""', "false", '"null"'])
def test_an_empty_value_is_there(literal: str) -> None:
    assert passes({"property": "x", "exists": True}, literal)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        #                 gt     gte    lt     lte
        ("5", (False, True, False, True)),
        ('"5.000"', (False, True, False, True)),
        ("5.000000000000000000000000000001", (True, True, False, False)),
        ("4.999999999999999999999999999999", (False, False, True, True)),
        ("1e999999999999999999999", (True, True, False, False)),
        ("-1e999999999999999999999", (False, False, True, True)),
        ("-1e-999999999999999999999", (False, False, True, True)),
        ('"five"', (False, False, False, False)),
        ("true", (False, False, False, False)),
        ('"NaN"', (False, False, False, False)),
        ('""', (False, False, False, False)),
    ],
)
@pytest.mark.parametrize("bound", [5, 5.0, "5", "5.0"])
def test_numbers_compare_exactly_and_other_values_never(
    literal: str, expected: tuple[bool, bool, bool, bool], bound: Any
) -> None:
    names = ("gt", "gte", "lt", "lte")
    assert tuple(passes({"property": "x", name: bound}, literal) for name in names) == expected


@given(own.json_values, own.json_values)
def test_not_equal_is_the_opposite_of_equal_for_any_values(value: Any, operand: Any) -> None:
    raw = json.dumps(own.event(properties={"x": value})).encode()
    if filter_faults({"property": "x", "eq": operand}):
        return
    try:
        event = parse(raw)
    except Rejected:
        return
    equal = parse_filter({"property": "x", "eq": operand})(event)
    assert parse_filter({"property": "x", "ne": operand})(event) != equal
    assert parse_filter({"property": "x", "in": [operand]})(event) == equal


# --- groups -----------------------------------------------------------------------------------------------------------

YES, NO = {"property": "y", "eq": 1}, {"property": "y", "eq": 2}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({"all": [YES]}, True), ({"all": [YES, NO]}, False), ({"all": [YES, YES, YES]}, True),
        ({"any": [NO, YES]}, True), ({"any": [NO, NO]}, False),
        ({"all": [YES, {"any": [NO, {"all": [YES, {"any": [NO, YES]}]}]}]}, True),
        ({"all": [YES, {"any": [NO, {"all": [YES, {"any": [NO, NO]}]}]}]}, False),
    ],
)  # fmt: skip
def test_groups_need_all_or_any_of_their_members(group: Any, expected: bool) -> None:
    assert passes(group) == expected


def test_a_filter_decides_which_events_a_meter_measures() -> None:
    lax = Meter("lax", ("call",), "count", filter=filter_text({"property": "dest", "eq": "LAX"}))
    by = decoder(meters_of(lax, Meter("sum", ("call",), "sum")))
    assert [one.meter for one in accepted(raw_event(), by=by)] == ["lax", "sum"]
    assert [one.meter for one in accepted(raw_event(properties={"dest": "SFO"}), by=by)] == ["sum"]
    alone = decoder(meters_of(lax))
    assert [one.meter for one in accepted(raw_event(properties={}), by=alone)] == [UNMEASURED]


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "properties", "found"),
    [
        ("a", {"a": 1}, "1"),
        ("properties.a", {"a": 1}, "1"),
        ("properties.quantity", {"quantity": 7}, "7"),
        ("a.b.c", {"a": {"b": {"c": "deep"}}}, "deep"),
        ("properties.a.b", {"a": {"b": True}}, "true"),
        ("a.b", {"a.b": "literal", "a": {"b": "nested"}}, "literal"),
        ("a.b", {"a.b": None, "a": {"b": "nested"}}, None),
        ("a.b", {"a": "text"}, None),
        ("a.b", {"a": ["b"]}, None),
        ("a.b", {"a": {"c": 1}}, None),
        ("a.b", {"a": {"b": None}}, None),
        ("a.b", {"a": None}, None),
        ("a.b", {"a.b.c": 1, "b": 1}, None),
        ("a", {"a": None}, None),
        ("$.a", {"a": 1}, "1"),
        ("$.a.b", {"a.b": "literal", "a": {"b": "nested"}}, "nested"),
        ("$['a.b']", {"a.b": "literal", "a": {"b": "nested"}}, "literal"),
        ('$["a"].b', {"a": {"b": "nested"}}, "nested"),
        ("$['a']['b c']", {"a": {"b c": 1.0}}, "1"),
        ("$a", {"$a": 1, "a": 2}, "1"),
        ("$.a", {}, None),
        ("$.quantity", {}, None),
        ("$.region", {}, None),
        ("properties.quantity", {}, None),
        ("properties.event_id", {}, None),
        ("quantity", {}, "2.5"),
        ("quantity", {"quantity": 7}, "7"),
        ("event_id", {}, "e-1"),
        ("tenant_id", {}, "acme"),
        ("customer_id", {}, "alice"),
        ("event_type", {}, "call"),
        ("timestamp", {}, "2024-03-05T10:17:42.250Z"),
        ("source", {}, None),
        ("voids", {}, None),
    ],
)
def test_a_path_finds_a_property_of_that_name_then_a_nested_one(
    path: str, properties: dict[str, Any], found: str | None
) -> None:
    value = path_of(path).find(parse(raw_event(properties=properties)))
    assert (None if value is None else text_of(value)) == found


def test_every_field_of_an_event_answers_in_both_forms() -> None:
    fields = {
        "event_id": "e-1", "tenant_id": "acme", "customer_id": "alice", "event_type": "call", "source": "api",
        "timestamp": "2024-03-05T12:17:42.2509999+02:00", "quantity": 150.0, "schema_version": 2,
    }  # fmt: skip
    cloud = {
        "specversion": "1.0", "id": "e-1", "tenantid": "acme", "subject": "alice", "type": "call", "source": "api",
        "time": fields["timestamp"], "data": {"quantity": 150.0},
    }  # fmt: skip
    answers = {**fields, "timestamp": "2024-03-05T10:17:42.250Z", "quantity": "150"}
    del answers["schema_version"]
    for document in (fields, cloud):
        event = parse(json.dumps(document).encode())
        for name, text in answers.items():
            value = path_of(name).find(event)
            assert value is not None, name
            assert text_of(value) == text
    bare = parse(json.dumps({**cloud, "data": None, "time": "2024-03-05T10:17:42Z"}).encode())
    assert path_of("quantity").find(bare) == b"1"
    assert path_of("timestamp").find(bare) == b'"2024-03-05T10:17:42Z"'
    void = parse(json.dumps({**fields, "event_id": "v", "voids": "e-1"}).encode())
    assert path_of("event_id").find(void) == b'"e-1"'


@pytest.mark.parametrize(
    "path",
    ["", "properties.", "$", "$.", "$..a", "$.*", "$.a[0]", "$[0]", "$.a[*]", "$['a", "$[?(@.a)]", "$.a..b", "$['']"],
)
def test_a_path_that_cannot_be_read_says_what_to_write(path: str) -> None:
    with pytest.raises(ValueError, match=r"write its name|nothing but names"):
        path_of(path)


@pytest.mark.parametrize("name", ["resource_id", "user_id", "session_id", "region"])
def test_a_field_of_the_event_answers_where_no_property_does(name: str) -> None:
    def found(path: str = name, **fields: Any) -> str | None:
        value = path_of(path).find(parse(raw_event(**fields)))
        return None if value is None else text_of(value)

    assert found(**{name: 'ö"1'}) == 'ö"1'
    assert found(f"properties.{name}", **{name: "own"}) is None
    assert found(**{name: "own", "properties": {name: "property"}}) == "property"
    assert found(**{name: "own", "properties": {name: None}}) is None
    assert found(**{name: "own", "properties": ...}) == "own"
    assert found(**{name: None}) is None
    assert found() is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", "5"), ("-1.50", "-1.5"), ("+2", "2"), ("1e3", "1000"), ("0e999999999999999999999", "0"), ("007", "7"),
        ("1e999999999999999999999", "Infinity"), ("-1e999999999999999999999", "-Infinity"),
    ],
)  # fmt: skip
def test_the_number_in_a_text(text: str, number: str) -> None:
    assert number_of(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", " 5", "5 ", "0x5", "five", "NaN", "inf", "Infinity", "1_000", ".5", "5.", "\u0665", "--1"]
)
def test_a_text_that_says_no_number(text: str) -> None:
    assert number_of(text) is None


# --- faults -----------------------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    return YES if depth == 0 else {"all": [nested(depth - 1)]}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (None, "filter"), ("a = 1", "filter"), ([YES], "filter"), ({}, "filter"), ({"not": YES}, "filter"),
        ({"all": [YES], "any": [YES]}, "filter"), ({"eq": 1}, "filter"),
        ({"property": "x"}, "filter"), ({"property": "x", "eq": 1, "ne": 2}, "filter"),
        ({"property": "x", "like": "a"}, "filter"), ({"property": "x", "eq": 1, "all": [YES]}, "filter"),
        ({"property": "", "eq": 1}, "filter.property"), ({"property": "properties.", "eq": 1}, "filter.property"),
        ({"property": 5, "eq": 1}, "filter.property"), ({"property": None, "eq": 1}, "filter.property"),
        ({"all": []}, "filter.all"), ({"any": YES}, "filter.any"), ({"all": "text"}, "filter.all"),
        ({"all": [YES, {"any": [5]}]}, "filter.all[1].any[0]"),
        ({"property": "x", "eq": None}, "filter.eq"), ({"property": "x", "eq": [1]}, "filter.eq"),
        ({"property": "x", "ne": {}}, "filter.ne"), ({"property": "x", "eq": float("nan")}, "filter.eq"),
        ({"property": "x", "eq": float("inf")}, "filter.eq"),
        ({"property": "x", "in": []}, "filter.in"), ({"property": "x", "in": "abc"}, "filter.in"),
        ({"property": "x", "in": [1, None]}, "filter.in"), ({"property": "x", "in": 5}, "filter.in"),
        ({"property": "x", "exists": 1}, "filter.exists"), ({"property": "x", "exists": "true"}, "filter.exists"),
        ({"property": "x", "gt": "five"}, "filter.gt"), ({"property": "x", "lte": True}, "filter.lte"),
        ({"property": "x", "gte": None}, "filter.gte"), ({"property": "x", "lt": [1]}, "filter.lt"),
        ({"property": "x", "gt": "1e999999999999999999999"}, "filter.gt"),
        (nested(5), "filter.all[0].all[0].all[0].all[0].all"),
    ],
)  # fmt: skip
def test_a_bad_filter_is_refused_with_the_place_of_its_fault(document: Any, where: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(document)
    assert isinstance(caught.value, ValueError)
    assert caught.value.where == where
    assert filter_faults(document)[0] == str(caught.value)
    assert str(caught.value).startswith(f"{where}: ")


def test_all_faults_are_named_at_once() -> None:
    document = {"all": [{"property": "x", "gt": "five"}, YES, {"any": []}, {"property": "", "like": 5}]}
    places = [fault.partition(": ")[0] for fault in filter_faults(document)]
    assert places == ["filter.all[0].gt", "filter.all[2].any", "filter.all[3].property", "filter.all[3]"]


@pytest.mark.parametrize("document", [YES, nested(4), {"property": "x", "in": [1, "a", True, 0.5]}])
def test_a_good_filter_has_no_faults(document: Any) -> None:
    assert filter_faults(document) == []


_operands = st.text(max_size=5) | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
_conditions = st.builds(lambda path, one: {"property": path, "eq": one}, own.ids, _operands)
_documents = st.recursive(
    _conditions, lambda inner: st.builds(lambda kind, of: {kind: of}, st.sampled_from(["all", "any"]),
                                         st.lists(inner, min_size=1, max_size=3)), max_leaves=4
)  # fmt: skip


@given(_documents)
def test_the_text_of_a_filter_is_canonical_and_keeps_its_decimals(document: Any) -> None:
    text = filter_text(document)
    assert filter_text(json.loads(text, parse_float=Decimal, parse_int=Decimal)) == text
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == document


def test_text_that_is_no_filter_is_refused() -> None:
    for text in ("{", "[]", '{"property":"x"}'):
        with pytest.raises(ValueError, match=r"filter|Expecting"):
            filter_of(text)
