"""Raw Kafka values to dedupe keys and measurements, or to dead-letter records.

Each row becomes exactly one of the two; what some of its meters refused goes beside the measurements of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from udfs.catalog.cache import Catalog
from udfs.catalog.model import Pair
from udfs.decode.dead_letters import DeadLetterWriter, Read, Refusals, RefusedByAllError
from udfs.decode.scope import Scope
from udfs.events.envelope import KEY_BYTES, Envelope, declined_key, part_key, unwrap
from udfs.events.parse import MAX_ID_BYTES, Event, checked_id, event_time_ms, parse, quantity_of
from udfs.events.reasons import Reason, Rejected, shown
from udfs.meters.measuring import amount_of, dims_of, measure, unmeasured
from udfs.meters.meter import UNMEASURED, Meter
from udfs.meters.packing import pack_plain, stamped, unstamped
from udfs.wire import PLACEHOLDER


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
    run_id:
        Id of the run: what was redriven for one meter because this run had refused it is counted in any case; what
        another run had refused, where the meter refuses the event in this run too.
    """

    topic: str
    grace_ms: int
    future_tolerance_ms: int
    default_tenant: str = ""
    redrive_topic: str = ""
    scope: Scope | None = None
    late_until_ms: int = 0
    run_id: str = ""


@dataclass(slots=True)
class DecodedBatch:
    """Columns of equal length; a row has a key and measurements (none outside the scope), or else a whole reject.

    Parameters
    ----------
    keys:
        Dedupe key: 16-byte hash of tenant, source and event id, or of what an event takes back; with the meter where it
        was redriven for that alone.
    measurements:
        All measurements of the event in one text, see `udfs.meters.packing`.
    rejects:
        Without a key: the dead-letter record as JSON. With one: the partial ones of the meters that refused the event,
        as `udfs.events.dead_letter.pack_partial` has them; they are due once, so not for copies.
    """

    keys: list[bytes | None] = field(default_factory=list)
    measurements: list[str | None] = field(default_factory=list)
    rejects: list[str | None] = field(default_factory=list)


# An id of so many characters has at most MAX_ID_BYTES bytes.
_SURELY_SHORT = MAX_ID_BYTES // 4
# What an accepted event adds: a text per measurement, but for the stamps.
_Measured = list[str]


class _NothingToAddError(Exception):
    """An envelope whose meter counts the event itself in this run, or measures nothing of it."""


class Decoder:
    """Decodes batches with one catalog and one policy; not safe for use from several threads."""

    def __init__(self, catalog: Catalog, policy: DecodePolicy) -> None:
        self._catalog = catalog
        self._policy = policy
        # Arrival after event time: within these it is neither too early nor too late.
        self._earliest_ms, self._latest_ms = -policy.future_tolerance_ms, policy.grace_ms
        self._dead_letters = DeadLetterWriter(policy.topic, policy.redrive_topic)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Dead letters of the last batch by reason; a partial one counts for each meter that refused."""
        return self._dead_letters.reasons

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
        4. Add what single meters refused of the events that others measure.

        Raises
        ------
        CatalogUnavailable
            A customer cannot be looked up. Nothing else is ever raised because of data.
        """
        # Step 1
        self._catalog.refresh()
        self._dead_letters.begin_batch()
        # Step 2
        size = len(raws)
        arrivals: Sequence[int | None] = [None] * size if arrivals_ms is None else arrivals_ms
        batch = DecodedBatch([None] * size, [None] * size, [None] * size)
        keys, measurements = batch.keys, batch.measurements
        envelopes = _envelopes(raws, partitions)
        refusals: Refusals = []
        partly: list[tuple[int, Event, Refusals]] = []
        waiting: list[tuple[int, Pair, Event, int, _Measured]] = []
        account_of, default_tenant = self._catalog.account, self._policy.default_tenant
        scope = self._policy.scope
        for row, (value, arrival_ms, _, _) in enumerate(zip(raws, arrivals, partitions, offsets, strict=True)):
            event: Event | None = None
            envelope = envelopes.get(row) if envelopes else None
            raw = value if envelope is None else envelope.event
            try:
                event = parse(raw, default_tenant, arrival_ms)
                pair = event.tenant_id, event.customer_id
                account = account_of(pair)
                if account is None:
                    _check_pair(pair)
                event_ms, measured = self._measure(event, raw or b"", arrival_ms, envelope, refusals)
                if refusals:
                    partly.append((row, event, refusals))
                    refusals = []
                if scope is not None and not scope.holds(event.tenant_id, event_ms):
                    keys[row] = _key(event, envelope)
                elif account is None:
                    waiting.append((row, pair, event, event_ms, measured))
                else:
                    stamp = account.calendar_at(event_ms).stamp_at(event_ms)
                    # As `_accept` does, without a call: nearly all events come here.
                    keys[row] = key_of(event) if envelope is None else _key(event, envelope)
                    measurements[row] = stamped(measured, stamp)
            except Exception as error:  # noqa: BLE001  no event may stop the others
                refusals = []
                read = Read(value, partitions[row], offsets[row], arrival_ms, event)
                self._refuse(batch, row, error, envelope, read)
        # Step 3
        self._catalog.prefetch({pair for _, pair, *_ in waiting})
        for row, pair, event, event_ms, measured in waiting:
            envelope = envelopes.get(row)
            try:
                stamp = self._catalog.calendar_at(pair, event_ms).stamp_at(event_ms)
                _accept(batch, row, event, envelope, stamp, measured)
            except Exception as error:  # noqa: BLE001  as above
                read = Read(raws[row], partitions[row], offsets[row], arrivals[row], event)
                self._refuse(batch, row, error, envelope, read)
        # Step 4
        for row, event, refused in partly:
            read = Read(raws[row], partitions[row], offsets[row], arrivals[row], event)
            self._report_partial(batch, row, refused, read)
        return batch

    def _measure(
        self, event: Event, raw: bytes, arrival_ms: int | None, envelope: Envelope | None, refusals: Refusals
    ) -> tuple[int, _Measured]:
        """Event time, and what the event adds; its tenant and customer id were checked. `refusals` are added to."""
        tenant = event.tenant_id
        event_id, event_type = event.event_id, event.event_type
        if not (0 < len(event_id) <= _SURELY_SHORT and event_id.isprintable()):
            checked_id("event_id", event_id)
        if not (0 < len(event_type) <= _SURELY_SHORT and event_type.isprintable()):
            checked_id("event_type", event_type)
        event_ms = event_time_ms(event)
        if arrival_ms is not None and not self._earliest_ms <= arrival_ms - event_ms <= self._latest_ms:
            self._check_lateness(event_ms, arrival_ms)
        meters = self._catalog.meters_at(tenant, event_type, event_ms)
        if meters is None:
            raise Rejected(Reason.UNKNOWN_TENANT, f"tenant {shown(tenant)} is not in the catalog.")
        if tenant in self._catalog.restricted:
            self._check_source(event, event_ms)
        if not meters:
            detail = f"no meter of tenant {shown(tenant)} takes event type {shown(event_type)}."
            raise Rejected(Reason.UNKNOWN_EVENT_TYPE, detail)
        if envelope is None:
            return event_ms, _measured(event, meters, event_ms, raw, refusals)
        alone = _alone(meters, envelope.meter, event_type)
        measured = _measured(event, alone, event_ms, raw, refusals)
        nothing = not measure(event, alone[0], event_ms, isinstance(event.voids, str), raw)
        another_run = envelope.run != self._policy.run_id
        if nothing or (another_run and self._takes_original(envelope, event, event_ms, raw, arrival_ms)):
            raise _NothingToAddError
        return event_ms, measured

    def _takes_original(
        self, envelope: Envelope, event: Event, event_ms: int, raw: bytes, arrival_ms: int | None
    ) -> bool:
        """Whether the meter of an envelope counts the event as it was before its repair; `event` is as it is after."""
        try:
            if envelope.original is not None:
                raw = envelope.original
                event = parse(raw, self._policy.default_tenant, arrival_ms)
                event_ms = event_time_ms(event)
            self._check_source(event, event_ms)
            meters = self._catalog.meters_at(event.tenant_id, event.event_type, event_ms) or ()
            void = isinstance(event.voids, str)
            return any(measure(event, meter, event_ms, void, raw) for meter in meters if meter.meter == envelope.meter)
        except Exception:  # noqa: BLE001  refused, as in the run that wrote the dead letter
            return False

    def _check_source(self, event: Event, event_ms: int) -> None:
        source = event.source or ""
        if not self._catalog.takes_source(event.tenant_id, source, event_ms):
            what = f"source {shown(source)}" if source else "events without a source"
            detail = f"tenant {shown(event.tenant_id)} does not take {what}."
            raise Rejected(Reason.SOURCE_NOT_ALLOWED, detail)

    def _check_lateness(self, event_ms: int, arrival_ms: int) -> None:
        late_ms = arrival_ms - event_ms
        policy = self._policy
        if late_ms > policy.grace_ms and arrival_ms >= policy.late_until_ms:
            detail = f"arrived {late_ms} ms after its event time; the limit (grace) is {policy.grace_ms} ms."
            raise Rejected(Reason.TOO_LATE, detail)
        if -late_ms > policy.future_tolerance_ms:
            detail = f"its event time is {-late_ms} ms after its arrival; the limit is {policy.future_tolerance_ms} ms."
            raise Rejected(Reason.IN_FUTURE, detail)

    def _report_partial(self, batch: DecodedBatch, row: int, refusals: Refusals, read: Read) -> None:
        # Not where the event is outside the scope, or its customer has no period.
        if batch.measurements[row] is not None:
            batch.rejects[row] = self._dead_letters.partial(read, refusals)

    def _refuse(self, batch: DecodedBatch, row: int, error: Exception, envelope: Envelope | None, read: Read) -> None:
        """Make a row a whole dead letter, or an envelope with nothing to add: a copy."""
        batch.measurements[row] = None
        if isinstance(error, _NothingToAddError) and envelope is not None and read.event is not None:
            batch.keys[row] = declined_key(envelope.meter, key_of(read.event))
            return
        batch.keys[row] = None
        batch.rejects[row] = self._dead_letters.whole(read, error, None if envelope is None else envelope.meter)


def _check_pair(pair: Pair) -> None:
    checked_id("tenant_id", pair[0])
    checked_id("customer_id", pair[1])


def _envelopes(raws: Sequence[bytes | None], partitions: Sequence[int]) -> dict[int, Envelope]:
    """Envelopes by row; the redrive topic alone has any."""
    if not partitions or min(partitions) >= 0:
        return {}
    found = ((row, unwrap(raw)) for row, (raw, p) in enumerate(zip(raws, partitions, strict=True)) if p < 0)
    return {row: envelope for row, envelope in found if envelope is not None}


def _alone(meters: Sequence[Meter], name: str, event_type: str) -> Sequence[Meter]:
    found = [meter for meter in meters if meter.meter == name]
    if not found:
        raise Rejected(Reason.UNKNOWN_EVENT_TYPE, f"meter {name} does not take event type {shown(event_type)}.")
    return found


def _measured(event: Event, meters: Sequence[Meter], event_ms: int, raw: bytes, refusals: Refusals) -> _Measured:
    """What the event adds to the meters that take it; those that do not are added to `refusals`, with the cause."""
    # Read even where no meter does: a bad quantity is a bad event.
    quantity = quantity_of(event)
    void = isinstance(event.voids, str)
    tenant, customer = event.tenant_id, event.customer_id
    texts = []
    for meter in meters:
        try:
            if meter.is_plain and not void:
                # Nearly all there is to do: the same as below, at half the cost.
                amount = amount_of(event, meter, quantity)
                dims = dims_of(event, meter) if meter.group_by else ""
                texts.append(pack_plain(amount, tenant, customer, meter.meter, dims, "", PLACEHOLDER))
            else:
                added = measure(event, meter, event_ms, void, raw)
                texts += [unstamped(tenant, customer, meter.meter, *measurement) for measurement in added]
        except Exception as error:  # noqa: BLE001  no meter may stop the others
            refusals.append((meter.meter, error))
    if refusals and not texts:
        raise RefusedByAllError(refusals)
    return texts or [unstamped(tenant, customer, UNMEASURED, *unmeasured(void))]


def _accept(
    batch: DecodedBatch, row: int, event: Event, envelope: Envelope | None, stamp: str, measured: _Measured
) -> None:
    """Fill a row, both columns or none."""
    batch.keys[row] = _key(event, envelope)
    batch.measurements[row] = stamped(measured, stamp)


def _key(event: Event, envelope: Envelope | None) -> bytes:
    key = key_of(event)
    return key if envelope is None else part_key(envelope.meter, key)


def key_of(event: Event) -> bytes:
    """The dedupe key of an event. All voids of one event have the same, whatever their own ids; it is no event's."""
    tenant, source = event.tenant_id, event.source or ""
    if isinstance(event.voids, str):
        return void_key(tenant, event.voids, source)
    # As `dedupe_key` does, without a call: each event has one.
    text = f"{len(tenant)}:{tenant}{len(source)}:{source}{event.event_id}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def dedupe_key(tenant_id: str, event_id: str, source: str = "") -> bytes:
    """16-byte hash of tenant, source and event id; the lengths in front keep ("a", "bc") and ("ab", "c") apart."""
    text = f"{len(tenant_id)}:{tenant_id}{len(source)}:{source}{event_id}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def void_key(tenant_id: str, voided_id: str, source: str = "") -> bytes:
    """16-byte hash for the voids of one event; the text of an event's own key begins with a digit."""
    text = f"void {len(tenant_id)}:{tenant_id}{len(source)}:{source}{voided_id}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()
