"""What breaks a contract and what does not, and that nothing in the repository breaks one that is released."""

from __future__ import annotations

import copy
import json
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from schemas.compatibility import DIRECTIONS, Direction, breaking_changes
from schemas.plain_schema import plain

ROOT = Path(str(files("schemas"))).parent
RELEASED = "schemas/topics/released"


def record(**changes: Any) -> dict[str, Any]:
    """A closed record with one required field; `...` leaves a keyword out."""
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["id"],
        "properties": {"id": {"type": "string", "minLength": 1, "maxLength": 10}, "note": {"type": ["string", "null"]}},
        **changes,
    }
    return {name: value for name, value in schema.items() if value is not ...}


def field(schema: Any) -> dict[str, Any]:
    """A record whose only field has this schema."""
    return {"type": "object", "properties": {"f": schema}}


def both(old: Any, new: Any) -> tuple[bool, bool]:
    """Whether the change breaks what is accepted, and what is produced."""
    return bool(breaking_changes(old, new, "accepted")), bool(breaking_changes(old, new, "produced"))


WIDER, NARROWER, SAME, OTHER = (False, True), (True, False), (False, False), (True, True)

FIELDS: list[tuple[Any, Any, tuple[bool, bool]]] = [
    ({"type": "string"}, {"type": "string", "description": "Reworded.", "title": "T", "default": "x"}, SAME),
    ({"type": "string"}, {"type": ["string"]}, SAME),
    ({"type": "string"}, {"type": ["string", "null"]}, WIDER),
    ({"type": ["string", "null"]}, {"type": "string"}, NARROWER),
    ({"type": "integer"}, {"type": "number"}, WIDER),
    ({"type": "number"}, {"type": "integer"}, NARROWER),
    ({"type": "string"}, {"type": "integer"}, OTHER),
    ({"type": "string"}, {}, WIDER),
    ({"type": "string"}, True, WIDER),
    (False, {"type": "string"}, WIDER),
    (True, {"type": "string"}, NARROWER),
    ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}, SAME),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}, WIDER),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, NARROWER),
    ({"const": "a"}, {"enum": ["a"]}, SAME),
    ({"const": 1}, {"enum": [1, 2]}, WIDER),
    ({"const": 1}, {"const": True}, OTHER),
    ({"enum": ["a"]}, {"type": "string"}, WIDER),
    ({"enum": ["a", "bb"]}, {"type": "string", "minLength": 2}, OTHER),
    ({"oneOf": [{"const": "a", "description": "A."}]}, {"enum": ["a"]}, SAME),
    ({"oneOf": [{"const": "a"}]}, {"oneOf": [{"const": "a"}, {"const": "b"}]}, WIDER),
    ({"type": "string", "maxLength": 5}, {"type": "string", "maxLength": 6}, WIDER),
    ({"type": "string", "maxLength": 5}, {"type": "string"}, WIDER),
    ({"type": "string", "minLength": 1}, {"type": "string", "minLength": 2}, NARROWER),
    ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": -1}, WIDER),
    ({"type": "number", "exclusiveMaximum": 10}, {"type": "number", "exclusiveMaximum": 9}, NARROWER),
    ({"type": "string"}, {"type": "string", "pattern": "^a$"}, NARROWER),
    ({"type": "string", "pattern": "^a$"}, {"type": "string", "pattern": "^[ab]$"}, OTHER),
    ({"type": "null"}, {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^a$"}]}, WIDER),
    ({"type": "integer"}, {"type": "integer", "pattern": "^a$", "minLength": 3}, SAME),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["null", "string"]}, SAME),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "null"}]}, NARROWER),
    ({"anyOf": [{"type": "string"}], "maxLength": 4}, {"type": "string", "maxLength": 4}, SAME),
    ({"allOf": [{"type": "string"}, {"maxLength": 4}]}, {"type": "string", "maxLength": 4}, SAME),
    ({"allOf": [{"type": "string"}]}, {"allOf": [{"type": "string"}, {"maxLength": 4}]}, NARROWER),
    ({"allOf": [{"type": "string"}, False]}, {"type": "string"}, WIDER),
    ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {"type": ["string", "null"]}}, WIDER),
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}, NARROWER),
    ({"type": "array", "maxItems": 3}, {"type": "array", "maxItems": 2}, NARROWER),
    ({"not": {"type": "string"}}, {"not": {"type": "string"}}, SAME),
    ({"type": "string"}, {"type": "string", "not": {"const": "a"}}, NARROWER),
    ({"type": "string", "contentEncoding": "base64"}, {"type": "string", "contentEncoding": "base32"}, OTHER),
]


@pytest.mark.parametrize(("old", "new", "breaks"), FIELDS)
def test_a_changed_field_breaks_who_relies_on_it(old: Any, new: Any, breaks: tuple[bool, bool]) -> None:
    assert both(field(old), field(new)) == breaks
    assert both(field(new), field(old)) == (breaks[1], breaks[0])
    # The same within an array, and behind a reference.
    assert both({"items": old}, {"items": new}) == breaks
    assert both({"$defs": {"x": old}, "$ref": "#/$defs/x"}, {"$defs": {"x": new}, "$ref": "#/$defs/x"}) == breaks


RECORDS: list[tuple[dict[str, Any], dict[str, Any], tuple[bool, bool]]] = [
    (record(), record(required=[]), WIDER),
    (record(), record(required=["id", "note"]), NARROWER),
    (record(), record(additionalProperties=True), WIDER),
    (record(), record(additionalProperties={"type": "string"}), WIDER),
    (record(), record(properties={**record()["properties"], "more": {"type": "string"}}), WIDER),
    (record(), record(properties={"id": record()["properties"]["id"]}), NARROWER),
    (record(), record(properties={**record()["properties"], "note": False}), NARROWER),
    (record(), record(maxProperties=3), NARROWER),
    (
        record(additionalProperties=...),
        record(additionalProperties=..., properties={**record()["properties"], "more": {"type": "string"}}),
        NARROWER,
    ),
    (
        record(additionalProperties=...),
        record(additionalProperties=..., properties={**record()["properties"], "more": {"description": "Any."}}),
        SAME,
    ),
]


@pytest.mark.parametrize(("old", "new", "breaks"), RECORDS)
def test_a_changed_record_breaks_who_relies_on_it(
    old: dict[str, Any], new: dict[str, Any], breaks: tuple[bool, bool]
) -> None:
    assert both(old, new) == breaks
    assert both(new, old) == (breaks[1], breaks[0])


def test_a_breaking_change_says_where_and_what() -> None:
    result = breaking_changes(
        record(), record(required=[], properties={"id": {"type": ["string", "null"]}}), "produced"
    )
    assert result == [
        "$: an object without 'id' is allowed by the new schema alone.",
        "$.id: type null is allowed by the new schema alone.",
        "$.id: minLength is missing in the new schema, 1 in the old.",
        "$.id: maxLength is missing in the new schema, 10 in the old.",
    ]


# --- marks ------------------------------------------------------------------------------------------------------------


def test_an_open_enum_may_get_longer_by_values_of_its_type_only() -> None:
    old = field({"enum": ["a"], "x-open-enum": True})
    assert breaking_changes(old, field({"enum": ["a", "b"]}), "produced") == []
    assert breaking_changes(old, field({"enum": ["a", None]}), "produced") == [
        "$.f: the value None is allowed by the new schema alone."
    ]
    # Accepting is strict, and a mark of the new schema comes too late for readers of the old one.
    assert breaking_changes(field({"enum": ["a", "b"], "x-open-enum": True}), old, "accepted")
    assert breaking_changes(field({"enum": ["a"]}), field({"enum": ["a", "b"], "x-open-enum": True}), "produced")


def test_an_open_record_may_get_new_fields_but_not_other_types() -> None:
    old = record(**{"x-open-fields": True})
    more = {**record()["properties"], "more": {"type": "string"}}
    assert breaking_changes(old, record(properties=more, required=["id", "more"]), "produced") == []
    assert breaking_changes(old, record(properties={**more, "id": {"type": "integer"}}), "produced")
    assert breaking_changes(old, record(properties=more, required=["more"]), "produced")
    assert breaking_changes(record(), record(properties=more, **{"x-open-fields": True}), "produced")


# --- conditions -------------------------------------------------------------------------------------------------------


def versioned(versions: list[int], *conditions: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """An open record with a required version, and fields that hold from one version each."""
    return {
        "type": "object",
        "required": ["v"],
        "properties": {"v": {"enum": versions}},
        "allOf": [
            {"if": {"required": ["v"], "properties": {"v": {"const": version}}}, "then": {"properties": fields}}
            for version, fields in conditions
        ],
    }


def test_a_field_may_get_a_type_from_a_version_on_that_nobody_could_send() -> None:
    old = versioned([1])
    assert breaking_changes(old, versioned([1, 2], (2, {"source": {"type": "string"}})), "accepted") == []
    assert breaking_changes(old, versioned([1, 2], (1, {"source": {"type": "string"}})), "accepted")
    grown = versioned([1, 2, 3], (2, {"source": {"type": "string"}}), (3, {"more": {"type": "null"}}))
    assert breaking_changes(versioned([1, 2], (2, {"source": {"type": "string"}})), grown, "accepted") == []


def test_what_holds_from_a_version_on_is_compared_itself() -> None:
    old = versioned([1, 2], (2, {"source": {"type": "string"}}))
    assert breaking_changes(old, versioned([1, 2], (2, {"source": {"type": ["string", "null"]}})), "accepted") == []
    assert breaking_changes(old, versioned([1, 2], (2, {"source": {"type": "null"}})), "accepted")
    assert breaking_changes(old, versioned([1, 2]), "accepted") == []
    assert breaking_changes(old, versioned([1, 2]), "produced")


def test_both_branches_of_a_condition_count() -> None:
    def chosen(then: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        return {"if": {"required": ["a"]}, "then": field(then), "else": field(other)}

    text, number = {"type": "string"}, {"type": "number"}
    assert both(chosen(text, number), chosen(text, number)) == SAME
    assert both(chosen(text, number), chosen(text, {"type": "integer"})) == NARROWER
    assert both(chosen(text, number), chosen({"type": ["null", "string"]}, number)) == WIDER
    # Another condition is judged by what holds in any case.
    assert both(field({"enum": ["x"]}), {**chosen(text, text), "if": {"required": ["b"]}}) == (False, True)


def test_a_reference_that_cannot_be_followed_is_refused() -> None:
    looped = {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}}
    for schema in (looped, {"$ref": "https://example.com/schema.json"}):
        with pytest.raises(ValueError, match=r"\$ref"):
            breaking_changes(schema, schema, "accepted")


# --- against validation itself ----------------------------------------------------------------------------------------

_scalars = st.sampled_from([None, True, 0, 1, 2, 1.5, "", "a", "b", "aaa"])
_leaves = st.one_of(
    st.booleans(),
    st.builds(lambda kinds: {"type": kinds}, st.lists(st.sampled_from(["string", "null", "number", "integer"]),
                                                      min_size=1, max_size=2, unique=True)),
    st.builds(lambda values: {"enum": values}, st.lists(_scalars, min_size=1, max_size=3)),
    st.builds(lambda value: {"const": value}, _scalars),
    st.sampled_from([{"minLength": 1}, {"maxLength": 1}, {"minimum": 1}, {"maximum": 1}, {"pattern": "a"}, {}]),
)  # fmt: skip
_fields = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda a: {"not": a}, inner),
    ),
    max_leaves=4,
)
_records = st.builds(
    lambda fields, required, others: {"properties": fields, "required": required, "additionalProperties": others},
    st.dictionaries(st.sampled_from("fg"), _fields, max_size=2),
    st.lists(st.sampled_from("fg"), unique=True, max_size=2),
    _fields,
)
_values = st.dictionaries(st.sampled_from("fgh"), _scalars, max_size=3) | _scalars


@given(_records | _fields, _records | _fields, st.lists(_values, min_size=3, max_size=15))
def test_a_change_that_does_not_break_turns_no_value_away(old: Any, new: Any, values: list[Any]) -> None:
    before, after = Draft202012Validator(old), Draft202012Validator(new)
    accepted = not breaking_changes(old, new, "accepted")
    produced = not breaking_changes(old, new, "produced")
    for value in values:
        assert Draft202012Validator(plain(old)).is_valid(value) == before.is_valid(value)
        assert not accepted or after.is_valid(value) or not before.is_valid(value)
        assert not produced or before.is_valid(value) or not after.is_valid(value)


@given(_records | _fields)
def test_nothing_is_broken_by_no_change(schema: Any) -> None:
    assert both(schema, copy.deepcopy(schema)) == SAME


# --- the repository ---------------------------------------------------------------------------------------------------


def test_every_topic_has_a_released_schema_and_a_direction() -> None:
    names = {entry.name for entry in files("schemas").joinpath("topics", "released").iterdir()}
    assert names == {f"{topic}.schema.json" for topic in schemas.TOPICS}
    assert set(DIRECTIONS) == set(schemas.TOPICS)


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_a_schema_keeps_what_was_released(topic: str) -> None:
    assert breaking_changes(schemas.released_schema(topic), schemas.topic_schema(topic), DIRECTIONS[topic]) == []


def committed(topic: str) -> dict[str, Any] | None:
    """The released schema as of the last commit; None without git, or when there was none."""
    path = f"HEAD:{RELEASED}/{topic}.schema.json"
    try:
        shown = subprocess.run(["git", "-C", str(ROOT), "show", path], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return json.loads(shown.stdout) if shown.returncode == 0 else None


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_what_was_released_is_not_bent_along_with_a_change(topic: str) -> None:
    before = committed(topic)
    if before is None:
        pytest.skip("no committed release to compare with")
    assert breaking_changes(before, schemas.released_schema(topic), DIRECTIONS[topic]) == []


def without(schema: Any, *path: str) -> Any:
    changed = copy.deepcopy(schema)
    node = changed
    for name in path[:-1]:
        node = node[name]
    del node[path[-1]]
    return changed


def with_value(schema: Any, value: Any, *path: str) -> Any:
    changed = copy.deepcopy(schema)
    node = changed
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return changed


EVENTS, DELTAS, DLQ = (schemas.topic_schema(f"usage.{name}") for name in ("events", "deltas", "dlq"))
NATIVE, CLOUD = ("$defs", "native"), ("$defs", "cloudevent")
BREAKING: list[tuple[str, Direction, Any, Any]] = [
    ("a field becomes required", "accepted", EVENTS,
     with_value(EVENTS, [*EVENTS["$defs"]["native"]["required"], "quantity"], *NATIVE, "required")),
    ("a version is dropped", "accepted", EVENTS,
     with_value(EVENTS, [2], *NATIVE, "properties", "schema_version", "enum")),
    ("ids get shorter", "accepted", EVENTS, with_value(EVENTS, 100, "$defs", "id", "maxLength")),
    ("fewer properties", "accepted", EVENTS, with_value(EVENTS, 10, *CLOUD, "properties", "data", "maxProperties")),
    ("a new field with a type", "accepted", EVENTS,
     with_value(EVENTS, {"type": "string"}, *NATIVE, "properties", "currency")),
    ("CloudEvents are no longer taken", "accepted", EVENTS, with_value(EVENTS, {"$ref": "#/$defs/native"}, "then")),
    ("unknown fields are refused", "accepted", EVENTS, with_value(EVENTS, False, *NATIVE, "additionalProperties")),
    ("quantities as text are refused", "accepted", EVENTS,
     with_value(EVENTS, [EVENTS["$defs"]["quantity"]["anyOf"][0]], "$defs", "quantity", "anyOf")),
    ("the detection changes", "accepted", EVENTS, with_value(EVENTS, {"required": ["specversion"]}, "if")),
    ("source gets a type in all versions", "accepted", EVENTS,
     with_value(EVENTS, {"type": "string"}, *NATIVE, "properties", "source")),
    ("a required field goes", "produced", DELTAS,
     with_value(DELTAS, [n for n in DELTAS["required"] if n != "total"], "required")),
    ("a total becomes a number", "produced", DELTAS, with_value(DELTAS, {"type": "number"}, "properties", "total")),
    ("a total becomes null", "produced", DELTAS,
     with_value(DELTAS, {"type": ["string", "null"]}, "properties", "total")),
    ("more decimals", "produced", DELTAS, with_value(DELTAS, "^.*$", "$defs", "decimal", "pattern")),
    ("a count below nothing", "produced", DELTAS, without(DELTAS, "properties", "n", "minimum")),
    ("raw is text", "produced", DLQ, without(DLQ, "properties", "raw", "contentEncoding")),
    ("a reason is null", "produced", DLQ,
     with_value(DLQ, [*DLQ["properties"]["reason"]["oneOf"], {"const": None}], "properties", "reason", "oneOf")),
]  # fmt: skip
HARMLESS: list[tuple[str, Direction, Any, Any]] = [
    ("ids get longer", "accepted", EVENTS, with_value(EVENTS, 512, "$defs", "id", "maxLength")),
    ("a version more", "accepted", EVENTS,
     with_value(EVENTS, [1, 2, 3, None], *NATIVE, "properties", "schema_version", "enum")),
    ("a field that may be anything", "accepted", EVENTS,
     with_value(EVENTS, {"description": "A note."}, *NATIVE, "properties", "note")),
    ("text instead of a tenant id may be null", "accepted", EVENTS, without(EVENTS, *CLOUD, "properties", "tenantid")),
    ("a field more", "produced", DELTAS, with_value(DELTAS, {"type": "string"}, "properties", "run")),
    ("a field is never null", "produced", DELTAS, with_value(DELTAS, {"$ref": "#/$defs/decimal"}, "properties", "lo")),
    ("a reason more", "produced", DLQ,
     with_value(DLQ, [*DLQ["properties"]["reason"]["oneOf"], {"const": "new"}], "properties", "reason", "oneOf")),
    ("a reason less", "produced", DLQ,
     with_value(DLQ, DLQ["properties"]["reason"]["oneOf"][1:], "properties", "reason", "oneOf")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "direction", "old", "new"), BREAKING, ids=[what for what, *_ in BREAKING])
def test_a_breaking_change_of_a_real_schema_is_refused(what: str, direction: Direction, old: Any, new: Any) -> None:
    assert breaking_changes(old, new, direction), what


@pytest.mark.parametrize(("what", "direction", "old", "new"), HARMLESS, ids=[what for what, *_ in HARMLESS])
def test_a_harmless_change_of_a_real_schema_is_allowed(what: str, direction: Direction, old: Any, new: Any) -> None:
    assert breaking_changes(old, new, direction) == [], what


def test_a_third_version_of_the_event_can_come() -> None:
    # given: a field that has a type from version 3 on
    third = {
        "if": {"required": ["schema_version"], "properties": {"schema_version": {"const": 3}}},
        "then": {"properties": {"currency": {"type": "string"}}},
    }
    new = with_value(EVENTS, [1, 2, 3, None], *NATIVE, "properties", "schema_version", "enum")
    second = {name: new["$defs"]["native"].pop(name) for name in ("if", "then")}
    # when: both conditions stand side by side
    new["$defs"]["native"]["allOf"] = [second, third]
    # then
    assert breaking_changes(EVENTS, new, "accepted") == []
    assert breaking_changes(new, EVENTS, "accepted")
