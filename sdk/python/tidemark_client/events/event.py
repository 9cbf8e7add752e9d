"""One recorded use, and the bytes it is sent as: version 2 of `usage.events`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from tidemark_client.events.ids import text
from tidemark_client.version import __version__

# Bytes of one event that the server reads.
MAX_EVENT_BYTES = 65_536
SDK = f"tidemark-python/{__version__}"
_SCHEMA_VERSION = 2
_NS_PER_S, _NS_PER_US = 1_000_000_000, 1_000
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Recorded(NamedTuple):
    """A use as it was recorded; what `record` returns.

    Parameters
    ----------
    tick, random_bits:
        What the id is made of, where none was given.
    at_ns:
        Event time, epoch ns.
    event_type, customer:
        What was used, and by whom.
    quantity:
        An int or exact decimal text.
    properties:
        Anything else, JSON values.
    given_id, voids:
        Id that the caller chose; id of the event that this one takes back.
    """

    tick: int
    random_bits: int
    at_ns: int
    event_type: str
    customer: str
    quantity: int | str
    properties: Mapping[str, Any]
    given_id: str | None = None
    voids: str | None = None

    @property
    def id(self) -> str:
        """The id under which the event is counted once, however often it is sent."""
        return self.given_id or text(self.tick, self.random_bits)


class Encoded(NamedTuple):
    """An event ready to be sent: its id, the customer, and its JSON in UTF-8."""

    id: str
    customer: str
    body: bytes


def encoded(event: Recorded, tenant: str, source: str | None) -> Encoded:
    """The event as the topic has it; raises ValueError where its values are no JSON, or too many bytes of it."""
    fields: dict[str, Any] = {
        "event_id": event.id,
        "tenant_id": tenant,
        "customer_id": event.customer,
        "event_type": event.event_type,
        "timestamp": rfc3339(event.at_ns),
        "quantity": event.quantity,
        "schema_version": _SCHEMA_VERSION,
        "sdk": SDK,
    }
    fields.update({name: value for name, value in (("source", source), ("voids", event.voids)) if value is not None})
    if event.properties:
        fields["properties"] = event.properties
    body = _encode(fields).encode()
    if len(body) > MAX_EVENT_BYTES:
        raise ValueError(f"the event has {len(body)} bytes; the limit is {MAX_EVENT_BYTES}.")
    return Encoded(fields["event_id"], event.customer, body)


def rfc3339(at_ns: int) -> str:
    """An instant as text, in UTC, to the microsecond."""
    seconds, rest = divmod(at_ns, _NS_PER_S)
    return f"{_to_second(seconds)}.{rest // _NS_PER_US:06d}Z"


@lru_cache(maxsize=64)
def _to_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
