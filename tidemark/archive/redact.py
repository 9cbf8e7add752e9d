"""Removes from an event everything that metering does not read; it is counted exactly as before. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from udfs.decode.decoder import key_of
from udfs.events.envelope import Envelope, unwrap, wrap
from udfs.events.parse import BYTE_ORDER_MARK, CloudEvent, Event, event_time_ms, nanos_of, parse, quantity_of
from udfs.events.reasons import Rejected
from udfs.events.upcast import DEFAULT_VERSION, LATEST_VERSION
from udfs.meters.meter import Meter
from udfs.meters.paths import Path, path_of, text_of

# Fields that decide the identity of the event and what it counts.
_NATIVE = (
    "event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "voids", "schema_version",
)  # fmt: skip
# Fields that count nothing, unless a meter reads them.
_OPTIONAL = ("resource_id", "user_id", "session_id", "region")
_CLOUD = ("specversion", "id", "source", "type", "subject", "time", "tenantid", "voids", "datacontenttype")
_QUANTITY = "quantity"

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class _Named(msgspec.Struct):
    """Ids in a record that is not a valid event: keys that occur twice, fields of wrong types, exceeded limits."""

    tenant_id: Any = None
    customer_id: Any = None
    tenantid: Any = None
    subject: Any = None


class RedactionError(ValueError):
    """The event would be counted differently; nothing may be written."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The customer of the events, and what metering reads of them.

    Parameters
    ----------
    tenant_id, customer_id:
        The customer.
    paths:
        Paths in any version of the tenant's meters, see `paths_of`.
    default_tenant:
        Tenant of CloudEvents without a tenant.
    """

    tenant_id: str
    customer_id: str
    paths: tuple[str, ...]
    default_tenant: str = ""

    def redacted(self, raw: bytes | None, arrival_ms: int) -> bytes | None:
        """The value without what metering does not read; None if it does not belong to the customer.

        A record that is not a valid event but names the customer becomes a stub with its fault: it was not counted,
        and never will be.

        Raises
        ------
        RedactionError
            A check found that the event would be counted differently.
        """
        envelope = unwrap(raw)
        if envelope is not None:
            return self._redacted_inside(envelope, arrival_ms)
        try:
            event = parse(raw, self.default_tenant, arrival_ms)
        except Rejected as rejected:
            return self._stub(raw or b"", rejected)
        if (event.tenant_id, event.customer_id) != (self.tenant_id, self.customer_id):
            return None
        reduced = redacted(event, raw or b"", self.paths)
        self._check(event, raw or b"", reduced, arrival_ms)
        return reduced

    def is_unreadable(self, raw: bytes | None, arrival_ms: int) -> bool:
        """Whether the value is not a valid event."""
        envelope = unwrap(raw)
        try:
            parse(raw if envelope is None else envelope.event, self.default_tenant, arrival_ms)
        except Rejected:
            return True
        return False

    def key(self, key: bytes | None) -> bytes | None:
        """The key of a record of the customer, if it consists of the ids only; else None."""
        ids = (self.customer_id, self.tenant_id, f"{self.tenant_id}/{self.customer_id}")
        return key if key in {text.encode() for text in ids} else None

    def _redacted_inside(self, envelope: Envelope, arrival_ms: int) -> bytes | None:
        """An envelope of the redrive topic, whose event may have had another customer before its repair."""
        event = self.redacted(envelope.event, arrival_ms)
        original = self.redacted(envelope.original, arrival_ms) if envelope.original is not None else None
        if event is None and original is None:
            return None
        kept = envelope.event if event is None else event
        return wrap(envelope._replace(event=kept, original=original if original is not None else envelope.original))

    def _stub(self, raw: bytes, rejected: Rejected) -> bytes | None:
        if self._named(raw, rejected.ids) != (self.tenant_id, self.customer_id):
            return None
        stub = {"tenant_id": self.tenant_id, "customer_id": self.customer_id, "erased": str(rejected.reason)}
        reduced = _encode(stub)
        # A stub stays as it is: it gives the fault of the original record.
        return raw if raw.rpartition(b":")[0] == reduced.rpartition(b":")[0] else reduced

    def _named(self, raw: bytes, ids: Mapping[str, str]) -> tuple[Any, Any]:
        """Tenant and customer in bytes that are not a valid event; None where there is no name."""
        if "customer_id" in ids:
            return ids.get("tenant_id"), ids["customer_id"]
        try:
            fields = msgspec.json.decode(raw.removeprefix(BYTE_ORDER_MARK), type=_Named)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None, None
        return fields.tenant_id or fields.tenantid or self.default_tenant, fields.customer_id or fields.subject

    def _check(self, event: Event, raw: bytes, reduced: bytes, arrival_ms: int) -> None:
        """Check that everything metering reads from the event is as before."""
        try:
            again = parse(reduced, self.default_tenant, arrival_ms)
        except Rejected as rejected:
            raise RedactionError(f"event {event.event_id} would be rejected: {rejected.detail}") from None
        if _metered(event, raw, self.paths) != _metered(again, reduced, self.paths):
            raise RedactionError(f"event {event.event_id} would be counted differently")


def paths_of(meters: Iterable[Meter], tenant_id: str) -> tuple[str, ...]:
    """Paths in value, group_by and filter of all versions of the tenant's meters, in order."""
    paths: set[str] = set()
    for meter in meters:
        if meter.tenant_id in {None, tenant_id}:
            paths.update(meter.group_by)
            if meter.value != _QUANTITY:
                paths.add(meter.value)
            if meter.filter:
                paths.update(_properties(json.loads(meter.filter)))
    return tuple(sorted(paths))


def redacted(event: Event, raw: bytes, paths: Iterable[str]) -> bytes:
    """The JSON of an event with only the fields and properties that are read, each as it was written.

    `raw` are the bytes that `event` was parsed from.
    """
    fields, read = _decode(raw.removeprefix(BYTE_ORDER_MARK)), [path_of(path) for path in paths]
    properties: Mapping[str, Raw] = event.properties or {}
    kept = _kept(properties, read)
    if isinstance(event, CloudEvent):
        if _QUANTITY in properties:
            kept[_QUANTITY] = _bare(properties[_QUANTITY])
        reduced: dict[str, Any] = {name: fields[name] for name in _CLOUD if name in fields}
        return _encode(reduced | ({"data": kept} if kept else {}))
    reduced = {name: _bare(fields[name]) for name in _NATIVE if name in fields}
    # Before version 2, a field of that name belongs to the producer and is not read.
    version = msgspec.json.decode(fields.get("schema_version", b"null"), type=float | None) or DEFAULT_VERSION
    if "source" in fields and version == LATEST_VERSION:
        reduced["source"] = fields["source"]
    read_fields = {path.own_field for path in read if path.own_field and path.own_field not in properties}
    reduced |= {name: fields[name] for name in _OPTIONAL if name in read_fields and name in fields}
    return _encode(reduced | ({"properties": kept} if kept else {}))


def _kept(properties: Mapping[str, Raw], paths: Iterable[Path]) -> dict[str, Any]:
    """Properties on the paths; of objects only the members that are read, of other containers only their kind."""
    kept: dict[str, Any] = {}
    # Nested paths first: an object that is read as a whole must not hide the members that are read.
    for path in sorted(paths, key=lambda path: -max(map(len, path.chains))):
        for chain in path.chains:
            _keep_inner(properties, chain, kept)
            if len(chain) == 1 and chain[0] in properties:
                break
    return kept


def _keep_inner(level: Mapping[str, Raw], steps: tuple[str, ...], kept: dict[str, Any]) -> None:
    raw = level.get(steps[0])
    if raw is None:
        return
    if not steps[1:]:
        kept.setdefault(steps[0], _bare(raw))
    elif bytes(raw).startswith(b"{"):
        inner = kept.setdefault(steps[0], {})
        if isinstance(inner, dict):
            _keep_inner(_decode(raw), steps[1:], inner)


def _bare(raw: Raw) -> Any:
    """A value as it is; an object or array becomes empty."""
    first = bytes(raw)[:1]
    return {} if first == b"{" else [] if first == b"[" else raw


def _properties(document: Mapping[str, Any]) -> Iterable[str]:
    if "property" in document:
        yield document["property"]
    for group in (document.get("all", ()), document.get("any", ())):
        for member in group:
            yield from _properties(member)


def _metered(event: Event, raw: bytes, paths: Iterable[str]) -> tuple[Any, ...]:
    """What metering reads from an event: identity, type, time, quantity, and the values of paths."""
    raw_values = [path_of(path).find(event) for path in paths]
    values = [None if value is None else _read(value) for value in raw_values]
    voids = isinstance(event.voids, str)
    return (
        key_of(event), event.event_id, event.customer_id, event.event_type, voids,
        _or_reason(event_time_ms, event), nanos_of(event, raw), _or_reason(quantity_of, event),
        None if event.quantity is UNSET else _read(bytes(event.quantity)), values,
    )  # fmt: skip


def _or_reason(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except Rejected as rejected:
        return rejected.reason


def _read(value: bytes) -> tuple[bytes, str | None]:
    """What metering can read from a JSON value: its kind, and its text."""
    return value[:1], text_of(value)
