"""Writes dead-letter records: of events that nobody counted, and of what single meters refused of others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from udfs.calendars.calendar import NoPeriodError
from udfs.events.dead_letter import DlqRecord, Refusal, arrival_text, pack_partial, to_json
from udfs.events.parse import Event, checked_id
from udfs.events.reasons import Reason, Rejected, shown

log = logging.getLogger(__name__)

# Longest value that goes into a dead letter: in base64, with ids and details, it fits the 3 MiB of a record. A longer
# one stays where it is; the record says where.
MAX_RAW_BYTES = 2 * 1_024 * 1_024
# Meters that a detail names.
_METERS_NAMED = 5

# Meters that refused an event, by name, each with the cause.
Refusals = list[tuple[str, Exception]]


class RefusedByAllError(Exception):
    """No meter takes the event, for these causes; at least one."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__(refusals)
        self.refusals = refusals


class Read(NamedTuple):
    """A record as it was read, and the event if it is one; partitions below 0 are of the redrive topic."""

    value: bytes | None
    partition: int
    offset: int
    arrival_ms: int | None
    event: Event | None


class DeadLetterWriter:
    """Makes the records of one job; `topic` and `redrive_topic` are what partitions from 0 on, and below 0, are of."""

    def __init__(self, topic: str, redrive_topic: str) -> None:
        self._topic, self._redrive_topic = topic, redrive_topic
        # Failures of our own in this batch, each logged once: a broken calendar fails all events of its customers.
        self._logged: set[str] = set()
        # Records made in this batch, by reason.
        self.reasons: Counter[str] = Counter()

    def begin_batch(self) -> None:
        """Log failures again that were logged in the last batch, and count from 0."""
        self._logged.clear()
        self.reasons.clear()

    def whole(self, read: Read, error: Exception, meter: str | None = None) -> str:
        """The record of an event that is not counted at all; `meter` is the one it was meant for alone."""
        ids: Mapping[str, str] = {}
        if isinstance(error, RefusedByAllError):
            refusals = [self._refusal(name, cause, read) for name, cause in error.refusals]
            first = refusals[0]
            reason, detail, meter = first.reason, _detail(refusals), first.meter
        else:
            rejection = self._rejection(error, read)
            reason, detail, ids = rejection.reason, rejection.detail, rejection.ids
        self.reasons[reason] += 1
        return to_json(msgspec.structs.replace(self._record(read, ids), reason=reason, detail=detail, meter=meter))

    def partial(self, read: Read, refusals: Refusals) -> str:
        """The records of an event that other meters count, as `udfs.events.dead_letter.pack_partial` has them."""
        refused = [self._refusal(meter, error, read) for meter, error in refusals]
        self.reasons.update(one.reason for one in refused)
        return pack_partial(self._record(read, {}), refused)

    def _refusal(self, meter: str, error: Exception, read: Read) -> Refusal:
        rejection = self._rejection(error, read)
        return Refusal(meter, rejection.reason, rejection.detail)

    def _record(self, read: Read, ids_read: Mapping[str, str]) -> DlqRecord:
        """A record without a reason."""
        ids = _ids(read.event, ids_read)
        topic, partition = self._source(read.partition)
        return DlqRecord(
            reason="",
            detail="",
            raw=read.value if read.value is None or len(read.value) <= MAX_RAW_BYTES else None,
            topic=topic,
            partition=partition,
            offset=read.offset,
            arrival=None if read.arrival_ms is None else arrival_text(read.arrival_ms),
            tenant_id=ids.get("tenant_id"),
            customer_id=ids.get("customer_id"),
            event_id=ids.get("event_id"),
        )

    def _source(self, partition: int) -> tuple[str, int]:
        return (self._topic, partition) if partition >= 0 else (self._redrive_topic, -1 - partition)

    def _rejection(self, error: Exception, read: Read) -> Rejected:
        if isinstance(error, Rejected):
            return error
        if isinstance(error, NoPeriodError):
            return Rejected(Reason.NO_PERIOD, shown(str(error)))
        detail = f"{type(error).__name__}: {shown(str(error))}"
        if detail not in self._logged:
            self._logged.add(detail)
            place = *self._source(read.partition), read.offset
            log.error("%s partition %d offset %d could not be decoded", *place, exc_info=error)
        return Rejected(Reason.INTERNAL_ERROR, detail)


def _detail(refusals: Sequence[Refusal]) -> str:
    """The detail of the first; where several meters refused the event, with their names."""
    if len(refusals) == 1:
        return refusals[0].detail
    names = ", ".join(one.meter for one in refusals[:_METERS_NAMED])
    more = f" and {len(refusals) - _METERS_NAMED} more" if len(refusals) > _METERS_NAMED else ""
    return f"{refusals[0].detail} Refused by the meters {names}{more}."


def _ids(event: Event | None, read: Mapping[str, str]) -> Mapping[str, str]:
    """Ids for the dead-letter record, as far as they could be read and are valid: others may not even be storable."""
    if event is not None:
        read = {"tenant_id": event.tenant_id, "customer_id": event.customer_id, "event_id": event.event_id}
    return {name: value for name, value in read.items() if _is_id(name, value)}


def _is_id(name: str, value: str) -> bool:
    try:
        checked_id(name, value)
    except (Rejected, UnicodeEncodeError):
        return False
    return not any("\ud800" <= c <= "\udfff" for c in value)
