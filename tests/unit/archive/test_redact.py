"""Erasing an event: it is counted as before, and nothing is left that metering does not read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.streams import CATALOG, generate
from tidemark.archive.redact import Subject, _metered, paths_of, redacted
from udfs.events.envelope import Envelope, unwrap, wrap
from udfs.events.parse import parse
from udfs.events.reasons import Reason, Rejected
from udfs.meters.filters import filter_text
from udfs.meters.meter import Meter

NATIVE = {
    "event_id": "e-1", "tenant_id": "acme", "customer_id": "alice", "event_type": "call",
    "timestamp": "2024-03-05T10:17:42.250Z",
}  # fmt: skip
CLOUD = {
    "specversion": "1.0", "id": "e-1", "source": "/s", "type": "call", "subject": "alice", "tenantid": "acme",
    "time": "2024-03-05T10:17:42Z",
}  # fmt: skip
ARRIVAL_MS = 1_709_633_862_250
PATHS = ("host.name", "http", "http.method", "region", "size", "user.id")


def alice(*paths: str, default_tenant: str = "") -> Subject:
    return Subject("acme", "alice", paths, default_tenant)


def erased(document: dict[str, Any] | bytes, *paths: str) -> Any:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    made = alice(*paths).redacted(raw, ARRIVAL_MS)
    return None if made is None else json.loads(made)


def test_what_metering_does_not_read_goes() -> None:
    own = {"user_id": "joe", "session_id": "s-1", "resource_id": "r", "region": "eu"}
    sent = {**NATIVE, **own, "quantity": "1.50", "schema_version": 2, "source": "web", "note": "call joe",
            "properties": {"mail": "joe@example.org", "size": 3}}  # fmt: skip
    assert erased(sent) == {**NATIVE, "quantity": "1.50", "schema_version": 2, "source": "web"}


def test_properties_that_meters_name_stay_as_they_were_written() -> None:
    raw = json.dumps(NATIVE).encode()[:-1] + b', "quantity": 1.50, "properties": {"size": 3.10, "mail": "x"}}'
    made = alice("size").redacted(raw, ARRIVAL_MS) or b""
    assert b'"size":3.10' in made
    assert b'"quantity":1.50' in made
    assert b"mail" not in made


def test_of_objects_only_the_members_stay_that_are_read() -> None:
    properties = {"user": {"id": 5, "mail": "x", "more": {"a": 1}}, "http": {"method": "GET", "agent": "y"}, "z": {}}
    kept = erased({**NATIVE, "properties": properties}, "user.id", "http", "http.method", "user.more")
    assert kept["properties"] == {"user": {"id": 5, "more": {}}, "http": {"method": "GET"}}


def test_a_property_with_dots_in_its_name_comes_before_nested_ones() -> None:
    properties = {"user.id": "a", "user": {"id": "b"}}
    assert erased({**NATIVE, "properties": properties}, "user.id")["properties"] == {"user.id": "a"}


def test_a_field_of_the_event_stays_where_a_meter_reads_it() -> None:
    assert erased({**NATIVE, "region": "eu", "user_id": "joe"}, "region") == {**NATIVE, "region": "eu"}
    hidden = erased({**NATIVE, "region": "eu", "properties": {"region": None}}, "properties.region")
    assert hidden == {**NATIVE, "properties": {"region": None}}


def test_until_version_two_source_is_the_producers_own_and_goes() -> None:
    assert erased({**NATIVE, "source": {"owner": "joe"}}) == NATIVE
    assert erased({**NATIVE, "source": "joe", "schema_version": 1}) == {**NATIVE, "schema_version": 1}


def test_a_cloudevent_keeps_its_form_and_quantity() -> None:
    sent = {**CLOUD, "data": {"quantity": 2, "size": 1, "mail": "x"}, "traceparent": "t", "datacontenttype": None}
    expected = {**CLOUD, "data": {"quantity": 2, "size": 1}, "datacontenttype": None}
    assert erased(sent, "size") == expected


def test_a_cloudevent_without_a_tenant_is_of_the_default_one() -> None:
    sent = json.dumps({name: value for name, value in CLOUD.items() if name != "tenantid"} | {"data": {"x": 1}})
    assert alice(default_tenant="acme").redacted(sent.encode(), ARRIVAL_MS) is not None
    assert alice(default_tenant="other").redacted(sent.encode(), ARRIVAL_MS) is None


@pytest.mark.parametrize("other", [{"customer_id": "bob"}, {"tenant_id": "globex"}])
def test_events_of_others_are_left_alone(other: dict[str, str]) -> None:
    assert erased({**NATIVE, **other, "note": "alice"}) is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (json.dumps({**NATIVE, "user_id": 5}).encode(), "wrong_type"),
        (json.dumps(NATIVE).encode()[:-1] + b', "a": "joe", "a": "joe"}', "duplicate_key"),
        (json.dumps({**NATIVE, "properties": {str(i): "joe" for i in range(257)}}).encode(), "too_many_properties"),
        (json.dumps({**NATIVE, "note": "joe" * 30_000}).encode(), "event_too_large"),
        (json.dumps({**CLOUD, "specversion": "2.0", "data": {"who": "joe"}}).encode(), "unsupported_schema_version"),
    ],
)
def test_what_is_no_event_and_names_the_customer_becomes_a_stub_that_is_no_event(raw: bytes, reason: str) -> None:
    made = alice().redacted(raw, ARRIVAL_MS) or b""
    assert json.loads(made) == {"tenant_id": "acme", "customer_id": "alice", "erased": reason}
    with pytest.raises(Rejected) as caught:
        parse(made, "acme", ARRIVAL_MS)
    assert caught.value.reason is Reason.MISSING_FIELD
    # Again, nothing changes.
    assert alice().redacted(made, ARRIVAL_MS) == made


@pytest.mark.parametrize("raw", [None, b"", b"{", b"[]", b"\xff", b'{"customer_id": "alice"', b'{"customer_id": 5}'])
def test_bytes_that_name_nobody_are_left_alone(raw: bytes | None) -> None:
    assert alice().redacted(raw, ARRIVAL_MS) is None


def test_keys_stay_only_when_they_are_made_of_the_ids() -> None:
    assert alice().key(b"acme/alice") == b"acme/alice"
    assert alice().key(b"alice") == b"alice"
    assert alice().key(b"joe@example.org") is None
    assert alice().key(None) is None


def test_paths_are_those_of_every_version_of_the_meters_a_tenant_has() -> None:
    condition = filter_text({"any": [{"property": "status", "lt": 500}, {"all": [{"property": "a.b", "eq": "x"}]}]})
    meters = [
        Meter("calls", ("call",), "count", ("region",), valid_to_ms=5),
        Meter("calls", ("call",), "sum", value="size", valid_from_ms=5, filter=condition),
        Meter("mine", ("x",), "sum", ("own",), tenant_id="acme"),
        Meter("theirs", ("x",), "sum", ("their",), tenant_id="globex"),
    ]
    assert paths_of(meters, "acme") == ("a.b", "own", "region", "size", "status")


SCALARS = st.none() | st.booleans() | st.integers(-5, 10**20) | st.text(max_size=4)
NAMES = st.sampled_from(["host", "host.name", "http", "method", "region", "size", "user", "id", "name", "user.id", "x"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3))


@given(
    properties=st.dictionaries(NAMES, VALUES, max_size=5),
    quantity=SCALARS | st.dictionaries(NAMES, SCALARS, max_size=1),
    own=st.dictionaries(st.sampled_from(["region", "user_id"]), st.none() | st.just("joe")),
    cloud=st.booleans(),
)
def test_metering_reads_the_same_and_a_second_time_changes_nothing(
    properties: dict[str, Any], quantity: Any, own: dict[str, Any], cloud: bool
) -> None:
    document = (
        {**CLOUD, "data": properties | {"quantity": quantity}}
        if cloud
        else {**NATIVE, **own, "quantity": quantity, "properties": properties}
    )
    raw = json.dumps(document).encode()
    try:
        before = parse(raw, "", ARRIVAL_MS)
    except Rejected:
        return
    made = redacted(before, raw, PATHS)
    after = parse(made, "", ARRIVAL_MS)
    assert _metered(after, made, PATHS) == _metered(before, raw, PATHS)
    assert redacted(after, made, PATHS) == made


def test_every_event_of_the_seeded_stream_can_be_erased() -> None:
    paths = ("build", "host.name", "http.method", "http.status", "region", "user.id")
    tenants = CATALOG["tenants"].items()
    customers = {(name, customer) for name, tenant in tenants for customer in (tenant or {}).get("customers", {})}
    changed = 0
    for record in generate(3_000):
        for tenant, customer in customers:
            # Raises when an event would be counted otherwise.
            made = Subject(tenant, customer, paths).redacted(record.value, record.timestamp_ms)
            changed += made is not None and made != record.value
    assert changed > 1_000


def test_an_event_that_was_redriven_for_one_meter_is_erased_inside_its_envelope_before_the_repair_too() -> None:
    raw = json.dumps({**NATIVE, "properties": {"size": 3, "mail": "x"}}).encode()
    original = json.dumps({**NATIVE, "properties": {"mail": "x"}}).encode()
    made = unwrap(alice("size").redacted(wrap(Envelope("miles", "r", raw, original)), ARRIVAL_MS))
    assert made is not None
    assert (made.meter, made.run, json.loads(made.event)) == ("miles", "r", {**NATIVE, "properties": {"size": 3}})
    assert json.loads(made.original or b"") == NATIVE
    assert not alice().is_unreadable(wrap(Envelope("miles", "r", raw)), ARRIVAL_MS)


def test_the_envelope_of_another_customer_stays() -> None:
    raw = json.dumps({**NATIVE, "customer_id": "bob", "note": "x"}).encode()
    assert alice().redacted(wrap(Envelope("miles", "", raw)), ARRIVAL_MS) is None
    # One that a repair has moved to another customer named alice before.
    was = json.dumps({**NATIVE, "note": "x"}).encode()
    made = unwrap(alice().redacted(wrap(Envelope("miles", "", raw, was)), ARRIVAL_MS))
    assert made is not None
    assert (made.event, json.loads(made.original or b"")) == (raw, NATIVE)
