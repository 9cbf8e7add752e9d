"""CloudEvents 1.0 in structured JSON: how their attributes become the fields of a native event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from udfs.events.fields import CloudEvent, checked_id
from udfs.events.json_fields import expect, expect_instant, expect_properties, expect_text, require
from udfs.events.reasons import Reason, Rejected, shown
from udfs.events.shape import MAX_DEPTH, MAX_PROPERTIES, shape_of
from udfs.values import instant

SPEC_VERSION = "1.0"
# `subject` is optional to CloudEvents; here it names who is billed.
_REQUIRED = ("id", "source", "type", "subject")
# What CloudEvents call JSON, in the words of their JSON format: a subtype `json` or one that ends in `+json`.
_JSON = re.compile(r"[^\s;/]+/(?:[^\s;/]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class Sent(msgspec.Struct, gc=False, frozen=True):
    """A CloudEvent as sent: what is null counts as absent."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: Annotated[datetime, msgspec.Meta(tz=True)] | UnsetType | None = UNSET
    data: dict[str, Raw] | UnsetType | None = UNSET
    datacontenttype: str | UnsetType | None = UNSET
    data_base64: UnsetType | None = UNSET
    tenantid: str | UnsetType | None = UNSET
    voids: str | UnsetType | None = UNSET
    # What makes it a native event instead.
    event_id: Raw | UnsetType = UNSET


_decode = msgspec.json.Decoder(Sent).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def is_cloudevent(document: Mapping[str, Any]) -> bool:
    """Whether an object means to be a CloudEvent."""
    return "specversion" in document and "event_id" not in document


def decode(raw: bytes) -> Sent | None:
    """The CloudEvent in these bytes; None when there is none, or when it has a fault, which `check` names."""
    # An escape may hide the name.
    if b"specversion" not in raw and b"\\u" not in raw:
        return None
    try:
        sent = _decode(raw)
        raw.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return sent if sent.event_id is UNSET else None


def fault(raw: bytes) -> str:
    """Why `decode` cannot read what means to be a CloudEvent; empty for anything else."""
    if not is_cloudevent(_decode_fields(raw)):
        return ""
    try:
        _decode(raw)
    except msgspec.MsgspecError as error:
        return str(error)
    return ""


def is_doubtful(sent: Sent, raw: bytes) -> bool:
    """Whether only a look at every key and string can tell that nothing is wrong."""
    shape = shape_of(raw)
    properties = len(sent.data or ())
    return (
        shape.keys != len(_decode_fields(raw)) + properties
        or shape.suspect
        or shape.depth > MAX_DEPTH
        or properties > MAX_PROPERTIES
        or (isinstance(sent.datacontenttype, str) and sent.datacontenttype != "application/json")
    )


def to_event(sent: Sent, default_tenant: str, arrival_ms: int | None) -> CloudEvent:
    """The event that it stands for; `sent` was found to be without fault.

    Raises
    ------
    Rejected
        An id is no id, there is no tenant, or no time at all.
    """
    data = sent.data or {}
    try:
        return CloudEvent(
            event_id=checked_id("id", sent.id),
            tenant_id=_tenant(sent.tenantid, default_tenant),
            customer_id=checked_id("subject", sent.subject),
            event_type=checked_id("type", sent.type),
            timestamp=sent.time or _arrival(arrival_ms),
            quantity=data.get("quantity", UNSET),
            properties=data,
            source=checked_id("source", sent.source),
            voids=checked_id("voids", sent.voids) if isinstance(sent.voids, str) else UNSET,
        )
    except Rejected as rejected:
        ids = ids_of(msgspec.structs.asdict(sent), default_tenant)
        raise Rejected(rejected.reason, rejected.detail, ids) from None


def _tenant(tenantid: str | UnsetType | None, default_tenant: str) -> str:
    if isinstance(tenantid, str):
        return checked_id("tenantid", tenantid)
    if not default_tenant:
        raise Rejected(Reason.MISSING_FIELD, "tenantid is missing, and the settings have no default tenant.")
    return default_tenant


def _arrival(arrival_ms: int | None) -> datetime:
    if arrival_ms is None:
        raise Rejected(Reason.MISSING_FIELD, "time is missing, and so is an arrival to take instead.")
    try:
        return instant(arrival_ms)
    except OverflowError:
        detail = f"time is missing, and the arrival at {arrival_ms} ms is outside 1970 to 2100."
        raise Rejected(Reason.INVALID_TIMESTAMP, detail) from None


def ids_of(document: Mapping[str, Any], default_tenant: str) -> dict[str, str]:
    """Ids for the dead-letter record, as far as they are strings."""
    tenant = document.get("tenantid")
    read = {
        "tenant_id": tenant if isinstance(tenant, str) else default_tenant or None,
        "customer_id": document.get("subject"),
        "event_id": document.get("id"),
    }
    return {name: value for name, value in read.items() if isinstance(value, str)}


def check(document: Mapping[str, Any]) -> None:
    """Raise `Rejected` with the first fault among the attributes of a CloudEvent read by `udfs.events.diagnosis`."""
    _check_version(document["specversion"])
    require({name: value for name, value in document.items() if name != "subject" or value is not None}, _REQUIRED)
    for name in _REQUIRED:
        expect(name, document[name], "a string", isinstance(document[name], str))
    if document.get("time") is not None:
        expect_instant("time", document["time"])
    expect_text(document, ("tenantid", "voids", "datacontenttype"))
    _check_data(document)


def _check_version(value: Any) -> None:
    expect("specversion", value, "a string", isinstance(value, str))
    if value != SPEC_VERSION:
        raise Rejected(
            Reason.UNSUPPORTED_SCHEMA_VERSION, f'specversion is "{shown(value)}"; "{SPEC_VERSION}" is known.'
        )


def _check_data(document: Mapping[str, Any]) -> None:
    content, binary = document.get("datacontenttype"), document.get("data_base64")
    is_json = content is None or _JSON.fullmatch(content) is not None
    expect("datacontenttype", content, "application/json or another type of JSON", is_json)
    expect("data_base64", binary, "absent: data is a JSON object", binary is None)
    expect_properties("data", document.get("data"))
