"""Validates an event as `meter` would, without the job: which meters would count it, or why it would be rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from tidemark.core.stored_catalog import stored_catalog
from udfs.catalog.cache import Catalog
from udfs.decode.decoder import DecodePolicy, Decoder, key_of
from udfs.events.dead_letter import from_json
from udfs.events.envelope import part_key, unwrap
from udfs.events.parse import Event, event_time_ms, parse
from udfs.events.reasons import Rejected
from udfs.meters.packing import unpack

_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Validation:
    """What the job would do with an event.

    Parameters
    ----------
    key:
        Dedupe key; None when the event cannot be read.
    meters:
        Meters that would count it.
    reject:
        Reason code and detail it would be rejected with; None when some meter would count it.
    event_ms:
        Event time; None when it cannot be read, or is outside 1970 to 2100.
    owner:
        `tenant/customer`, the Kafka key: one customer's events stay in one partition, in order.
    """

    key: bytes | None
    meters: tuple[str, ...]
    reject: tuple[str, str] | None
    event_ms: int | None
    owner: bytes | None


class Validator:
    """Validates events as `meter` does, by the current catalog; not safe for use from several threads."""

    def __init__(self, catalog: Catalog, policy: DecodePolicy) -> None:
        self._decoder = Decoder(catalog, policy)
        self._policy = policy

    def validate(self, values: Sequence[bytes], arrivals_ms: Sequence[int]) -> Iterator[Validation]:
        """Validate values of records of the redrive topic, events or envelopes; results are in the same order.

        Raises
        ------
        CatalogUnavailable
            The catalog cannot be read.
        """
        for first in range(0, len(values), _BATCH):
            raws, arrivals = values[first : first + _BATCH], arrivals_ms[first : first + _BATCH]
            # The position in the redrive topic only matters to the text of a dead-letter record, which is not used.
            batch = self._decoder.decode_batch(raws, arrivals, [-1] * len(raws), [0] * len(raws))
            rows = zip(raws, arrivals, batch.keys, batch.measurements, batch.rejects, strict=True)
            for value, arrival, key, measurements, reject in rows:
                meters = tuple(sorted({m.meter for m in unpack(measurements)})) if measurements else ()
                record = from_json(reject) if key is None and reject is not None else None
                refusal = None if record is None else (record.reason, record.detail)
                yield self._validation(value, arrival, meters, refusal)

    def _validation(
        self, value: bytes, arrival_ms: int, meters: tuple[str, ...], refusal: tuple[str, str] | None
    ) -> Validation:
        envelope = unwrap(value)
        raw = value if envelope is None else envelope.event
        event = read_event(raw, arrival_ms, self._policy.default_tenant)
        if event is None:
            return Validation(None, meters, refusal, None, None)
        key = key_of(event) if envelope is None else part_key(envelope.meter, key_of(event))
        owner = f"{event.tenant_id}/{event.customer_id}".encode()
        return Validation(key, meters, refusal, time_of(event), owner)


def read_event(raw: bytes | None, arrival_ms: int, default_tenant: str) -> Event | None:
    """The event in the bytes; None when it cannot be read."""
    try:
        return parse(raw, default_tenant, arrival_ms)
    except Rejected:
        return None


def time_of(event: Event) -> int | None:
    """Event time in UTC epoch ms; None when it cannot be read."""
    try:
        return event_time_ms(event)
    except Rejected:
        return None


@contextmanager
def open_validator(settings: Settings) -> Iterator[Validator]:
    """A validator with the catalog in Postgres, which is read once: a plan uses a single catalog.

    Raises
    ------
    UnavailableError
        The catalog cannot be read.
    """
    with stored_catalog(settings) as source:
        # Queried here, because a worker waits for its first catalog without limit.
        source.revision()
        yield Validator(Catalog(source, float("inf"), settings.catalog.customer_cache_size), policy_of(settings))
