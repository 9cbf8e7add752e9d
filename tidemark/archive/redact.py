"""Takes out of an event all that metering does not read, so that it is counted exactly as before. Pure."""

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

# Fields of the event that decide what it is and what it counts.
_NATIVE = (
    "event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "voids", "schema_version",
)  # fmt: skip
# Those that count nothing, unless a meter reads them.
_OPTIONAL = ("resource_id", "user_id", "session_id", "region")
_CLOUD = ("specversion", "id", "source", "type", "subject", "time", "tenantid", "voids", "datacontenttype")
_QUANTITY = "quantity"

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


class _Named(msgspec.Struct):
    """Who may be named where an event is none: keys there twice, fields of wrong types, too much of something."""

    tenant_id: Any = None
    customer_id: Any = None
    tenantid: Any = None
    subject: Any = None


class RedactionError(ValueError):
    """The event would not be counted as before; nothing may be written."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose events are meant, and what metering reads of them.

    Parameters
    ----------
    tenant_id, customer_id:
        The customer.
    paths:
        Paths that any version of the tenant's meters names, see `paths_of`.
    default_tenant:
        Tenant of CloudEvents that name none.
    """

    tenant_id: str
    customer_id: str
    paths: tuple[str, ...]
    default_tenant: str = ""

    def redacted(self, raw: bytes | None, arrival_ms: int) -> bytes | None:
        """The value without what metering does not read; None when it is not the customer's.

        A record that is no event but names the customer becomes a stub that names its fault: it was not counted, and
        never will be.

        Raises
        ------
        RedactionError
            A check found that the event would not be counted as before.
        """
        envelope = unwrap(raw)
        if envelope is not None:
            return self._redacted_inside(envelope, arrival_ms)
        try:
            event = parse(raw, self.default_tenant, arrival_ms)
        except Rejected as verdict:
            return self._stub(raw or b"", verdict)
        if (event.tenant_id, event.customer_id) != (self.tenant_id, self.customer_id):
            return None
        made = redacted(event, raw or b"", self.paths)
        self._check(event, raw or b"", made, arrival_ms)
        return made

    def is_unreadable(self, raw: bytes | None, arrival_ms: int) -> bool:
        """Whether the value is no event."""
        envelope = unwrap(raw)
        try:
            parse(raw if envelope is None else envelope.event, self.default_tenant, arrival_ms)
        except Rejected:
            return True
        return False

    def key(self, key: bytes | None) -> bytes | None:
        """The key of a record of the customer, if it is made of the ids alone; else none."""
        ids = (self.customer_id, self.tenant_id, f"{self.tenant_id}/{self.customer_id}")
        return key if key in {one.encode() for one in ids} else None

    def _redacted_inside(self, envelope: Envelope, arrival_ms: int) -> bytes | None:
        """An envelope of the redrive topic, whose event may have had another customer before its repair."""
        event = self.redacted(envelope.event, arrival_ms)
        original = self.redacted(envelope.original, arrival_ms) if envelope.original is not None else None
        if event is None and original is None:
            return None
        kept = envelope.event if event is None else event
        return wrap(envelope._replace(event=kept, original=original if original is not None else envelope.original))

    def _stub(self, raw: bytes, verdict: Rejected) -> bytes | None:
        if self._named(raw, verdict.ids) != (self.tenant_id, self.customer_id):
            return None
        stub = {"tenant_id": self.tenant_id, "customer_id": self.customer_id, "erased": str(verdict.reason)}
        made = _encode(stub)
        # Of a stub there is none: it says why its original was no event.
        return raw if raw.rpartition(b":")[0] == made.rpartition(b":")[0] else made

    def _named(self, raw: bytes, ids: Mapping[str, str]) -> tuple[Any, Any]:
        """Tenant and customer that bytes name which are no event; None where they name none."""
        if "customer_id" in ids:
            return ids.get("tenant_id"), ids["customer_id"]
        try:
            fields = msgspec.json.decode(raw.removeprefix(BYTE_ORDER_MARK), type=_Named)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None, None
        return fields.tenant_id or fields.tenantid or self.default_tenant, fields.customer_id or fields.subject

    def _check(self, event: Event, raw: bytes, made: bytes, arrival_ms: int) -> None:
        """Everything that metering asks of an event is answered as before."""
        try:
            again = parse(made, self.default_tenant, arrival_ms)
        except Rejected as verdict:
            raise RedactionError(f"event {event.event_id} would be rejected: {verdict.detail}") from None
        if _answers(event, raw, self.paths) != _answers(again, made, self.paths):
            raise RedactionError(f"event {event.event_id} would be counted otherwise")


def paths_of(meters: Iterable[Meter], tenant_id: str) -> tuple[str, ...]:
    """Paths in value, group_by and filter of all versions of the meters that the tenant has, in order."""
    found: set[str] = set()
    for meter in meters:
        if meter.tenant_id in {None, tenant_id}:
            found.update(meter.group_by)
            if meter.value != _QUANTITY:
                found.add(meter.value)
            if meter.filter:
                found.update(_properties(json.loads(meter.filter)))
    return tuple(sorted(found))


def redacted(event: Event, raw: bytes, paths: Iterable[str]) -> bytes:
    """The JSON of an event with the fields and properties that are read, each as it was written.

    `raw` are the bytes that `event` was parsed from.
    """
    fields, read = _decode(raw.removeprefix(BYTE_ORDER_MARK)), [path_of(path) for path in paths]
    properties: Mapping[str, Raw] = event.properties or {}
    kept = _kept(properties, read)
    if isinstance(event, CloudEvent):
        if _QUANTITY in properties:
            kept[_QUANTITY] = _bare(properties[_QUANTITY])
        made: dict[str, Any] = {name: fields[name] for name in _CLOUD if name in fields}
        return _encode(made | ({"data": kept} if kept else {}))
    made = {name: _bare(fields[name]) for name in _NATIVE if name in fields}
    # Until version 2 a field of that name is the producer's own, and not read.
    version = msgspec.json.decode(fields.get("schema_version", b"null"), type=float | None) or DEFAULT_VERSION
    if "source" in fields and version == LATEST_VERSION:
        made["source"] = fields["source"]
    own = {path.own_field for path in read if path.own_field and path.own_field not in properties}
    made |= {name: fields[name] for name in _OPTIONAL if name in own and name in fields}
    return _encode(made | ({"properties": kept} if kept else {}))


def _kept(properties: Mapping[str, Raw], paths: Iterable[Path]) -> dict[str, Any]:
    """Properties that paths lead to; of objects the members alone that are read, of what is no text that it is none."""
    kept: dict[str, Any] = {}
    # Nested paths first: a whole object that is read, too, must not hide what is read in it.
    for path in sorted(paths, key=lambda one: -max(map(len, one.chains))):
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
    """A value as it is; of an object or array only that it is one."""
    first = bytes(raw)[:1]
    return {} if first == b"{" else [] if first == b"[" else raw


def _properties(document: Mapping[str, Any]) -> Iterable[str]:
    if "property" in document:
        yield document["property"]
    for group in (document.get("all", ()), document.get("any", ())):
        for member in group:
            yield from _properties(member)


def _answers(event: Event, raw: bytes, paths: Iterable[str]) -> tuple[Any, ...]:
    """What metering asks of an event: identity, type, time, quantity, and the values of paths."""
    found = [path_of(path).find(event) for path in paths]
    values = [None if value is None else _read(value) for value in found]
    voids = isinstance(event.voids, str)
    return (
        key_of(event), event.event_id, event.customer_id, event.event_type, voids,
        _or_reason(event_time_ms, event), nanos_of(event, raw), _or_reason(quantity_of, event),
        None if event.quantity is UNSET else _read(bytes(event.quantity)), values,
    )  # fmt: skip


def _or_reason(read: Any, *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except Rejected as verdict:
        return verdict.reason


def _read(value: bytes) -> tuple[bytes, str | None]:
    """What can be asked of a JSON value: its kind, and its text."""
    return value[:1], text_of(value)
