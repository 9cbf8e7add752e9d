"""What happened to one event: every record with its id, which one was counted, and what it adds to which meter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

import psycopg
from psycopg import sql

from tidemark.archive import reader as archive
from tidemark.billing import periods
from tidemark.billing.delta_index import MOMENT
from tidemark.billing.events import event_of, may_hold, source_partition, texts_of
from tidemark.billing.lines import PeriodKey
from tidemark.billing.watermark import Offsets, committed
from tidemark.core.kafka import Record, dump, offsets_at, read_ranges
from tidemark.core.policy import policy_of
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from tidemark.dead_letters.records import parsed
from udfs.decode.decoder import Decoder
from udfs.events.dead_letter import from_json
from udfs.events.envelope import unwrap
from udfs.events.parse import Event as Parsed
from udfs.meters.packing import unpack
from udfs.values import epoch_ms, instant

Outcome = Literal["counted", "copy", "rejected", "waiting"]
# Records between two progress messages of a scan.
_REPORT_EVERY = 500_000

_CLOSED = """
SELECT s.closed_at, s.corrections
FROM {schema}.period_status s
WHERE s.tenant_id = %s AND s.customer_id = %s AND s.period_start = %s AND s.is_current
ORDER BY s.closed_at DESC
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """A dead letter: the reason, a description, and the meter if only one rejected it ('': all)."""

    reason: str
    detail: str
    meter: str = ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a record adds to a meter; if the period is closed, since when and with how many corrections."""

    key: PeriodKey
    meter: str
    dims: str
    part: str
    samples: int
    amount: Decimal
    closed_at: datetime | None = None
    corrections: int = 0


@dataclass(slots=True)
class Hit:
    """A record that carries the id, or takes the event of it back.

    Parameters
    ----------
    topic, partition, offset, arrival_ms, archived:
        Where and when it arrived, UTC epoch ms; whether only the archive still has it.
    event:
        None if it cannot be read.
    outcome:
        What happened to it.
    refused:
        Its dead letters.
    contributions:
        What it adds by the catalog of today; nothing for copies and dead letters.
    """

    topic: str
    partition: int
    offset: int
    arrival_ms: int
    archived: bool
    event: Parsed | None
    value: bytes = b""
    outcome: Outcome = "waiting"
    refused: list[Refused] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition, offset."""
        return self.topic, self.partition, self.offset

    @property
    def meter(self) -> str:
        """The one meter that it is for: a partial dead letter that was redriven; '' for all."""
        envelope = unwrap(self.value)
        return "" if envelope is None else envelope.meter

    @property
    def order(self) -> tuple[int, str, int, int]:
        """Order of arrival: the first copy counts."""
        return self.arrival_ms, *self.place


@dataclass(frozen=True, slots=True)
class Traced:
    """One event, identified by tenant, source and id: its records, and the records that take it back."""

    event_id: str
    tenant: str
    source: str
    hits: Sequence[Hit]
    voids: Sequence[Hit]

    def count(self, outcome: Outcome) -> int:
        """How many of its records have this outcome."""
        return sum(hit.outcome == outcome for hit in self.hits)

    @property
    def counted(self) -> Hit | None:
        """The record that was counted."""
        return next((hit for hit in self.hits if hit.outcome == "counted"), None)

    @property
    def voided_by(self) -> Hit | None:
        """The void that took it back."""
        return next((hit for hit in self.voids if hit.outcome == "counted"), None)

    @property
    def summary(self) -> str:
        """Whether it was billed, and how often it arrived, in a sentence or two."""
        return " ".join(_sentences(self))


def trace(
    settings: Settings, event_id: str, *, tenant: str | None = None, since: datetime | None = None,
    until: datetime | None = None, progress: Callable[[str], None] = lambda _: None,
) -> list[Traced]:  # fmt: skip
    """Find all records with an id, and their outcomes.

    1. Read both topics, and the archive where Kafka starts later, for records that arrived in [since, until).
    2. Read the dead letters of these records.
    3. Of the others that `meter` has read, the first of each event was counted; the rest are copies.
    4. Decode the counted records with the catalog of today, and read the state of their periods from the ledger.

    Parameters
    ----------
    settings, event_id:
        Which run, which id; ids are compared code point by code point.
    tenant:
        Only events of this tenant.
    since, until:
        Arrivals; None: no bound.
    progress:
        Called with text for people.

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer.
    """
    # Step 1
    hits = [hit for hit in _hits(settings, event_id, since, until, progress) if tenant in {None, _tenant(hit)}]
    if not hits:
        return []
    # Step 2
    progress("reading the dead letters …")
    refusals = _dead_letters(settings, hits)
    # Step 3
    record_outcomes(hits, refusals, committed(settings))
    # Step 4
    counted = [hit for hit in hits if hit.outcome == "counted"]
    with connect(settings.postgres.ops) as connection:
        _measure(connection, settings, counted)
    return grouped(event_id, hits)


def record_outcomes(
    hits: Sequence[Hit], refusals: Mapping[tuple[str, int, int], Sequence[Refused]], done: Offsets
) -> None:
    """Set the outcome of each record; `done` is the next offset that `meter` reads, by topic and partition."""
    taken: set[tuple[str, str, str, bool, str]] = set()
    for hit in sorted(hits, key=lambda hit: hit.order):
        hit.refused = list(refusals.get(hit.place, ()))
        whole = hit.event is None or any(not refused.meter for refused in hit.refused)
        if hit.offset >= done.get(hit.topic, {}).get(hit.partition, 0) and not hit.refused:
            hit.outcome = "waiting"
        elif whole:
            hit.outcome = "rejected"
        elif (identity := _identity(hit)) in taken:
            hit.outcome = "copy"
        else:
            taken.add(identity)
            hit.outcome = "counted"


def grouped(event_id: str, hits: Iterable[Hit]) -> list[Traced]:
    """Records by event, apart from records that take it back; unreadable records have no known tenant."""
    events: dict[tuple[str, str], tuple[list[Hit], list[Hit]]] = {}
    for hit in sorted(hits, key=lambda hit: hit.order):
        event = hit.event
        records = events.setdefault((_tenant(hit) or "", (event and event.source) or ""), ([], []))
        takes_back = event is not None and event.event_id != event_id
        records[takes_back].append(hit)
    return [Traced(event_id, *owner, *records) for owner, records in sorted(events.items())]


def _hits(
    settings: Settings, event_id: str, since: datetime | None, until: datetime | None, progress: Callable[[str], None]
) -> Iterator[Hit]:
    names = texts_of(event_id)
    for topic in (settings.topics.events, settings.topics.redrive):
        progress(f"reading {topic} …")
        for record, archived in _records(settings, topic, since, until, progress):
            if not may_hold(record.value, names):
                continue
            event = event_of(settings, record)
            if event is None:
                matches = any(b'"' + name + b'"' in (record.value or b"") for name in names)
            else:
                matches = event_id in {event.event_id, event.voids}
            if matches:
                place = topic, record.partition, record.offset, record.timestamp_ms
                yield Hit(*place, archived, event, record.value or b"")


def _records(
    settings: Settings, topic: str, since: datetime | None, until: datetime | None, progress: Callable[[str], None]
) -> Iterator[tuple[Record, bool]]:
    """Records that arrived in the bounds, and whether they come from the archive because Kafka no longer has them."""
    earliest, starts = offsets_at(settings.kafka, topic, None), offsets_at(settings.kafka, topic, since)
    ends = offsets_at(settings.kafka, topic, until or periods.FOREVER)
    if settings.archive.dir and any(earliest.values()):
        since_ms, until_ms = (None if at is None else epoch_ms(at) for at in (since, until))
        for record in archive.records(settings, topic, since_ms=since_ms, until_ms=until_ms):
            if record.offset < earliest.get(record.partition, 0):
                yield record, True
    ranges = {part: [(start, ends.get(part, start))] for part, start in starts.items()}
    for number, record in enumerate(read_ranges(settings.kafka, topic, ranges), 1):
        yield record, False
        if number % _REPORT_EVERY == 0:
            progress(f"read {number:,} records of {topic}")


def _dead_letters(settings: Settings, hits: Sequence[Hit]) -> dict[tuple[str, int, int], list[Refused]]:
    """Dead letters of these records, whole and partial ones."""
    places = {hit.place for hit in hits}
    wanted = {str(hit.offset).encode() for hit in hits}
    refusals: dict[tuple[str, int, int], list[Refused]] = {}
    for record in dump(settings.kafka, settings.names.dlq):
        if record.value is None or not any(offset in record.value for offset in wanted):
            continue
        dead_letter = parsed(record)
        if dead_letter is None:
            continue
        place = dead_letter["topic"], dead_letter["partition"], dead_letter["offset"]
        if place in places:
            meter = dead_letter.get("meter") if dead_letter.get("partial") else None
            refused = Refused(dead_letter["reason"], dead_letter["detail"], meter or "")
            refusals.setdefault(place, []).append(refused)
    return refusals


def _measure(connection: psycopg.Connection, settings: Settings, hits: Sequence[Hit]) -> None:
    """Fill in what the counted records add, by the catalog of today."""
    decoder = Decoder(periods.catalog_of(settings), policy_of(settings))
    batch = decoder.decode_batch(
        [hit.value for hit in hits], [hit.arrival_ms for hit in hits],
        [source_partition(settings, hit.topic, hit.partition) for hit in hits], [hit.offset for hit in hits],
    )  # fmt: skip
    for hit, key, text, reject in zip(hits, batch.keys, batch.measurements, batch.rejects, strict=True):
        # Partial dead letters of a counted record are in the topic already.
        if key is None and reject is not None and (dead_letter := from_json(reject)) is not None:
            hit.refused.append(Refused(dead_letter.reason, f"by the catalog of today: {dead_letter.detail}"))
        if hit.meter and key is not None and text is None:
            # Its meter has the event itself in this run.
            hit.outcome = "copy"
        # The catalog of today may take what it refused then.
        refusing = {refused.meter for refused in hit.refused}
        for row in unpack(text) if text else ():
            if row.part == MOMENT or row.meter in refusing:
                continue
            start, end = instant(row.period_start_ms), instant(row.period_end_ms)
            period = PeriodKey(row.tenant, row.customer, start, end)
            closed = _closed(connection, settings, period)
            hit.contributions.append(
                Contribution(period, row.meter, row.dims, row.part, row.samples, Decimal(row.amount), *closed)
            )


def _closed(connection: psycopg.Connection, settings: Settings, key: PeriodKey) -> tuple[datetime | None, int]:
    statement = sql.SQL(_CLOSED).format(schema=sql.Identifier(settings.names.billing_schema))
    row = connection.execute(statement, [key.tenant_id, key.customer_id, key.start]).fetchone()
    return (row[0], row[1]) if row else (None, 0)


def _tenant(hit: Hit) -> str | None:
    if hit.event is not None:
        return hit.event.tenant_id
    with suppress(ValueError, AttributeError):
        tenant = json.loads(hit.value).get("tenant_id")
        return tenant if isinstance(tenant, str) else None
    return None


def _identity(hit: Hit) -> tuple[str, str, str, bool, str]:
    """Identity of an event: all voids of one event are the same, an event redriven for one meter is another."""
    event = hit.event
    if event is None:
        return "", "", "", False, ""
    takes_back = isinstance(event.voids, str)
    event_id = (event.voids if takes_back else event.event_id) or ""
    return event.tenant_id, event.source or "", event_id, takes_back, hit.meter


def _sentences(traced: Traced) -> Iterator[str]:
    name, copies, rejected = _name(traced), traced.count("copy"), traced.count("rejected")
    waiting = traced.count("waiting")
    if traced.counted is not None:
        yield f"{name} was counted once."
        if copies:
            yield f"{_times(copies, 'copy of it was', 'copies of it were')} dropped."
    elif rejected:
        reasons = sorted({refused.reason for hit in traced.hits for refused in hit.refused}) or ["not read"]
        dead_letters = _times(rejected, "record is a dead letter", "records are dead letters")
        yield f"{name} was not counted: {dead_letters} ({', '.join(reasons)})."
    elif not waiting:
        yield f"{name} did not arrive."
    if traced.counted is not None and rejected:
        yield f"{_times(rejected, 'record', 'records')} of it became a dead letter."
    if waiting:
        yield f"{_times(waiting, 'record is', 'records are')} not read by `meter` yet."
    redriven = {hit.meter for hit in traced.hits if hit.meter and hit.outcome == "counted"}
    refusing = {refused.meter for hit in traced.hits for refused in hit.refused if refused.meter}
    if refusing - redriven:
        yield f"Rejected by {', '.join(sorted(refusing - redriven))} only."
    if redriven:
        yield f"Rejected at first, redriven and counted by {', '.join(sorted(redriven))}."
    if traced.voided_by is not None and traced.voided_by.event is not None:
        yield f"It was taken back by {traced.voided_by.event.event_id}."


def _name(traced: Traced) -> str:
    source = f" from {traced.source}" if traced.source else ""
    return f"{traced.event_id} of {traced.tenant or 'an unknown tenant'}{source}"


def _times(count: int, single: str, plural: str) -> str:
    return f"{count:,} {single if count == 1 else plural}"
