"""Parsing and checking one event: every reason for which bytes are no event, and the good ones that look suspicious."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import schemas
from tests.unit import strategies as own
from tests.unit.strategies import EVENT_MS, event, raw_event, with_literal
from udfs.events.fields import decimals_of
from udfs.events.parse import (
    MAX_EVENT_BYTES,
    MAX_ID_BYTES,
    Event,
    amount_text,
    checked_id,
    event_time_ms,
    parse,
    quantity_of,
)
from udfs.events.reasons import SHOWN_CHARS, Reason, Rejected, shown
from udfs.events.shape import MAX_DEPTH, MAX_PROPERTIES, depth_of, shape_of
from udfs.events.upcast import VERSIONS


def reason_of(raw: bytes | None) -> Reason:
    """Why the bytes are no event."""
    with pytest.raises(Rejected) as caught:
        parse(raw)
    assert caught.value.detail
    assert shown(caught.value.detail[:SHOWN_CHARS]).isprintable()
    return caught.value.reason


def quantity(literal: str) -> str:
    return quantity_of(parse(with_literal("quantity", literal)))


def quantity_reason(literal: str) -> Reason:
    with pytest.raises(Rejected) as caught:
        quantity(literal)
    return caught.value.reason


def time_of(timestamp: str) -> int:
    # No other field has a point: what looks for one must find it in the timestamp.
    raw = raw_event(timestamp="@@", quantity=1).replace(b"@@", timestamp.encode())
    return event_time_ms(parse(raw))


def time_reason(timestamp: str) -> Reason:
    with pytest.raises(Rejected) as caught:
        time_of(timestamp)
    return caught.value.reason


# --- good events ------------------------------------------------------------------------------------------------------


def test_a_good_event_is_read() -> None:
    read = parse(raw_event())
    assert (read.event_id, read.tenant_id, read.customer_id, read.event_type) == ("e-1", "acme", "alice", "call")
    assert event_time_ms(read) == EVENT_MS
    assert quantity_of(read) == "2.5"


def test_an_event_needs_its_five_fields_only() -> None:
    assert quantity_of(parse(raw_event(quantity=..., properties=...))) == "1"


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": 1},
        {"unknown": {"event_id": "another", "deep": {"event_id": [{"event_id": 2}]}}},
        {"unknown": [{"a": 1}, {"a": 1}]},
        {"properties": {"event_id": "e-1", "properties": {"properties": {}}}},
        {"properties": {"dest": 'say "dest": LAX, "dest":'}},
        {"properties": {'dest":"x","dest': 1, "\\": "\\\\", '\\"': '\\":'}},
        {"region": '{"a":1,"a":2}'},
        {"resource_id": None, "user_id": None, "session_id": "", "region": "eu", "schema_version": 1},
        {"properties": {"text": "\\u0000 is written out", "emoji": "\U0001f600", "del": "\x7f"}},
        {"properties": {}, "": {"": {"": ""}}},
    ],
)
def test_keys_that_only_look_repeated_and_unknown_fields_are_no_fault(fields: dict[str, Any]) -> None:
    assert parse(raw_event(**fields)).event_id == "e-1"
    assert parse(json.dumps(event(**fields), indent=2).encode()).event_id == "e-1"


def test_white_space_around_an_event_is_no_fault() -> None:
    assert parse(b" \r\n\t" + raw_event() + b" \r\n\t").event_id == "e-1"


@given(own.good_events, st.booleans(), st.booleans())
def test_every_good_event_is_read_however_it_is_written(document: dict[str, Any], ascii_only: bool, wide: bool) -> None:
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=1 if wide else None).encode()
    read = parse(raw)
    assert read.event_id == document["event_id"]
    assert Decimal(quantity_of(read)) == Decimal(str(document.get("quantity", 1)))


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, b"", b" ", b"\r\n\t "])
def test_nothing_is_an_empty_value(raw: bytes | None) -> None:
    assert reason_of(raw) == Reason.EMPTY_VALUE


@pytest.mark.parametrize(
    "raw",
    [
        b"hello", b"{'a': 1}", b"{,}", b"{} {}", b"[1,]", b"\x00", b"<xml/>", b'{"a" 1}', b'{"a":01}', b'{"a":"\n"}',
        b"\xef\xbb\xbf" * 2 + raw_event(), raw_event() + b"}", raw_event() + b"\x00", raw_event() + raw_event(),
        raw_event()[1:], raw_event(a="\\q").replace(b"\\\\q", b"\\q"), with_literal("a", "tru"),
        with_literal("a", "1."),
        with_literal("a", "+1"), with_literal("a", ".5"), with_literal("a", "NaN"), with_literal("a", '"\t"'),
        with_literal("properties", '{"dest":NaN}'), with_literal("properties", '{"dest":-Infinity}'),
        with_literal("quantity", "0x10"), with_literal("quantity", "1_000"), with_literal("quantity", "--1"),
    ],
)  # fmt: skip
def test_text_that_is_not_json_is_malformed(raw: bytes) -> None:
    assert reason_of(raw) == Reason.MALFORMED_JSON


def test_every_beginning_of_an_event_is_truncated() -> None:
    raw = raw_event(region='é\\"\U0001f600', a=[True, False, None, 1e-7, -2]).replace(b"1e-07", b"1E-7")
    escaped = json.dumps(event(region="é\U0001f600")).encode()
    for whole in (raw, escaped):
        assert {reason_of(whole[:length]) for length in range(1, len(whole))} == {Reason.TRUNCATED_JSON}


@pytest.mark.parametrize(
    "raw",
    [b"\xff", b"\xc3(", raw_event().replace(b"LAX", b"L\xe9X"),
     with_literal("a", '"@"').replace(b'"@"', b'"\xed\xa0\x80"'),
     raw_event().replace(b"e-1", b"\xc0\x80"), with_literal("a", '"@"').replace(b'"@"', b'"\xf5\x80\x80\x80"')],
)  # fmt: skip
def test_bytes_that_are_not_utf8_are_named(raw: bytes) -> None:
    assert reason_of(raw) == Reason.INVALID_UTF8


@pytest.mark.parametrize("raw", [b"[]", b"null", b"true", b"1", b'"text"', b"[" + raw_event() + b"]", b"NaN"])
def test_json_that_is_no_object_is_named(raw: bytes) -> None:
    assert reason_of(raw) == Reason.NOT_AN_OBJECT


def test_the_size_limit_is_exact() -> None:
    room = MAX_EVENT_BYTES - len(raw_event(note=""))
    assert parse(raw_event(note="x" * room)).event_id == "e-1"
    assert reason_of(raw_event(note="x" * (room + 1))) == Reason.EVENT_TOO_LARGE
    assert reason_of(b"\xff" * (MAX_EVENT_BYTES + 1)) == Reason.EVENT_TOO_LARGE


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("field", ["note", "properties"])
def test_the_nesting_limit_is_exact(opened: str, closed: str, field: str) -> None:
    def nested(depth: int) -> bytes:
        # The event itself is one level, and the object that makes any value a property another.
        inner = depth - (2 if field == "properties" else 1)
        value = opened * inner + "1" + closed * inner
        return with_literal(field, f'{{"x":{value}}}' if field == "properties" else value)

    assert parse(nested(MAX_DEPTH)).event_id == "e-1"
    assert reason_of(nested(MAX_DEPTH + 1)) == Reason.NESTING_TOO_DEEP


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 10_000, b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        with_literal("a", "[" * 10_000 + "]" * 10_000),
        with_literal("properties", '{"a":' * 10_000 + "1" + "}" * 10_000),
        with_literal("event_id", "[" * 10_000 + "]" * 10_000), with_literal("quantity", "[" * 10_000 + "]" * 10_000),
        b"[" * 10_000 + b'"\\', b"[" * 65_536, b'["]' * 20_000,
    ],
)  # fmt: skip
def test_ten_thousand_levels_are_rejected_without_harm(raw: bytes) -> None:
    # The last opens a string at every other bracket: what is in a string does not nest.
    expected = Reason.NESTING_TOO_DEEP if depth_of(raw) > MAX_DEPTH else Reason.MALFORMED_JSON
    assert reason_of(raw) == expected


def test_brackets_in_strings_do_not_nest() -> None:
    assert parse(raw_event(note="[{" * 1_000, properties={"[" * 200: '\\"[{' * 200})).event_id == "e-1"


# --- keys and strings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        '"quantity":2.5', '"quantit\\u0079":1', '"\\u0071uantity":1', '"event_id":"e-1"', '"event_id":"e-2"',
        '"unknown":1,"unknown":1', '"unknown":1,"\\u0075nknown":2', '"properties":{}', '"properties":{"dest":"JFK"}',
        '"note":{"a":1,"a":2}', '"note":[[{"a":{"b":1,"b":1}}]]', '"note":{"a":1,"\\u0061":1}', '"note":{"":1,"":1}',
        '"note":{"\\"":1,"\\u0022":2}', '"note":{"\\\\":1,"\\u005c":2}', '"note":{"é":1,"\\u00e9":2}',
        '"timestamp":"2024-03-05T10:17:42Z"', '"region":null,"region":null', '"schema_version":1,"schema_version":1',
    ],
)  # fmt: skip
def test_a_repeated_key_is_found_at_any_depth_and_however_it_is_written(more: str) -> None:
    assert reason_of(raw_event()[:-1] + b"," + more.encode() + b"}") == Reason.DUPLICATE_KEY


@pytest.mark.parametrize(
    "properties", ['{"a":1,"a":1}', '{"dest":"LAX","des\\u0074":"LAX"}', '{"a":{"b":1,"b":1}}', '{"a":[{"b":1,"b":1}]}']
)
def test_a_repeated_key_in_properties_is_found(properties: str) -> None:
    assert reason_of(with_literal("properties", properties)) == Reason.DUPLICATE_KEY


@pytest.mark.parametrize(
    "raw",
    [
        with_literal("event_id", '"a\\u0000"'), with_literal("tenant_id", '"\\u0000"'),
        with_literal("note", '"\\u0000"'), with_literal("region", '"a\\u0000b"'),
        with_literal("properties", '{"dest":"\\u0000"}'), with_literal("properties", '{"\\u0000":1}'),
        with_literal("note", '[{"a":["\\u0000"]}]'), with_literal("note", '"\\\\\\u0000"'),
        with_literal("quantity", '"1\\u0000"'), with_literal("note", '{"a\\u0000":1}'),
    ],
)  # fmt: skip
def test_an_escaped_nul_is_found_in_any_string(raw: bytes) -> None:
    assert reason_of(raw) == Reason.NUL_CHARACTER


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\uD83D", "\\ude00\\ud83d", "a\\udc00b", "\\ud800\\\\udc00"])
@pytest.mark.parametrize("where", ['"@"', '{"@":1}', '[{"a":"@"}]'])
@pytest.mark.parametrize("field", ["note", "properties", "quantity", "event_id"])
def test_half_a_surrogate_pair_is_found_in_any_string(field: str, where: str, half: str) -> None:
    value = where.replace("@", half)
    literal = f'{{"dest":{value}}}' if field == "properties" else value
    assert reason_of(with_literal(field, literal)) == Reason.INVALID_UNICODE


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse(with_literal("event_id", '"\\ud83d\\ude00"')).event_id == "\U0001f600"


@given(st.dictionaries(st.text(max_size=8), own.json_values, max_size=4))
@example({'a":{"b': '"c":[', "\\": '\\"'})
def test_the_shape_counts_keys_and_depth_as_a_parser_does(document: dict[str, Any]) -> None:
    def keys(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (len(value) if isinstance(value, dict) else 0) + sum(map(keys, inner))

    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    for ascii_only in (True, False):
        raw = json.dumps(document, ensure_ascii=ascii_only).encode(errors="surrogatepass")
        shape = shape_of(raw)
        assert (shape.keys, shape.depth, depth_of(raw)) == (keys(document), depth(document), depth(document))


# --- fields -----------------------------------------------------------------------------------------------------------

REQUIRED = ["event_id", "tenant_id", "customer_id", "event_type", "timestamp"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(Rejected, match=name) as caught:
        parse(raw_event(**{name: ...}))
    assert caught.value.reason == Reason.MISSING_FIELD


def test_all_missing_fields_are_named_at_once() -> None:
    with pytest.raises(Rejected, match="event_id, tenant_id, customer_id, event_type, timestamp are missing"):
        parse(b"{}")


@pytest.mark.parametrize("value", [None, True, 5, 1.5, [], {}, ["e-1"]])
@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_field_of_another_type_is_rejected(name: str, value: Any) -> None:
    null_time = name == "timestamp" and value is None
    assert reason_of(raw_event(**{name: value})) == (Reason.INVALID_TIMESTAMP if null_time else Reason.WRONG_TYPE)


@pytest.mark.parametrize("value", [True, 5, [], {}])
@pytest.mark.parametrize("name", ["resource_id", "user_id", "session_id", "region"])
def test_an_optional_text_of_another_type_is_rejected(name: str, value: Any) -> None:
    assert reason_of(raw_event(**{name: value})) == Reason.WRONG_TYPE


@pytest.mark.parametrize("value", [True, 5, "text", []])
def test_properties_that_are_no_object_are_rejected(value: Any) -> None:
    assert reason_of(raw_event(properties=value)) == Reason.WRONG_TYPE


@pytest.mark.parametrize("literal", ["1", "1.0", "1e0", "2", "2.0", "0.2e1", "null"])
def test_two_schema_versions_are_known(literal: str) -> None:
    assert parse(with_literal("schema_version", literal)).event_id == "e-1"


@pytest.mark.parametrize("literal", ["0", "3", "-1", "3.0", "18446744073709551617", "9" * 40])
def test_any_other_schema_version_is_unsupported(literal: str) -> None:
    assert reason_of(with_literal("schema_version", literal)) == Reason.UNSUPPORTED_SCHEMA_VERSION
    assert reason_of(with_literal("schema_version", literal)[:-1] + b',"source":7,"voids":"e"}') == (
        Reason.UNSUPPORTED_SCHEMA_VERSION
    )


@pytest.mark.parametrize("literal", ["true", '"1"', "1.5", "[]", "{}", "1e400"])
def test_a_schema_version_that_is_no_integer_is_rejected(literal: str) -> None:
    assert reason_of(with_literal("schema_version", literal)) == Reason.WRONG_TYPE


# --- source, what is taken back, number of properties -----------------------------------------------------------------


@pytest.mark.parametrize("version", [{}, {"schema_version": 1}, {"schema_version": 1.0}])
@pytest.mark.parametrize("source", ["gate-7", "", None, 7, {"a": [1]}, ["x"], "x" * 300, "\n", True])
def test_in_version_1_a_source_is_a_field_of_the_producers_own(version: dict[str, Any], source: Any) -> None:
    read = parse(raw_event(**version, source=source, note={"source": 1}))
    assert isinstance(read.source, type(parse(raw_event()).source))
    assert (read.event_id, read.customer_id, quantity_of(read)) == ("e-1", "alice", "2.5")
    assert read.properties == parse(raw_event()).properties


@pytest.mark.parametrize("version", [2, 2.0])
@pytest.mark.parametrize("source", ["gate-7", "x" * 256, "é" * 128, None])
def test_in_version_2_the_source_is_read(version: float, source: str | None) -> None:
    assert parse(raw_event(schema_version=version, source=source)).source == source


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (7, Reason.WRONG_TYPE), ({"a": 1}, Reason.WRONG_TYPE), (True, Reason.WRONG_TYPE), ([], Reason.WRONG_TYPE),
        ("", Reason.INVALID_ID), ("a\nb", Reason.INVALID_ID), ("x" * 257, Reason.ID_TOO_LONG),
    ],
)  # fmt: skip
def test_in_version_2_a_bad_source_is_rejected(source: Any, reason: Reason) -> None:
    with pytest.raises(Rejected, match="source") as caught:
        parse(raw_event(schema_version=2, source=source))
    assert caught.value.reason == reason
    assert caught.value.ids == {"tenant_id": "acme", "customer_id": "alice", "event_id": "e-1"}


@pytest.mark.parametrize("fields", [{"source": 7}, {"source": "x"}, {"source": {"source": 1}}])
def test_a_field_of_the_producers_own_hides_no_fault(fields: dict[str, Any]) -> None:
    raw = raw_event(**fields)
    assert reason_of(raw.replace(b'"quantity"', b'"source":1,"quantity"')) == Reason.DUPLICATE_KEY
    assert reason_of(raw_event(**fields, customer_id=5)) == Reason.WRONG_TYPE
    assert reason_of(raw_event(**fields, voids="")) == Reason.INVALID_ID
    assert reason_of(raw_event(**fields, timestamp="9999-12-31T23:59:59.9999999Z")) == Reason.INVALID_TIMESTAMP
    assert reason_of(raw_event(**fields, schema_version=True)) == Reason.WRONG_TYPE
    assert reason_of(raw[:-1]) == Reason.TRUNCATED_JSON
    assert reason_of(raw.replace(b"LAX", b"L\xe9X")) == Reason.INVALID_UTF8


@pytest.mark.parametrize("version", [{}, {"schema_version": 2}])
@pytest.mark.parametrize("voids", ["e-0", "e-1", "x" * 256, "é" * 128, None])
def test_what_is_taken_back_is_read(voids: str | None, version: dict[str, Any]) -> None:
    assert parse(raw_event(voids=voids, **version)).voids == voids


@pytest.mark.parametrize(
    ("voids", "reason"),
    [
        (7, Reason.WRONG_TYPE), ({"a": 1}, Reason.WRONG_TYPE), (False, Reason.WRONG_TYPE), (["e"], Reason.WRONG_TYPE),
        ("", Reason.INVALID_ID), ("a\x1fb", Reason.INVALID_ID), ("x" * 257, Reason.ID_TOO_LONG),
        ("é" * 129, Reason.ID_TOO_LONG),
    ],
)  # fmt: skip
def test_what_is_taken_back_must_be_an_id(voids: Any, reason: Reason) -> None:
    with pytest.raises(Rejected, match="voids") as caught:
        parse(raw_event(voids=voids))
    assert caught.value.reason == reason
    assert caught.value.ids == {"tenant_id": "acme", "customer_id": "alice", "event_id": "e-1"}


def test_the_limit_of_properties_is_exact() -> None:
    most = {f"p{number}": number for number in range(MAX_PROPERTIES)}
    assert len(parse(raw_event(properties=most)).properties or {}) == MAX_PROPERTIES == 256
    inner = {**most, "p0": {f"q{number}": {} for number in range(1_000)}}
    assert parse(raw_event(properties=inner, **{f"u{number}": 1 for number in range(300)})).event_id == "e-1"
    for fields in ({}, {"voids": "e"}, {"schema_version": 2}, {"source": 7}):
        assert reason_of(raw_event(properties={**most, "one": "more"}, **fields)) == Reason.TOO_MANY_PROPERTIES


# --- golden events ----------------------------------------------------------------------------------------------------

GOLDEN = [(kind, name) for kind in schemas.EVENT_FORMATS for name in schemas.golden_events(kind)]


@pytest.mark.parametrize(("kind", "name"), GOLDEN)
def test_an_event_of_every_version_is_read_as_ever(kind: str, name: str) -> None:
    golden = schemas.golden_events(kind)[name]
    raw = golden["raw"].encode()
    read = parse(raw, golden.get("default_tenant", ""), golden.get("arrival_ms"))
    assert {
        "event_id": read.event_id,
        "tenant_id": read.tenant_id,
        "customer_id": read.customer_id,
        "event_type": read.event_type,
        "source": read.source or None,
        "voids": read.voids or None,
        "time_ms": event_time_ms(read),
        "quantity": quantity_of(read),
    } == golden["decoded"]
    assert golden["why"].endswith(".")


def test_every_known_version_has_golden_events() -> None:
    assert {f"v{version}" for version in VERSIONS} | {"cloudevents-1.0"} == set(schemas.EVENT_FORMATS)
    assert {kind for kind, _ in GOLDEN} == set(schemas.EVENT_FORMATS)


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x" * 256, "é" * 128, "\U0001f600" * 64, " ", "a b", "\u200d", "/:%41\\", "\u00a0"])
def test_an_id_of_256_bytes_of_any_printable_is_valid(value: str) -> None:
    assert checked_id("event_id", value) == value


@pytest.mark.parametrize("value", ["x" * 257, "é" * 129, "é" * 128 + "x", "\U0001f600" * 64 + "x", "x" * 60_000])
def test_an_id_over_256_bytes_is_too_long(value: str) -> None:
    assert len(value.encode()) > MAX_ID_BYTES
    with pytest.raises(Rejected) as caught:
        checked_id("event_id", value)
    assert caught.value.reason == Reason.ID_TOO_LONG


@pytest.mark.parametrize(
    "value",
    ["", "\x1f", "a\x1fb", "\n", "tab\t", "\x7f", "\x01" + "x" * 300, "a\x80", "\x85", "\x9f", "\u2028", "a\u2029b",
     "\u202a", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c"],
)  # fmt: skip
def test_an_id_that_is_empty_or_has_control_characters_is_invalid(value: str) -> None:
    with pytest.raises(Rejected) as caught:
        checked_id("event_id", value)
    assert caught.value.reason == Reason.INVALID_ID


# --- event time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "same"),
    [
        ("2024-03-05T10:17:42.250Z", EVENT_MS), ("2024-03-05t10:17:42.25z", EVENT_MS),
        ("2024-03-05 10:17:42.25Z", EVENT_MS), ("2024-03-05T12:17:42.250+02:00", EVENT_MS),
        ("2024-03-05T10:17:42.250-00:00", EVENT_MS), ("2024-03-04T10:18:42.250-23:59", EVENT_MS),
        ("2024-03-05T10:17:42.2509999Z", EVENT_MS), ("2024-03-05T10:17:42.250999999999Z", EVENT_MS),
        ("2024-03-05T10:17:42.2499999Z", EVENT_MS - 1), ("2024-03-05T10:17:42.24999995+00:00", EVENT_MS - 1),
        ("2024-03-05T10:17:42\\u002e2499999Z", EVENT_MS - 1), ("2024-03-05T10:17:42.249999\\u0039Z", EVENT_MS - 1),
        ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.0009999Z", 0),
        ("2100-12-31T23:59:60Z", 4_133_980_799_999), ("1990-12-31T15:59:60-08:00", 662_687_999_999),
        ("1990-12-31T23:59:60.9999999Z", 662_687_999_999), ("1991-01-01t05:29:60+0530", 662_687_999_999),
        ("1990-12-31T23:59:6\\u0030Z", 662_687_999_999),
        ("2100-12-31T23:59:59.9999999Z", 4_133_980_799_999), ("2101-01-01T00:59:59.999+01:00", 4_133_980_799_999),
    ],
)  # fmt: skip
def test_event_time_is_an_instant_rounded_down_to_milliseconds(timestamp: str, same: int) -> None:
    assert time_of(timestamp) == same


@given(own.instants, st.text("0123456789", min_size=1, max_size=14), st.integers(-1_439, 1_439))
@example(EVENT_MS, "9999995", 0)
@example(EVENT_MS, "0009999995", -30)
def test_a_fraction_of_any_length_is_rounded_down(ms: int, fraction: str, offset_min: int) -> None:
    seconds = ms // 1_000
    local = own.datetime.fromtimestamp(seconds, own.UTC) + own.timedelta(minutes=offset_min)
    sign, minutes = "+-"[offset_min < 0], abs(offset_min)
    text = f"{local:%Y-%m-%dT%H:%M:%S}.{fraction}{sign}{minutes // 60:02}:{minutes % 60:02}"
    assert time_of(text) == seconds * 1_000 + int(fraction.ljust(3, "0")[:3])


@pytest.mark.parametrize("timestamp", ["2024-03-05T10:17:42", "2024-03-05 10:17:42", "2024-03-05T10:17:42.123456789"])
def test_a_timestamp_without_zone_is_named(timestamp: str) -> None:
    assert time_reason(timestamp) == Reason.TIMESTAMP_WITHOUT_ZONE


@pytest.mark.parametrize(
    "timestamp",
    [
        "", "now", "2024-03-05", "1709633862", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00", "2024-13-01T00:00:00Z",
        "2024-03-05T24:00:00Z", "2024-03-05T10:17:60Z", "2024-03-05T23:59:60+01:00", "2024-03-05T23:59:61Z",
        "9999-12-31T23:59:60Z", "2024-02-30T23:59:60Z", "2024-03-05T23:59:60+24:00",
        "2024-03-05T10:17Z", "2024-03-05T10:17:42.Z",
        "2024-03-05T10:17:42+24:00", "2024-03-05T10:17:42+00:60", "2024-03-05T10:17:42 Z", "2024-03-05T10:17:42Zx",
        "0000-01-01T00:00:00Z", "1969-12-31T23:59:59.9999999Z", "1970-01-01T00:00:00+00:01", "2101-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9999999Z",
        "\uff12024-03-05T10:17:42Z", "2024-03-05T10:17:42,5Z", "-2024-03-05T10:17:42Z",
    ],
)  # fmt: skip
def test_a_timestamp_that_is_no_instant_of_these_years_is_invalid(timestamp: str) -> None:
    assert time_reason(timestamp) == Reason.INVALID_TIMESTAMP


# --- quantity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("0", "0"), ("-0", "0"), ("-0.0", "0"), ("0e400", "0"), ('"0E+999999999"', "0"), ('"-0"', "0"),
        ("2.5", "2.5"), ('"2.5"', "2.5"), ("-2.5", "-2.5"), ("-0.5", "-0.5"), ('"+7"', "7"), ('"007.50"', "7.5"),
        ("1e3", "1000"), ("1E-9", "0.000000001"), ("0.000000001", "0.000000001"), ("12.3e1", "123"), ('"\\u0031"', "1"),
        ("1.000000001", "1.000000001"), ("1.0000000010", "1.000000001"), ("1.00000000000000000000", "1"),
        ("999999999999999999.999999999", "999999999999999999.999999999"), ("1e17", "100000000000000000"),
        ("-999999999999999999", "-999999999999999999"), ('"0.1"', "0.1"), ("123456789012345678", "123456789012345678"),
        ("1" + "0" * 17 + "." + "0" * 50, "1" + "0" * 17), ("0." + "0" * 60, "0"),
    ],
)  # fmt: skip
def test_a_quantity_is_exact_plain_text(literal: str, text: str) -> None:
    found = quantity(literal)
    assert Decimal(found) == Decimal(text)
    assert "e" not in found.lower()
    assert not found.startswith(("-0", "+")) or found.startswith("-0.")
    assert found.lstrip("-0.") or found.lstrip("0.") == ""


@given(st.decimals(-(10**18) + 1, 10**18 - 1, places=9, allow_nan=False, allow_infinity=False), st.integers(-9, 9))
def test_no_digit_of_a_quantity_is_lost(value: Decimal, shift: int) -> None:
    sign, digits, exponent = value.as_tuple()
    shifted = f"{'-' if sign else ''}{''.join(map(str, digits))}E{int(exponent)}"
    assert Decimal(quantity(f'"{value:f}"')) == value
    assert Decimal(quantity(f"{value:f}")) == value
    assert Decimal(quantity(shifted)) == value
    assert Decimal(quantity(f"{value:f}{'0' * abs(shift)}")) == value


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", '"NaN"', '"nan"', '"-inf"', '"Infinity"', '"sNaN12"']
)
def test_a_quantity_that_is_not_finite_is_named(literal: str) -> None:
    assert quantity_reason(literal) == Reason.NON_FINITE_QUANTITY


@pytest.mark.parametrize(
    "literal",
    [
        "1e400", "-1e400", "1" * 40, '"' + "9" * 40 + '"', '"1E+999999999"', "1E+999999999", "1e18", "-1e18",
        "1000000000000000000", "1000000000000000000.5", '"1E+9999999999999999999999"', "9" * 5_000,
        "999999999999999999.9999999995", '"-999999999999999999.99999999950000001"', "1e99999999999999999999",
    ],
)  # fmt: skip
def test_a_quantity_of_19_digits_before_the_point_is_out_of_range(literal: str) -> None:
    assert quantity_reason(literal) == Reason.QUANTITY_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("0.0000000001", "0"), ("-1e-10", "0"), ('"1E-999999999"', "0"), ("1e-99999999999999999999", "0"),
        ("-1e-99999999999999999999", "0"), ("0e99999999999999999999", "0"), ("-0e-99999999999999999999", "0"),
        ("0.30000000000000004", "0.3"), ('"0.30000000000000004"', "0.3"), ("1.0000000001", "1"),
        # Half goes to the even neighbour, more than half up, less than half down; either sign alike.
        ("0.0000000005", "0"), ("0.0000000015", "0.000000002"), ("0.0000000025", "0.000000002"),
        ("-0.0000000015", "-0.000000002"), ("-0.0000000025", "-0.000000002"), ("25e-10", "0.000000002"),
        ("0.00000000250000000000000000000000000000000000000001", "0.000000003"), ("0.0000000024999", "0.000000002"),
        ("999999999999999999.9999999994", "999999999999999999.999999999"), ("2.9999999999", "3"),
        ("0." + "3" * 5_000, "0.333333333"), ("0.000000000" + "0" * 60_000 + "1", "0"),
    ],
)  # fmt: skip
def test_a_quantity_of_more_than_nine_decimals_is_rounded_half_even(literal: str, text: str) -> None:
    assert quantity(literal) == text


@given(st.decimals(-(10**6), 10**6, places=14, allow_nan=False, allow_infinity=False), st.integers(-3, 3))
def test_rounding_is_one_rule_for_both_signs_and_every_spelling(value: Decimal, shift: int) -> None:
    expected = value.quantize(Decimal("1E-9"), ROUND_HALF_EVEN)
    sign, digits, exponent = value.as_tuple()
    moved = f"{'-' if sign else ''}{''.join(map(str, digits))}{'0' * abs(shift)}E{int(exponent) - abs(shift)}"
    assert {Decimal(quantity(text)) for text in (f"{value:f}", f'"{value:f}"', moved, f'"{moved}"')} == {expected}
    assert Decimal(quantity(f"{-value:f}")) == -expected


@pytest.mark.parametrize(
    ("raw", "decimals"),
    [(b"1", 0), (b"1e3", 0), (b"0.1", 1), (b'"0.10"', 1), (b"1e-10", 10), (b"0e-10", 0), (b"0.30000000000000004", 17)],
)
def test_the_decimals_of_an_amount_are_those_that_matter(raw: bytes, decimals: int) -> None:
    assert decimals_of(raw) == decimals


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 ", " 1", "1,5", "1_000", "0x10", "1e", ".5", "5.", "--1", "one", "\u0661", "1\\n", "½", "1/2", "null"],
)
def test_a_text_that_is_no_decimal_is_an_invalid_quantity(text: str) -> None:
    assert quantity_reason(f'"{text}"') == Reason.INVALID_QUANTITY


@pytest.mark.parametrize("literal", ["null", "true", "false", "[]", "{}", "[1]", '{"value":1}'])
def test_a_quantity_of_another_type_is_rejected(literal: str) -> None:
    assert quantity_reason(literal) == Reason.WRONG_TYPE


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'"NaN"', Reason.NON_FINITE_QUANTITY), (b"null", Reason.WRONG_TYPE), (b'"many"', Reason.INVALID_QUANTITY),
        (b"1e18", Reason.QUANTITY_OUT_OF_RANGE), (b"true", Reason.WRONG_TYPE),
    ],
)  # fmt: skip
def test_an_amount_elsewhere_follows_the_same_rules_under_its_own_name(raw: bytes, reason: Reason) -> None:
    assert amount_text(b'"15e-1"', "miles") == "1.5"
    with pytest.raises(Rejected, match="'miles ") as caught:
        amount_text(raw, "miles")
    assert caught.value.reason == reason


def test_a_remembered_rejection_stays_a_rejection() -> None:
    assert {quantity_reason("1e18") for _ in range(3)} == {Reason.QUANTITY_OUT_OF_RANGE}


# --- what goes into details -------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=300))
def test_a_piece_of_an_event_is_shown_short_and_printable(value: str) -> None:
    piece = shown(value)
    assert piece.isprintable()
    assert len(piece) <= SHOWN_CHARS * 10
    piece.encode()


def test_every_reason_has_a_code_and_a_meaning() -> None:
    for reason in Reason:
        assert reason == reason.value == str(reason)
        assert reason.meaning.endswith(".")


def test_an_event_cannot_be_changed() -> None:
    read = parse(raw_event())
    assert isinstance(read, Event)
    with pytest.raises(AttributeError):
        read.event_id = "other"  # type: ignore[misc]
