"""Which events of a request are written to Kafka: what the job's own parser reads, of the tenant of the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from tidemark.api.enrichment import Addition, enriched
from udfs.events.cloudevents import is_cloudevent
from udfs.events.parse import BYTE_ORDER_MARK, MAX_ID_BYTES, Event, checked_id, event_time_ms, parse
from udfs.events.reasons import Reason, Rejected, shown

# An event of another tenant than that of the key; the one code that no dead letter has.
FOREIGN_TENANT = "foreign_tenant"
# What is not even a JSON object.
UNREADABLE = frozenset(
    {Reason.EMPTY_VALUE, Reason.INVALID_UTF8, Reason.MALFORMED_JSON, Reason.TRUNCATED_JSON, Reason.NOT_AN_OBJECT}
)

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event of a request.

    Parameters
    ----------
    index:
        Its place in the request, from 0.
    id:
        Its id as sent; None where it cannot be read.
    status:
        `accepted` or `rejected`.
    reason, detail:
        Code of `udfs.events.reasons` or FOREIGN_TENANT, and what is wrong in words; None for what was accepted.
    """

    index: int
    id: str | None
    status: str
    reason: str | None = None
    detail: str | None = None


class Record(msgspec.Struct, frozen=True):
    """A record for the topic of events."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Admitted:
    """The events of a request: an outcome for each, and a record for each that is accepted."""

    outcomes: Sequence[Outcome]
    records: Sequence[Record]

    @property
    def rejected(self) -> int:
        """How many events are rejected."""
        return len(self.outcomes) - len(self.records)

    @property
    def is_unreadable(self) -> bool:
        """Whether no event is so much as a JSON object."""
        return all(one.reason in UNREADABLE for one in self.outcomes)

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"accepted": len(self.records), "rejected": self.rejected, "events": self.outcomes}


def admit(
    events: Sequence[bytes], tenant: str, now_ms: int, future_tolerance_ms: int, added: Sequence[Addition] = ()
) -> Admitted:
    """Check each event as `meter` will, but for what only the catalog knows.

    Parameters
    ----------
    events:
        Bytes of each.
    tenant:
        Tenant of the key; that of events which name none.
    now_ms:
        When the request was received, UTC epoch ms.
    future_tolerance_ms:
        How far ahead of that an event time may be.
    added:
        Properties for those that do not state them.
    """
    outcomes, records = [], []
    for index, sent in enumerate(events):
        value = filled(sent, tenant)
        try:
            event = parse(value, tenant, now_ms)
            _check(event, tenant, now_ms, future_tolerance_ms)
            if added:
                value = enriched(value, added)
                # It may have come to be too large.
                parse(value, tenant, now_ms)
        except Rejected as rejected:
            outcomes.append(_rejected(index, rejected))
        else:
            outcomes.append(Outcome(index, event.event_id, "accepted"))
            records.append(Record(key_of(event), value))
    return Admitted(outcomes, records)


def key_of(event: Event) -> bytes:
    """Kafka key, tenant/customer, as other producers make it: a customer's events stay in order."""
    return f"{event.tenant_id}/{event.customer_id}".encode()


def filled(raw: bytes, tenant: str) -> bytes:
    """The event with the tenant in it, if it names none; what is no JSON object stays as it is."""
    try:
        fields = _decode_fields(raw.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return raw
    name = "tenantid" if is_cloudevent(fields) else "tenant_id"
    if name not in fields:
        head, brace, rest = raw.partition(b"{")
        return b'%b%b"%b":%b%b%b' % (head, brace, name.encode(), _encode(tenant), b"," if fields else b"", rest)
    if name == "tenantid" and bytes(fields[name]) == b"null":
        return _encode(fields | {name: tenant})
    return raw


class ForeignTenantError(Rejected):
    """An event of another tenant than that of the key."""


def _check(event: Event, tenant: str, now_ms: int, future_tolerance_ms: int) -> None:
    """Raise `Rejected` where the job is sure to reject it, whatever the catalog says."""
    ids = {"event_id": event.event_id}
    try:
        for name in ("event_id", "tenant_id", "customer_id", "event_type"):
            checked_id(name, getattr(event, name))
        ahead_ms = event_time_ms(event) - now_ms
    except Rejected as rejected:
        raise Rejected(rejected.reason, rejected.detail, ids) from None
    if event.tenant_id != tenant:
        raise ForeignTenantError(Reason.UNKNOWN_TENANT, f"the key is not of tenant {shown(event.tenant_id)}.", ids)
    if ahead_ms > future_tolerance_ms:
        detail = f"{event.TIME} is {ahead_ms} ms ahead of the server; the limit is {future_tolerance_ms} ms."
        raise Rejected(Reason.IN_FUTURE, detail, ids)


def _rejected(index: int, rejected: Rejected) -> Outcome:
    event_id = rejected.ids.get("event_id")
    reason = FOREIGN_TENANT if isinstance(rejected, ForeignTenantError) else str(rejected.reason)
    if event_id is not None and not (event_id.isprintable() and len(event_id) <= MAX_ID_BYTES):
        event_id = shown(event_id)
    return Outcome(index, event_id, "rejected", reason, rejected.detail)
