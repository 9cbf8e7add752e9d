"""CloudEvents are read as strictly as native events, and what is wrong with one is said in words of CloudEvents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import ARRIVAL_MS, EVENT_MS, EVENT_TIME, raw_event
from udfs.events.parse import CloudEvent, Event, event_time_ms, parse, quantity_of
from udfs.events.reasons import Reason, Rejected
from udfs.events.shape import MAX_DEPTH, MAX_PROPERTIES


def cloud(**attributes: Any) -> dict[str, Any]:
    """A good CloudEvent with some attributes set otherwise; `...` leaves one out."""
    document = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "https://example.com/gates",
        "type": "call",
        "subject": "alice",
        "time": EVENT_TIME,
        "tenantid": "acme",
        "data": {"quantity": 2.5, "dest": "LAX"},
        **attributes,
    }
    return {name: value for name, value in document.items() if value is not ...}


def raw_cloud(**attributes: Any) -> bytes:
    return json.dumps(cloud(**attributes), ensure_ascii=False).encode()


def with_literal(name: str, literal: str) -> bytes:
    return raw_cloud(**{name: "@@"}).replace(b'"@@"', literal.encode())


def rejected(raw: bytes, names: str = "", default_tenant: str = "", arrival_ms: int | None = ARRIVAL_MS) -> Reason:
    """Why the bytes are no event; the detail begins with the name of the attribute."""
    with pytest.raises(Rejected) as caught:
        parse(raw, default_tenant, arrival_ms)
    assert caught.value.detail.startswith(names)
    return caught.value.reason


def time_of(raw: bytes, arrival_ms: int | None = ARRIVAL_MS) -> int:
    return event_time_ms(parse(raw, "", arrival_ms))


# --- good ones --------------------------------------------------------------------------------------------------------


def test_attributes_become_the_fields_of_a_native_event() -> None:
    raw = raw_cloud(voids="e-0")
    read = parse(raw)
    assert (read.event_id, read.tenant_id, read.customer_id, read.event_type) == ("e-1", "acme", "alice", "call")
    assert (read.source, read.voids) == ("https://example.com/gates", "e-0")
    assert (event_time_ms(read), quantity_of(read)) == (EVENT_MS, "2.5")
    assert set(read.properties or {}) == {"quantity", "dest"}


def test_four_attributes_are_enough_when_there_is_a_default_tenant() -> None:
    raw = raw_cloud(time=..., tenantid=..., data=...)
    read = parse(raw, "globex", ARRIVAL_MS)
    assert (read.tenant_id, event_time_ms(read), quantity_of(read)) == ("globex", ARRIVAL_MS, "1")


def test_the_tenant_of_the_event_goes_before_the_default_one() -> None:
    assert parse(raw_cloud(), "globex").tenant_id == "acme"
    assert parse(raw_event(), "globex", 0).tenant_id == "acme"


@pytest.mark.parametrize("name", ["time", "tenantid", "data", "voids", "datacontenttype", "data_base64", "dataschema"])
def test_an_optional_attribute_that_is_null_is_absent(name: str) -> None:
    null, absent = (parse(raw_cloud(**{name: value}), "globex", ARRIVAL_MS) for value in (None, ...))
    assert null == absent


@pytest.mark.parametrize(
    "attributes",
    [
        {"sequence": 5, "traceparent": None, "other": {"id": 1, "data": {"quantity": "x"}}},
        {"data": {"id": "x", "specversion": "2", "event_id": 5, "time": None, "quantity": "2.5"}},
        {"timestamp": 17, "quantity": "NaN", "schema_version": 99, "region": 5, "customer_id": None, "properties": []},
        {"dataschema": 7, "data": {"quantity": 2.5, "text": "\\u0000", "emoji": "\U0001f600"}},
        {"datacontenttype": "application/json; charset=utf-8"},
        {"datacontenttype": "APPLICATION/JSON"},
        {"datacontenttype": "application/vnd.acme.usage+json"},
        {"": {"": {"": ""}}},
    ],
)
def test_other_attributes_and_names_in_the_data_are_no_fault(attributes: dict[str, Any]) -> None:
    for raw in (raw_cloud(**attributes), json.dumps(cloud(**attributes), indent=2).encode()):
        read = parse(raw)
        assert (read.event_id, quantity_of(read), event_time_ms(read)) == ("e-1", "2.5", EVENT_MS)


def test_an_escaped_name_is_the_name() -> None:
    raw = raw_cloud().replace(b'"specversion"', b'"spec\\u0076ersion"').replace(b'"subject"', b'"s\\u0075bject"')
    assert parse(raw).customer_id == "alice"


def test_with_an_event_id_it_is_a_native_event_whatever_else_it_has() -> None:
    read = parse(raw_event(specversion="0.1", id=5, data=[], datacontenttype="text/xml"))
    assert type(read) is Event
    assert type(parse(raw_cloud())) is CloudEvent
    for raw in (raw_cloud(event_id="e-2"), raw_cloud(event_id=None), raw_cloud(event_id={"a": 1})):
        assert rejected(raw, "tenant_id, customer_id, event_type, timestamp are missing") == Reason.MISSING_FIELD


@given(own.good_events, st.booleans(), st.randoms(use_true_random=False))
def test_a_native_event_and_its_cloudevent_say_the_same(
    document: dict[str, Any], ascii_only: bool, shuffle: Any
) -> None:
    data = {name: value for name, value in document.get("properties", {}).items() if name != "quantity"}
    if "quantity" in document:
        data["quantity"] = document["quantity"]
    twin = {
        "specversion": "1.0", "source": "s", "id": document["event_id"], "type": document["event_type"],
        "subject": document["customer_id"], "tenantid": document["tenant_id"], "time": document["timestamp"],
        "data": data,
    }  # fmt: skip
    names = list(twin)
    shuffle.shuffle(names)
    raw = json.dumps(document, ensure_ascii=ascii_only).encode()
    raw_twin = json.dumps({name: twin[name] for name in names}, ensure_ascii=ascii_only).encode()
    native, other = parse(raw), parse(raw_twin)
    assert (other.event_id, other.tenant_id, other.customer_id, other.event_type) == (
        native.event_id, native.tenant_id, native.customer_id, native.event_type
    )  # fmt: skip
    assert event_time_ms(other) == event_time_ms(native)
    assert quantity_of(other) == quantity_of(native)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "same"),
    [
        ("2024-03-05T12:17:42.250+02:00", EVENT_MS), ("2024-03-05t10:17:42.25z", EVENT_MS),
        ("2024-03-05T10:17:42.250999999999Z", EVENT_MS), ("2024-03-05T10:17:42.2499999Z", EVENT_MS - 1),
        ("2024-03-05T10:17:42.24999995+00:00", EVENT_MS - 1), ("2024-03-05T10:17:42\\u002e2499999Z", EVENT_MS - 1),
        ("2100-12-31T23:59:59.9999999Z", 4_133_980_799_999),
    ],
)  # fmt: skip
def test_time_is_rounded_down_to_milliseconds(time: str, same: int) -> None:
    misleading = {"timestamp": "2024-03-05T10:17:42.9999999Z", "data": {"time": "x.9999999"}}
    for attributes in ({}, misleading):
        raw = raw_cloud(time="@@", **attributes).replace(b"@@", time.encode())
        assert time_of(raw) == same


def test_a_time_beside_a_native_timestamp_does_not_change_it() -> None:
    raw = raw_event(timestamp="2024-03-05T10:17:42.2499999Z", time="2024-03-05T10:17:42Z")
    assert event_time_ms(parse(raw)) == EVENT_MS - 1


@pytest.mark.parametrize("arrival_ms", [0, ARRIVAL_MS, 4_133_980_799_999])
def test_without_time_it_is_the_arrival(arrival_ms: int) -> None:
    for time in (None, ...):
        assert time_of(raw_cloud(time=time, note="2024-03-05T10:17:42.9999999Z"), arrival_ms) == arrival_ms


@pytest.mark.parametrize("arrival_ms", [-1, 4_133_980_800_000, 2**63 - 1, -(2**63), 10**15])
def test_without_time_an_arrival_that_is_no_instant_of_these_years_is_invalid(arrival_ms: int) -> None:
    raw = raw_cloud(time=...)
    with pytest.raises(Rejected, match="'time ") as caught:
        event_time_ms(parse(raw, "", arrival_ms))
    assert caught.value.reason == Reason.INVALID_TIMESTAMP


def test_without_time_and_arrival_there_is_no_instant() -> None:
    assert rejected(raw_cloud(time=...), "time ", arrival_ms=None) == Reason.MISSING_FIELD


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("2024-03-05T10:17:42", Reason.TIMESTAMP_WITHOUT_ZONE), ("", Reason.INVALID_TIMESTAMP),
        ("2024-02-30T00:00:00Z", Reason.INVALID_TIMESTAMP), ("1709633862", Reason.INVALID_TIMESTAMP),
        (5, Reason.WRONG_TYPE), ([], Reason.WRONG_TYPE), (False, Reason.WRONG_TYPE),
    ],
)  # fmt: skip
def test_a_time_that_is_no_instant_is_named(time: Any, reason: Reason) -> None:
    assert rejected(raw_cloud(time=time), "time ") == reason


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59.9999999Z", "2101-01-01T00:00:00Z"])
def test_a_time_outside_these_years_is_named(time: str) -> None:
    with pytest.raises(Rejected, match="'time ") as caught:
        time_of(raw_cloud(time=time))
    assert caught.value.reason == Reason.INVALID_TIMESTAMP


def test_a_time_beyond_the_last_year_once_it_is_rounded_is_invalid() -> None:
    assert rejected(raw_cloud(time="9999-12-31T23:59:59.9999999Z")) == Reason.INVALID_TIMESTAMP


# --- attributes -------------------------------------------------------------------------------------------------------

REQUIRED = ["id", "source", "type", "subject"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_attribute_is_named(name: str) -> None:
    assert rejected(raw_cloud(**{name: ...}), f"{name} is missing") == Reason.MISSING_FIELD


def test_all_missing_attributes_are_named_at_once() -> None:
    assert rejected(b'{"specversion":"1.0"}', "id, source, type, subject are missing") == Reason.MISSING_FIELD


def test_a_subject_is_optional_to_cloudevents_so_null_is_missing() -> None:
    assert rejected(raw_cloud(subject=None), "subject is missing") == Reason.MISSING_FIELD


@pytest.mark.parametrize("tenantid", [None, ...])
def test_without_any_tenant_the_attribute_is_missing(tenantid: Any) -> None:
    assert rejected(raw_cloud(tenantid=tenantid), "tenantid is missing") == Reason.MISSING_FIELD


@pytest.mark.parametrize("value", [True, 5, 1.5, [], {}, ["e-1"]])
@pytest.mark.parametrize("name", [*REQUIRED, "specversion", "tenantid", "voids", "datacontenttype", "time"])
def test_an_attribute_of_another_type_is_named(name: str, value: Any) -> None:
    assert rejected(raw_cloud(**{name: value}), f"{name} is ") == Reason.WRONG_TYPE


@pytest.mark.parametrize("name", ["id", "source", "type", "specversion"])
def test_a_required_attribute_that_is_null_is_named(name: str) -> None:
    assert rejected(raw_cloud(**{name: None}), f"{name} is null") == Reason.WRONG_TYPE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", Reason.INVALID_ID), ("a\nb", Reason.INVALID_ID), ("\x7f", Reason.INVALID_ID),
        ("x" * 257, Reason.ID_TOO_LONG), ("é" * 129, Reason.ID_TOO_LONG),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", [*REQUIRED, "tenantid", "voids"])
def test_an_attribute_that_is_no_id_is_named(name: str, value: str, reason: Reason) -> None:
    assert rejected(raw_cloud(**{name: value}), f"{name} ") == reason


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.1", "1.1", "", "2.0", "x" * 300])
def test_another_version_is_unsupported_whatever_else_it_lacks(version: str) -> None:
    assert rejected(raw_cloud(specversion=version), "specversion ") == Reason.UNSUPPORTED_SCHEMA_VERSION
    assert rejected(raw_cloud(specversion=version, id=..., data=[])) == Reason.UNSUPPORTED_SCHEMA_VERSION


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/jsonx", "json", "", "application/+json"]
)
def test_data_of_another_type_is_named(kind: str) -> None:
    assert rejected(raw_cloud(datacontenttype=kind), "datacontenttype ") == Reason.WRONG_TYPE


@pytest.mark.parametrize("value", ["AA==", "", 5, {}, []])
def test_binary_data_is_named(value: Any) -> None:
    assert rejected(raw_cloud(data_base64=value, data=...), "data_base64 ") == Reason.WRONG_TYPE


@pytest.mark.parametrize("value", [True, 5, "text", [], '{"quantity":1}'])
def test_data_that_is_no_object_is_named(value: Any) -> None:
    assert rejected(raw_cloud(data=value), "data is ") == Reason.WRONG_TYPE


def test_the_limit_of_properties_is_exact() -> None:
    most = {f"p{number}": number for number in range(MAX_PROPERTIES)}
    assert len(parse(raw_cloud(data=most)).properties or {}) == MAX_PROPERTIES
    assert rejected(raw_cloud(data={**most, "one": "more"}), "data has 257") == Reason.TOO_MANY_PROPERTIES


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ('"many"', Reason.INVALID_QUANTITY), ("null", Reason.WRONG_TYPE), ("true", Reason.WRONG_TYPE),
        ('"NaN"', Reason.NON_FINITE_QUANTITY), ("NaN", Reason.NON_FINITE_QUANTITY),
        ("1e18", Reason.QUANTITY_OUT_OF_RANGE),
    ],
)  # fmt: skip
def test_a_bad_quantity_in_the_data_is_named(literal: str, reason: Reason) -> None:
    with pytest.raises(Rejected, match=r"'data\.quantity ") as caught:
        quantity_of(parse(with_literal("data", f'{{"quantity":{literal}}}')))
    assert caught.value.reason == reason


# --- bytes, keys, strings ---------------------------------------------------------------------------------------------


def test_every_beginning_of_a_cloudevent_is_truncated() -> None:
    raw = raw_cloud(note='é\\"\U0001f600')
    assert {rejected(raw[:length]) for length in range(1, len(raw))} == {Reason.TRUNCATED_JSON}


@pytest.mark.parametrize(
    "more",
    [
        '"id":"e-1"', '"id":"e-2"', '"specversion":"1.0"', '"data":{}', '"sequence":1,"sequence":1', '"t\\u0079pe":"x"',
        '"other":{"a":1,"a":1}', '"other":[{"a":{"b":1,"b":2}}]', '"time":null', '"voids":"a","voids":"a"',
    ],
)  # fmt: skip
def test_a_repeated_key_is_found(more: str) -> None:
    assert rejected(raw_cloud()[:-1] + b"," + more.encode() + b"}") == Reason.DUPLICATE_KEY


@pytest.mark.parametrize("data", ['{"a":1,"a":1}', '{"quantity":1,"quantit\\u0079":1}', '{"a":[{"b":1,"b":1}]}'])
def test_a_repeated_key_in_the_data_is_found(data: str) -> None:
    assert rejected(with_literal("data", data)) == Reason.DUPLICATE_KEY


@pytest.mark.parametrize("name", ["id", "subject", "note", "source", "tenantid", "voids"])
def test_an_escaped_nul_and_half_a_surrogate_pair_are_found(name: str) -> None:
    assert rejected(with_literal(name, '"a\\u0000"')) == Reason.NUL_CHARACTER
    assert rejected(with_literal(name, '"\\ud800"')) == Reason.INVALID_UNICODE
    assert rejected(with_literal("data", '{"dest":"\\u0000"}')) == Reason.NUL_CHARACTER
    assert rejected(with_literal("data", '{"dest":"\\udc00"}')) == Reason.INVALID_UNICODE


def test_bytes_that_are_not_utf8_are_named_wherever_they_are() -> None:
    for raw in (raw_cloud(note="@@"), raw_cloud(subject="@@"), raw_cloud(data={"dest": "@@"})):
        assert rejected(raw.replace(b"@@", b"\xe9")) == Reason.INVALID_UTF8


@pytest.mark.parametrize("name", ["note", "data"])
def test_the_nesting_limit_is_exact(name: str) -> None:
    def nested(depth: int) -> bytes:
        return with_literal(name, '{"x":' * (depth - 1) + "1" + "}" * (depth - 1))

    assert parse(nested(MAX_DEPTH)).event_id == "e-1"
    assert rejected(nested(MAX_DEPTH + 1)) == Reason.NESTING_TOO_DEEP
    assert rejected(nested(6_000)) == Reason.NESTING_TOO_DEEP


# --- the dead letter --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [{"type": 5}, {"specversion": "0.3"}, {"data": []}, {"time": "x"}, {"voids": ""}, {"datacontenttype": "x"}],
)
def test_a_rejected_cloudevent_is_known_by_its_ids(attributes: dict[str, Any]) -> None:
    for tenantid in ("acme", ...):
        with pytest.raises(Rejected) as caught:
            parse(raw_cloud(**attributes, tenantid=tenantid), "globex", ARRIVAL_MS)
        expected = "acme" if tenantid == "acme" else "globex"
        assert caught.value.ids == {"tenant_id": expected, "customer_id": "alice", "event_id": "e-1"}


@given(
    st.dictionaries(
        st.sampled_from(["specversion", "id", "source", "type", "subject", "time", "data", "tenantid", "voids",
                         "datacontenttype", "data_base64", "event_id", "other"]),
        own.json_values | st.just(...), max_size=3,
    ),
    st.booleans(),
)  # fmt: skip
def test_whatever_the_attributes_are_the_event_is_read_or_has_a_reason(
    attributes: dict[str, Any], ascii_only: bool
) -> None:
    raw = json.dumps(cloud(**attributes), ensure_ascii=ascii_only).encode(errors="surrogatepass")
    document = json.loads(raw)
    read = read_or_reason(raw)
    if isinstance(read, Event):
        assert (read.event_id, read.source) == (document["id"], document["source"])
        assert read.tenant_id == document.get("tenantid") or read.tenant_id == "globex"
    else:
        assert read != Reason.INTERNAL_ERROR


def read_or_reason(raw: bytes) -> Event | Reason:
    try:
        return parse(raw, "globex", ARRIVAL_MS)
    except Rejected as rejected:
        return rejected.reason
