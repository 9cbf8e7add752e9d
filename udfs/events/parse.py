"""Bytes of one Kafka value to an event: strict, and fast for good native ones; `diagnosis` explains bad ones."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from udfs.events import cloudevents
from udfs.events.diagnosis import inspect
from udfs.events.fields import (
    BYTE_ORDER_MARK,
    MAX_DECIMALS,
    MAX_ID_BYTES,
    MAX_INTEGER_DIGITS,
    CloudEvent,
    Event,
    amount_text,
    checked_id,
    cut_to_millisecond,
    event_time_ms,
    nanos_of,
    quantity_of,
)
from udfs.events.json_fields import without_leap_second
from udfs.events.reasons import Reason, Rejected, shown
from udfs.events.shape import MAX_DEPTH, MAX_PROPERTIES, shape_of
from udfs.events.upcast import DEFAULT_VERSION, LATEST_VERSION, VERSIONS, upcast

__all__ = [
    "BYTE_ORDER_MARK",
    "MAX_DECIMALS",
    "MAX_EVENT_BYTES",
    "MAX_ID_BYTES",
    "MAX_INTEGER_DIGITS",
    "CloudEvent",
    "Event",
    "amount_text",
    "checked_id",
    "event_time_ms",
    "nanos_of",
    "parse",
    "quantity_of",
]

# Raw bytes of one event; a producer's batch limit is far above, and a dead-letter record carries the bytes in base64.
MAX_EVENT_BYTES = 65_536

_decode = msgspec.json.Decoder(Event).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode
_REQUIRED_COUNT = 5
_others_of = attrgetter("resource_id", "user_id", "session_id", "region", "source", "voids", "sdk")


def parse(raw: bytes | None, default_tenant: str = "", arrival_ms: int | None = None) -> Event:
    """An event from the bytes of one Kafka value, native or CloudEvent, brought to the latest version.

    Fields are present and of their type, every key is there once, strings are storable, `source` and `voids` are ids.
    A byte order mark in front of it is passed over. The other ids, time range, quantity and properties are checked
    where they are used (`checked_id`, `event_time_ms`, `quantity_of`, `udfs.meters.meter`).

    Parameters
    ----------
    raw:
        The value; None for a null.
    default_tenant:
        Tenant of CloudEvents that name none; empty when there is none.
    arrival_ms:
        Timestamp of the Kafka record in epoch ms: the time of CloudEvents that have none.

    Raises
    ------
    Rejected
        The bytes are no such event.
    """
    if not raw:
        raise Rejected(Reason.EMPTY_VALUE, "the value is null." if raw is None else "the value has 0 bytes.")
    if len(raw) > MAX_EVENT_BYTES:
        raise Rejected(Reason.EVENT_TOO_LARGE, f"the value has {len(raw)} bytes; the limit is {MAX_EVENT_BYTES}.")
    try:
        event = _decode(raw)
        # msgspec skips what it does not decode: the bytes of unknown fields may still not be UTF-8 ...
        if not raw.isascii():
            raw.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _parse_other(raw, str(error), default_tenant, arrival_ms)
    # ... and it lets the last of two equal keys win: as many keys must be written as were decoded.
    keys, depth, suspect = shape_of(raw)
    decoded = _REQUIRED_COUNT + (event.quantity is not UNSET)
    if (version := event.schema_version) is not UNSET:
        decoded += 1
    if (properties := event.properties) is not UNSET:
        decoded += 1 + len(properties or ())
    others = keys - decoded
    if suspect or depth > MAX_DEPTH or (others and others != _others(event) and not _are_different(keys, event, raw)):
        inspect(raw)
    if decoded > MAX_PROPERTIES or (version is not UNSET and version is not None and version not in VERSIONS):
        inspect(raw)
    if others and (event.source is not UNSET or event.voids is not UNSET):
        event = _settled(event, raw)
    return cut_to_millisecond(event, raw)


def _others(event: Event) -> int:
    """Fields of the event that `parse` does not count one by one."""
    fields = _others_of(event)
    return len(fields) - fields.count(UNSET)


def _are_different(keys: int, event: Event, raw: bytes) -> bool:
    """Whether an event of so many keys has none twice, be there fields that nobody knows and objects in objects."""
    # Those of the event and of its properties are all there are, when no value holds an object of its own.
    return keys == len(_decode_fields(raw)) + len(event.properties or ()) or keys == _all_keys(raw)


def _all_keys(raw: bytes) -> int:
    """Different keys in all objects together; -1 for what only the slow path can read, such as 1e999."""
    try:
        return _count_keys(msgspec.json.decode(raw))
    except msgspec.MsgspecError:
        return -1


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _settled(event: Event, raw: bytes) -> Event:
    """An event with fields that few have: brought to the latest version, and those that are ids checked."""
    # The one field that any step to a later version changes.
    if event.source is not UNSET and event.schema_version != LATEST_VERSION:
        event = _upcast(raw)
    try:
        for name, value in (("source", event.source), ("voids", event.voids)):
            if isinstance(value, str):
                checked_id(name, value)
    except Rejected as rejected:
        ids = {"tenant_id": event.tenant_id, "customer_id": event.customer_id, "event_id": event.event_id}
        raise Rejected(rejected.reason, rejected.detail, ids) from None
    return event


def _upcast(raw: bytes) -> Event:
    """The event of an older version; its bytes were found to be without fault."""
    fields = _decode_fields(raw)
    version = int(msgspec.json.decode(fields.get("schema_version", b"null"), type=float | None) or DEFAULT_VERSION)
    return _decode(_encode(upcast(fields, version)))


def _parse_other(raw: bytes, message: str, default_tenant: str, arrival_ms: int | None) -> Event:
    """A CloudEvent, or an event that only an older version allows; anything else is rejected."""
    if raw.startswith(BYTE_ORDER_MARK) and not raw.startswith(2 * BYTE_ORDER_MARK):
        return parse(raw.removeprefix(BYTE_ORDER_MARK), default_tenant, arrival_ms)
    sent = cloudevents.decode(raw)
    if sent is None or cloudevents.is_doubtful(sent, raw):
        inspect(raw, default_tenant)
    if sent is not None:
        return cut_to_millisecond(cloudevents.to_event(sent, default_tenant, arrival_ms), raw)
    if (other := _without_leap_second(raw)) is not None:
        return parse(other, default_tenant, arrival_ms)
    try:
        return cut_to_millisecond(_settled(_upcast(raw), raw), raw)
    except msgspec.MsgspecError:
        # RFC 3339 in form, but beyond the end of the year 9999 once it is rounded to microseconds.
        detail = shown(cloudevents.fault(raw) or message)
        raise Rejected(Reason.INVALID_TIMESTAMP if "$.time" in detail else Reason.MALFORMED_JSON, detail) from None


def _without_leap_second(raw: bytes) -> bytes | None:
    """The event with its time in the last millisecond of the minute; None when it is in no leap second.

    The bytes were found to be without fault.
    """
    fields = _decode_fields(raw)
    name = CloudEvent.TIME if cloudevents.is_cloudevent(fields) else Event.TIME
    written = msgspec.json.decode(fields.get(name, b"null"), type=str | None)
    other = None if written is None else without_leap_second(written)
    return None if other is None else _encode(fields | {name: other})
