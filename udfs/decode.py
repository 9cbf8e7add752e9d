"""Raw Kafka values to dedupe keys and measurements, or to dead-letter records; every row becomes exactly one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from udfs.catalog import Catalog
from udfs.catalog_model import Pair
from udfs.dlq import DlqRecord, rfc3339, to_json
from udfs.events import Event, checked_id, event_time_ms, parse, quantity_of
from udfs.meters import amount_of, dims_of
from udfs.reasons import Reason, Rejected, shown

log = logging.getLogger(__name__)

# Between the fields of a series. Control characters are rejected in ids and escaped in dims.
SEPARATOR = "\x1f"
MINUTE_MS = 60_000
KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """What decides beside the catalog; the same values decide the same in every replay.

    Parameters
    ----------
    topic:
        Source topic, as dead-letter records name it.
    grace_ms:
        Latest arrival after event time that is counted; exactly this late still is.
    future_tolerance_ms:
        Earliest arrival before event time; exactly this early is still counted.
    """

    topic: str
    grace_ms: int
    future_tolerance_ms: int


@dataclass(slots=True)
class DecodedBatch:
    """Columns of equal length; a row has a key, series and amounts, or else a reject.

    Parameters
    ----------
    keys:
        Dedupe key: 16-byte hash of tenant and event id.
    series:
        One packed series per measurement: tenant, customer, meter, dims, minute (ms), local day, period start and
        end (ms), with SEPARATOR between them.
    amounts:
        Plain decimal text, aligned with `series`.
    rejects:
        Dead-letter record as JSON.
    """

    keys: list[bytes | None] = field(default_factory=list)
    series: list[list[str] | None] = field(default_factory=list)
    amounts: list[list[str] | None] = field(default_factory=list)
    rejects: list[str | None] = field(default_factory=list)


class _Measured(NamedTuple):
    """An accepted event that waits for its customer's calendar."""

    pair: Pair
    event_id: str
    event_ms: int
    meters: list[str]
    dims: list[str]
    amounts: list[str]


class Decoder:
    """Decodes batches with one catalog and one policy; not safe for use from several threads."""

    def __init__(self, catalog: Catalog, policy: DecodePolicy) -> None:
        self._catalog = catalog
        self._policy = policy

    def decode_batch(
        self,
        raws: Sequence[bytes | None],
        arrivals_ms: Sequence[int],
        partitions: Sequence[int],
        offsets: Sequence[int],
    ) -> DecodedBatch:
        """Columns in, columns out, row by row in the same order.

        1. Refresh the catalog if it is time.
        2. Measure each event; what is wrong with one becomes its dead-letter record.
        3. Look up all customers not seen before, at once.
        4. Put each accepted event into its minute, day and period.

        Raises
        ------
        CatalogUnavailable
            A customer cannot be looked up. Nothing else is ever raised because of data.
        """
        # Step 1
        self._catalog.refresh()
        # Step 2
        measured: list[_Measured | None] = []
        batch = DecodedBatch()
        for raw, arrival_ms, partition, offset in zip(raws, arrivals_ms, partitions, offsets, strict=True):
            outcome = self._measured_or_rejected(raw, arrival_ms, (partition, offset))
            rejected = isinstance(outcome, str)
            batch.rejects.append(outcome if rejected else None)  # type: ignore[arg-type]
            measured.append(None if rejected else outcome)  # type: ignore[arg-type]
        # Step 3
        self._catalog.prefetch({event.pair for event in measured if event is not None})
        # Step 4
        for event in measured:
            batch.keys.append(None if event is None else dedupe_key(event.pair[0], event.event_id))
            batch.series.append(None if event is None else self._series(event))
            batch.amounts.append(None if event is None else event.amounts)
        return batch

    def _measured_or_rejected(self, raw: bytes | None, arrival_ms: int, position: tuple[int, int]) -> _Measured | str:
        event: Event | None = None
        try:
            event = parse(raw)
            return self._measure(event, raw or b"", arrival_ms)
        except Rejected as rejected:
            verdict = rejected
        except Exception as error:
            log.exception("partition %d offset %d could not be decoded", *position)
            verdict = Rejected(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {shown(str(error))}")
        return self._dead_letter(verdict, raw, arrival_ms, position, _ids(event, verdict))

    def _measure(self, event: Event, raw: bytes, arrival_ms: int) -> _Measured:
        tenant = checked_id("tenant_id", event.tenant_id)
        customer = checked_id("customer_id", event.customer_id)
        event_id = checked_id("event_id", event.event_id)
        event_type = checked_id("event_type", event.event_type)
        event_ms = event_time_ms(event, raw)
        self._check_lateness(event_ms, arrival_ms)
        meters = self._catalog.meters_at(tenant, event_type, event_ms)
        if not meters:
            if meters is None:
                raise Rejected(Reason.UNKNOWN_TENANT, f"tenant {shown(tenant)} is not in the catalog.")
            detail = f"no meter of tenant {shown(tenant)} takes event type {shown(event_type)}."
            raise Rejected(Reason.UNKNOWN_EVENT_TYPE, detail)
        quantity = quantity_of(event)
        return _Measured(
            (tenant, customer),
            event_id,
            event_ms,
            [meter.meter for meter in meters],
            [dims_of(event, meter) for meter in meters],
            [amount_of(quantity, meter) for meter in meters],
        )

    def _check_lateness(self, event_ms: int, arrival_ms: int) -> None:
        late_ms = arrival_ms - event_ms
        policy = self._policy
        if late_ms > policy.grace_ms:
            detail = f"arrived {late_ms} ms after its event time; the limit (grace) is {policy.grace_ms} ms."
            raise Rejected(Reason.TOO_LATE, detail)
        if -late_ms > policy.future_tolerance_ms:
            detail = f"its event time is {-late_ms} ms after its arrival; the limit is {policy.future_tolerance_ms} ms."
            raise Rejected(Reason.IN_FUTURE, detail)

    def _series(self, event: _Measured) -> list[str]:
        event_ms = event.event_ms
        calendar = self._catalog.calendar_at(event.pair, event_ms)
        period = calendar.period_at(event_ms)
        tenant, customer = event.pair
        head = f"{tenant}{SEPARATOR}{customer}{SEPARATOR}"
        tail = (
            f"{SEPARATOR}{event_ms - event_ms % MINUTE_MS}{SEPARATOR}{calendar.day_at(event_ms)}"
            f"{SEPARATOR}{period.start_ms}{SEPARATOR}{period.end_ms}"
        )
        return [f"{head}{meter}{SEPARATOR}{dims}{tail}" for meter, dims in zip(event.meters, event.dims, strict=True)]

    def _dead_letter(
        self, verdict: Rejected, raw: bytes | None, arrival_ms: int, position: tuple[int, int], ids: Mapping[str, str]
    ) -> str:
        record = DlqRecord(
            reason=verdict.reason,
            detail=verdict.detail,
            raw=raw,
            topic=self._policy.topic,
            partition=position[0],
            offset=position[1],
            arrival=rfc3339(arrival_ms),
            tenant_id=ids.get("tenant_id"),
            customer_id=ids.get("customer_id"),
            event_id=ids.get("event_id"),
        )
        return to_json(record)


def dedupe_key(tenant_id: str, event_id: str, source: str = "") -> bytes:
    """16-byte hash of tenant, source and event id; the lengths in front keep ("a", "bc") and ("ab", "c") apart."""
    text = f"{len(tenant_id)}:{tenant_id}{len(source)}:{source}{event_id}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def _ids(event: Event | None, verdict: Rejected) -> Mapping[str, str]:
    """Ids for the dead-letter record, as far as they could be read and are valid: others may not even be storable."""
    read = verdict.ids
    if event is not None:
        read = {"tenant_id": event.tenant_id, "customer_id": event.customer_id, "event_id": event.event_id}
    return {name: value for name, value in read.items() if _is_id(name, value)}


def _is_id(name: str, value: str) -> bool:
    try:
        checked_id(name, value)
    except (Rejected, UnicodeEncodeError):
        return False
    return not any("\ud800" <= c <= "\udfff" for c in value)
