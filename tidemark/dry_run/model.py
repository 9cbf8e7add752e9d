"""Metering as a whole without an engine: classifies and adds up a list of events as the jobs do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import UNSET

from tidemark.dry_run.fold import Fold
from tidemark.dry_run.values import MeterRegistry
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CatalogSource
from udfs.decode.decoder import DecodePolicy, Decoder, dedupe_key
from udfs.events.dead_letter import unpack_records
from udfs.events.fields import Event
from udfs.events.parse import parse
from udfs.meters.meter import ADDITIVE, UNMEASURED
from udfs.meters.packing import Packed, unpack

# A file of events is decoded with a single catalog: it is never refreshed, and no customer is evicted.
_NEVER_S = float("inf")
_ALL_CUSTOMERS = 2**31


@dataclass(frozen=True, slots=True)
class Rejection:
    """A dead letter: offset, code and detail; the meter that refused the event; whether other meters counted it."""

    offset: int
    reason: str
    detail: str
    meter: str | None = None
    partial: bool = False


@dataclass(slots=True)
class Counts:
    """Numbers of events: read = counted + duplicates + rejected whole; `unmeasured` is part of `counted`."""

    read: int = 0
    counted: int = 0
    duplicates: int = 0
    unmeasured: int = 0


Unmatched = Literal["void_of_a_void", "no_original", "other_values"]


@dataclass(frozen=True, slots=True, order=True)
class UnmatchedVoid:
    """A counted void that does not match an event; its values are subtracted all the same.

    Parameters
    ----------
    voids:
        The id it names.
    tenant, customer, event_id:
        Its owner, and its own id.
    why:
        It names a void, an event that is not counted, or an event with other values.
    """

    voids: str
    tenant: str
    customer: str
    event_id: str
    why: Unmatched


@dataclass(frozen=True, slots=True)
class VoidReport:
    """The counted voids: their number, and those that do not match an event, by the id that they name."""

    applied: int
    unmatched: tuple[UnmatchedVoid, ...] = ()

    @property
    def without_original(self) -> tuple[str, ...]:
        """Ids named by voids that take back no counted event."""
        return tuple(void.voids for void in self.unmatched if void.why != "other_values")

    @property
    def with_other_values(self) -> tuple[str, ...]:
        """Ids named by voids whose values differ from those of the event."""
        return tuple(void.voids for void in self.unmatched if void.why == "other_values")


@dataclass(frozen=True, slots=True)
class _Void:
    """A counted void, the dedupe key of the event it names, and its own measurements."""

    event: Event
    original: bytes
    measurements: str


class Model:
    """Events in, usage out; holds everything in memory.

    Parameters
    ----------
    source:
        The catalog; all its versions are used from the first event on.
    policy:
        As for the jobs.
    """

    def __init__(self, source: CatalogSource, policy: DecodePolicy) -> None:
        self.catalog = Catalog(source, _NEVER_S, _ALL_CUSTOMERS)
        self.meters = MeterRegistry(source.snapshot().meters)
        self.fold = Fold()
        self.counts = Counts()
        self.rejections: list[Rejection] = []
        self._policy = policy
        self._decoder = Decoder(self.catalog, policy)
        # Measurements of every counted event by its dedupe key.
        self._counted: dict[bytes, str] = {}
        self._voids: list[_Void] = []
        # Ids of voids as dedupe keys of events.
        self._void_ids: set[bytes] = set()

    def feed(
        self,
        raws: Sequence[bytes | None],
        arrivals_ms: Sequence[int] | None,
        partitions: Sequence[int],
        offsets: Sequence[int],
    ) -> None:
        """Count a batch of events; columns as for `udfs.decode.decoder.Decoder.decode_batch`.

        1. Decode and measure; keep the rejections.
        2. Of events with the same dedupe key, keep the first.
        3. Add up their measurements.
        """
        # Step 1
        batch = self._decoder.decode_batch(raws, arrivals_ms, partitions, offsets)
        self.counts.read += len(raws)
        # Step 2
        rows = zip(batch.keys, batch.measurements, batch.rejects, strict=True)
        for row, (key, text, rejects) in enumerate(rows):
            if key is None:
                self.rejections += _rejections(rejects)
            if key is None or text is None:
                continue
            self._note_void(raws[row], text, first=key not in self._counted)
            if key in self._counted:
                self.counts.duplicates += 1
                continue
            self._counted[key] = text
            self.rejections += _rejections(rejects)
            # Step 3
            self._count(unpack(text))

    def _count(self, measurements: list[Packed]) -> None:
        self.counts.counted += 1
        self.counts.unmeasured += measurements[0].meter == UNMEASURED
        self.fold.add(measurements)

    def _note_void(self, raw: bytes | None, text: str, *, first: bool) -> None:
        # An escape may hide the name; all other events need not be parsed again.
        if raw is None or (b'"voids"' not in raw and b"\\u00" not in raw):
            return
        # The arrival does not matter here: the decoder has checked the time of the event.
        event = parse(raw, self._policy.default_tenant, 0)
        if event.voids is not UNSET and event.voids is not None:
            original = dedupe_key(event.tenant_id, event.voids, event.source or "")
            own = dedupe_key(event.tenant_id, event.event_id, event.source or "")
            # Copies may have ids of their own. A void that names itself is not a void of another event.
            if own != original:
                self._void_ids.add(own)
            if first:
                self._voids.append(_Void(event, original, text))

    def rejected(self) -> dict[str, int]:
        """Events that are not counted, by reason."""
        return self._by_reason(partial=False)

    def partly_rejected(self) -> dict[str, int]:
        """Refusals of single meters for counted events, by reason."""
        return self._by_reason(partial=True)

    def _by_reason(self, *, partial: bool) -> dict[str, int]:
        reasons = Counter(rejection.reason for rejection in self.rejections if rejection.partial == partial)
        return dict(sorted(reasons.items()))

    def voids(self) -> VoidReport:
        """The counted voids compared with the events that they take back; the unmatched ones are sorted."""
        unmatched = []
        for void in self._voids:
            if (why := self._unmatched(void)) is not None:
                event = void.event
                unmatched.append(
                    UnmatchedVoid(str(event.voids), event.tenant_id, event.customer_id, event.event_id, why)
                )
        return VoidReport(len(self._voids), tuple(sorted(unmatched)))

    def _unmatched(self, void: _Void) -> Unmatched | None:
        original = self._counted.get(void.original)
        if original is None:
            return "void_of_a_void" if void.original in self._void_ids else "no_original"
        return None if self._effect(original, 1) == self._effect(void.measurements, -1) else "other_values"

    def _effect(self, text: str, sign: int) -> Counter[tuple[object, ...]]:
        """The additive measurements of an event; `sign` -1 inverts those of a void."""
        return Counter(
            (
                (m.meter, m.tenant, m.customer, m.dims, m.part),
                (m.minute_ms, m.day, m.period_start_ms),
                sign * m.samples,
                # Unary minus would round; zeros are equal whatever their sign.
                Decimal(m.amount) if sign == 1 else Decimal(m.amount).copy_negate(),
            )
            for m in unpack(text)
            if self.meters.aggregation(m.tenant, m.meter) in ADDITIVE
        )


def _rejections(text: str | None) -> Iterator[Rejection]:
    for record in () if text is None else unpack_records(text):
        yield Rejection(record.offset, record.reason, record.detail, record.meter, record.partial)
