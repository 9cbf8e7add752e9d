"""Raw Kafka values to dedupe keys and measurements, or to dead-letter records; every row becomes exactly one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from udfs.calendars.calendar import SEPARATOR, NoPeriodError
from udfs.catalog.cache import Catalog
from udfs.catalog.model import Pair
from udfs.decode.scope import Scope
from udfs.events.dead_letter import DlqRecord, rfc3339, to_json
from udfs.events.parse import Event, checked_id, event_time_ms, parse, quantity_of
from udfs.events.reasons import Reason, Rejected, shown
from udfs.meters.measuring import amount_of, dims_of, measure, unmeasured
from udfs.meters.meter import UNMEASURED, Meter
from udfs.meters.packing import stamped, unstamped

log = logging.getLogger(__name__)

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """What decides beside the catalog; the same values decide the same in every replay.

    Parameters
    ----------
    topic:
        Source topic, as dead-letter records name it.
    redrive_topic:
        Topic of redriven dead letters: records with a partition below 0 are from its partition -1 - p.
    default_tenant:
        Tenant of CloudEvents that name none; '' rejects them.
    grace_ms:
        Latest arrival after event time that is counted; exactly this late still is.
    future_tolerance_ms:
        Earliest arrival before event time; exactly this early is still counted.
    scope:
        What is measured; None: everything. An event outside has a key and no measurements, so that it still decides
        which of several copies was the first.
    late_until_ms:
        Whatever arrived before this instant is not too late: a replay counts what came after the grace of its time.
    """

    topic: str
    grace_ms: int
    future_tolerance_ms: int
    default_tenant: str = ""
    redrive_topic: str = ""
    scope: Scope | None = None
    late_until_ms: int = 0


@dataclass(slots=True)
class DecodedBatch:
    """Columns of equal length; a row has a key and measurements (none outside the scope), or else a reject.

    Parameters
    ----------
    keys:
        Dedupe key: 16-byte hash of tenant, source and event id, or of what an event takes back.
    measurements:
        All measurements of the event in one text, see `udfs.meters.packing`.
    rejects:
        Dead-letter record as JSON.
    """

    keys: list[bytes | None] = field(default_factory=list)
    measurements: list[str | None] = field(default_factory=list)
    rejects: list[str | None] = field(default_factory=list)


# What an accepted event adds: a text per measurement, but for the stamps.
_Measured = list[str]


class Decoder:
    """Decodes batches with one catalog and one policy; not safe for use from several threads."""

    def __init__(self, catalog: Catalog, policy: DecodePolicy) -> None:
        self._catalog = catalog
        self._policy = policy
        # Failures of our own in this batch, each logged once: a broken calendar fails all events of its customers.
        self._logged: set[str] = set()

    def decode_batch(
        self,
        raws: Sequence[bytes | None],
        arrivals_ms: Sequence[int] | None,
        partitions: Sequence[int],
        offsets: Sequence[int],
    ) -> DecodedBatch:
        """Columns in, columns out, row by row in the same order; without arrivals no event is too late or too early.

        1. Refresh the catalog if it is time.
        2. Measure each event; what is wrong with one becomes its dead-letter record. Put those of known customers into
           their minute, day and period.
        3. Look up all customers not seen before, at once, and do the same for theirs.

        Raises
        ------
        CatalogUnavailable
            A customer cannot be looked up. Nothing else is ever raised because of data.
        """
        # Step 1
        self._catalog.refresh()
        self._logged.clear()
        # Step 2
        size = len(raws)
        arrivals: Sequence[int | None] = [None] * size if arrivals_ms is None else arrivals_ms
        batch = DecodedBatch([None] * size, [None] * size, [None] * size)
        waiting: list[tuple[int, Pair, Event, int, _Measured]] = []
        account_of, default_tenant = self._catalog.account, self._policy.default_tenant
        scope = self._policy.scope
        for row, (raw, arrival_ms, _, _) in enumerate(zip(raws, arrivals, partitions, offsets, strict=True)):
            event: Event | None = None
            try:
                event = parse(raw, default_tenant, arrival_ms)
                pair = event.tenant_id, event.customer_id
                account = account_of(pair)
                if account is None:
                    _check_pair(pair)
                event_ms, measured = self._measure(event, raw or b"", arrival_ms)
                if scope is not None and not scope.holds(event.tenant_id, event_ms):
                    batch.keys[row] = key_of(event)
                elif account is None:
                    waiting.append((row, pair, event, event_ms, measured))
                else:
                    _accept(batch, row, event, account.calendar_at(event_ms).stamp_at(event_ms), measured)
            except Exception as error:  # noqa: BLE001  no event may stop the others
                position = partitions[row], offsets[row]
                batch.rejects[row] = self._dead_letter(error, raw, arrival_ms, position, event)
        # Step 3
        self._catalog.prefetch({pair for _, pair, *_ in waiting})
        for row, pair, event, event_ms, measured in waiting:
            try:
                _accept(batch, row, event, self._catalog.calendar_at(pair, event_ms).stamp_at(event_ms), measured)
            except Exception as error:  # noqa: BLE001  as above
                position = partitions[row], offsets[row]
                batch.rejects[row] = self._dead_letter(error, raws[row], arrivals[row], position, event)
        return batch

    def _measure(self, event: Event, raw: bytes, arrival_ms: int | None) -> tuple[int, _Measured]:
        """Event time, and what the event adds; its tenant and customer id were checked."""
        tenant = event.tenant_id
        checked_id("event_id", event.event_id)
        event_type = checked_id("event_type", event.event_type)
        event_ms = event_time_ms(event)
        if arrival_ms is not None:
            self._check_lateness(event_ms, arrival_ms)
        meters = self._catalog.meters_at(tenant, event_type, event_ms)
        if not meters:
            if meters is None:
                raise Rejected(Reason.UNKNOWN_TENANT, f"tenant {shown(tenant)} is not in the catalog.")
            detail = f"no meter of tenant {shown(tenant)} takes event type {shown(event_type)}."
            raise Rejected(Reason.UNKNOWN_EVENT_TYPE, detail)
        return event_ms, _measured(event, meters, event_ms, raw)

    def _check_lateness(self, event_ms: int, arrival_ms: int) -> None:
        late_ms = arrival_ms - event_ms
        policy = self._policy
        if late_ms > policy.grace_ms and arrival_ms >= policy.late_until_ms:
            detail = f"arrived {late_ms} ms after its event time; the limit (grace) is {policy.grace_ms} ms."
            raise Rejected(Reason.TOO_LATE, detail)
        if -late_ms > policy.future_tolerance_ms:
            detail = f"its event time is {-late_ms} ms after its arrival; the limit is {policy.future_tolerance_ms} ms."
            raise Rejected(Reason.IN_FUTURE, detail)

    def _dead_letter(
        self,
        error: Exception,
        raw: bytes | None,
        arrival_ms: int | None,
        position: tuple[int, int],
        event: Event | None,
    ) -> str:
        verdict = self._verdict(error, position)
        ids = _ids(event, verdict)
        topic, partition = self._source(position[0])
        record = DlqRecord(
            reason=verdict.reason,
            detail=verdict.detail,
            raw=raw,
            topic=topic,
            partition=partition,
            offset=position[1],
            arrival=None if arrival_ms is None else rfc3339(arrival_ms),
            tenant_id=ids.get("tenant_id"),
            customer_id=ids.get("customer_id"),
            event_id=ids.get("event_id"),
        )
        return to_json(record)

    def _source(self, partition: int) -> tuple[str, int]:
        """Topic and partition of a record; see `DecodePolicy.redrive_topic`."""
        return (self._policy.topic, partition) if partition >= 0 else (self._policy.redrive_topic, -1 - partition)

    def _verdict(self, error: Exception, position: tuple[int, int]) -> Rejected:
        if isinstance(error, Rejected):
            return error
        if isinstance(error, NoPeriodError):
            return Rejected(Reason.NO_PERIOD, shown(str(error)))
        detail = f"{type(error).__name__}: {shown(str(error))}"
        if detail not in self._logged:
            self._logged.add(detail)
            log.error(
                "%s partition %d offset %d could not be decoded",
                *self._source(position[0]),
                position[1],
                exc_info=error,
            )
        return Rejected(Reason.INTERNAL_ERROR, detail)


def _check_pair(pair: Pair) -> None:
    checked_id("tenant_id", pair[0])
    checked_id("customer_id", pair[1])


def _measured(event: Event, meters: Sequence[Meter], event_ms: int, raw: bytes) -> _Measured:
    # Read even where no meter does: a bad quantity is a bad event.
    quantity = quantity_of(event)
    void = isinstance(event.voids, str)
    owner = f"{event.tenant_id}{SEPARATOR}{event.customer_id}{SEPARATOR}"
    texts = []
    for meter in meters:
        if meter.is_plain and not void:
            # Nearly all there is to do: the same as below, at half the cost.
            texts.append(unstamped(owner, meter.meter, amount_of(event, meter, quantity), dims_of(event, meter)))
        else:
            texts += [unstamped(owner, meter.meter, *one) for one in measure(event, meter, event_ms, void, raw)]
    return texts or [unstamped(owner, UNMEASURED, *unmeasured(void))]


def _accept(batch: DecodedBatch, row: int, event: Event, stamp: str, measured: _Measured) -> None:
    """Fill a row, both columns or none."""
    batch.keys[row] = key_of(event)
    batch.measurements[row] = stamped(measured, stamp)


def key_of(event: Event) -> bytes:
    """The dedupe key of an event. All voids of one event have the same, whatever their own ids; it is no event's."""
    source = event.source or ""
    if isinstance(event.voids, str):
        return void_key(event.tenant_id, event.voids, source)
    return dedupe_key(event.tenant_id, event.event_id, source)


def dedupe_key(tenant_id: str, event_id: str, source: str = "") -> bytes:
    """16-byte hash of tenant, source and event id; the lengths in front keep ("a", "bc") and ("ab", "c") apart."""
    text = f"{len(tenant_id)}:{tenant_id}{len(source)}:{source}{event_id}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def void_key(tenant_id: str, voided_id: str, source: str = "") -> bytes:
    """16-byte hash for the voids of one event; the text of an event's own key begins with a digit."""
    text = f"void {len(tenant_id)}:{tenant_id}{len(source)}:{source}{voided_id}"
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
