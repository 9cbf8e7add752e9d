"""The whole of metering without an engine: what a list of events comes to, decided and added up as the jobs do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from msgspec import UNSET

from tidemark.dry_run.fold import Fold
from tidemark.dry_run.values import MeterBook
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CatalogSource
from udfs.decode.decoder import DecodePolicy, Decoder, dedupe_key
from udfs.events.dead_letter import unpack_records
from udfs.events.fields import Event
from udfs.events.parse import parse
from udfs.meters.meter import ADDITIVE, UNMEASURED
from udfs.meters.packing import Packed, unpack

# A file of events is decoded by one catalog: it is never looked at again, and no customer is forgotten.
_NEVER_S = float("inf")
_ALL_CUSTOMERS = 2**31


@dataclass(frozen=True, slots=True)
class Rejection:
    """One dead letter: offset, code and detail; the meter that refused the event; whether others counted it."""

    offset: int
    reason: str
    detail: str
    meter: str | None = None
    partial: bool = False


@dataclass(slots=True)
class Counts:
    """Where the events went: read = counted + duplicates + rejected whole; `unmeasured` are counted ones."""

    read: int = 0
    counted: int = 0
    duplicates: int = 0
    unmeasured: int = 0


Unmatched = Literal["void_of_a_void", "no_original", "other_values"]


@dataclass(frozen=True, slots=True, order=True)
class UnmatchedVoid:
    """A counted void that does not fit an event; it subtracts what it says all the same.

    Parameters
    ----------
    voids:
        The id it names.
    tenant, customer, event_id:
        Whose it is, and its own id.
    why:
        It names a void, an event that is not counted, or one that has other values.
    """

    voids: str
    tenant: str
    customer: str
    event_id: str
    why: Unmatched


@dataclass(frozen=True, slots=True)
class VoidReport:
    """What the counted voids took back: how many there are, and those that do not fit an event, by the id they name."""

    applied: int
    unmatched: tuple[UnmatchedVoid, ...] = ()

    @property
    def without_original(self) -> tuple[str, ...]:
        """Ids named by voids that take back no counted event."""
        return tuple(one.voids for one in self.unmatched if one.why != "other_values")

    @property
    def with_other_values(self) -> tuple[str, ...]:
        """Ids named by voids that subtract something else than the event added."""
        return tuple(one.voids for one in self.unmatched if one.why == "other_values")


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
        The catalog, all of whose versions are used from the first event on.
    policy:
        As for the jobs.
    """

    def __init__(self, source: CatalogSource, policy: DecodePolicy) -> None:
        self.catalog = Catalog(source, _NEVER_S, _ALL_CUSTOMERS)
        self.meters = MeterBook(source.snapshot().meters)
        self.fold = Fold()
        self.counts = Counts()
        self.rejections: list[Rejection] = []
        self._policy = policy
        self._decoder = Decoder(self.catalog, policy)
        # Measurements of every counted event by its dedupe key.
        self._counted: dict[bytes, str] = {}
        self._voids: list[_Void] = []
        # What the ids of voids would be as keys of events.
        self._void_ids: set[bytes] = set()

    def feed(
        self,
        raws: Sequence[bytes | None],
        arrivals_ms: Sequence[int] | None,
        partitions: Sequence[int],
        offsets: Sequence[int],
    ) -> None:
        """Count a batch of events; columns as for `udfs.decode.decoder.Decoder.decode_batch`.

        1. Decode and measure; note what is rejected.
        2. Of events with one dedupe key keep the first.
        3. Add their measurements up.
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
        # An escape may hide the name; anything else is not worth a second look.
        if raw is None or (b'"voids"' not in raw and b"\\u00" not in raw):
            return
        # Whether it has a time of its own was decided before: any arrival will do.
        event = parse(raw, self._policy.default_tenant, 0)
        if event.voids is not UNSET and event.voids is not None:
            original = dedupe_key(event.tenant_id, event.voids, event.source or "")
            own = dedupe_key(event.tenant_id, event.event_id, event.source or "")
            # Copies may have ids of their own. One that names itself is no void of another.
            if own != original:
                self._void_ids.add(own)
            if first:
                self._voids.append(_Void(event, original, text))

    def rejected(self) -> dict[str, int]:
        """Events that are not counted, by reason."""
        return self._by_reason(partial=False)

    def partly_rejected(self) -> dict[str, int]:
        """What single meters refused of counted events, by reason."""
        return self._by_reason(partial=True)

    def _by_reason(self, *, partial: bool) -> dict[str, int]:
        reasons = Counter(one.reason for one in self.rejections if one.partial == partial)
        return dict(sorted(reasons.items()))

    def voids(self) -> VoidReport:
        """How the counted voids compare with what they take back; those that do not fit are sorted."""
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
        """What can be taken back of an event's measurements; `sign` -1 turns those of a void round."""
        return Counter(
            (
                (one.meter, one.tenant, one.customer, one.dims, one.part),
                (one.minute_ms, one.day, one.period_start_ms),
                sign * one.samples,
                # Unary minus would round; a sign does not matter to zero.
                Decimal(one.amount) if sign == 1 else Decimal(one.amount).copy_negate(),
            )
            for one in unpack(text)
            if self.meters.aggregation(one.tenant, one.meter) in ADDITIVE
        )


def _rejections(text: str | None) -> Iterator[Rejection]:
    for record in () if text is None else unpack_records(text):
        yield Rejection(record.offset, record.reason, record.detail, record.meter, record.partial)
