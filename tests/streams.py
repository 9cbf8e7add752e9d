"""A seeded stream of usage events for tests: every aggregation, voids, duplicates, disorder, late and bad events.

Every record carries what it must become, known by construction: a second check beside the oracle.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.stream_catalog import CATALOG, CUSTOMERS, HISTORY, RETAIL_CUSTOMER, RETAIL_MS
from tests.stream_events import OWN_FIELDS, PLAIN_TYPES, SOURCES, TYPES, Made, Raw, details, timestamp, written
from tests.stream_faults import BAD, BIG_BAD, DAY_MS, FUTURE_TOLERANCE_MS, GRACE_MS, Bad
from tests.stream_records import Expected, StreamRecord, expected_of

__all__ = [
    "BEGIN_MS", "CATALOG", "CUSTOMERS", "FUTURE_TOLERANCE_MS", "GRACE_MS", "HISTORY", "SPAN_MS", "Expected",
    "StreamRecord", "expected_of", "generate",
]  # fmt: skip

# 40 days from here hold both spring changes of the clock (10 and 31 March), a leap day behind them and two month ends.
BEGIN_MS = int(datetime(2024, 2, 27, tzinfo=UTC).timestamp() * 1000)
SPAN_MS = 40 * DAY_MS
SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000

BAD_SHARE = 0.03
COPY_SHARE = 0.03
VOID_SHARE = 0.03
# Records a void is sent as, on average; a few more or less do not matter.
RECORDS_PER_VOID = 1.7
# Values of tens of kilobytes: enough of them to prove the rule, few enough to keep the stream small.
BIG_BAD_COUNT = 6
MARGIN_MS = 10 * SECOND_MS


def generate(events: int = 100_000, partitions: int = 4, seed: int = 1) -> list[StreamRecord]:
    """About `events` records in the order to send them; the same for the same arguments."""
    return _Generator(events, partitions, random.Random(seed)).run()


@dataclass(slots=True)
class _Generator:
    events: int
    partitions: int
    rng: random.Random
    # (place in time, record): copies are put in later, so the stream is ordered at the end.
    placed: list[tuple[int, StreamRecord]] = field(default_factory=list)
    made: int = 0

    def run(self) -> list[StreamRecord]:
        bad = [*BAD] * max(1, round(self.events * BAD_SHARE / len(BAD)))
        bad += [*BIG_BAD] * (BIG_BAD_COUNT // len(BIG_BAD))
        good = max(0, round(self.events * (1 - COPY_SHARE - VOID_SHARE * RECORDS_PER_VOID)) - len(bad))
        kinds: list[Bad | None] = [None] * good + bad
        self.rng.shuffle(kinds)
        for index, kind in enumerate(kinds):
            arrival_ms = BEGIN_MS + index * SPAN_MS // len(kinds)
            if kind is None:
                self._good(arrival_ms)
            else:
                self._bad(arrival_ms, kind)
        return [record for _, record in sorted(self.placed, key=lambda pair: pair[0])]

    def _good(self, arrival_ms: int) -> None:
        made = self._event(arrival_ms)
        record = self._record(made, arrival_ms)
        draw = self.rng.random()
        if record.reason is not None:
            self._place(arrival_ms, record)
        elif draw < COPY_SHARE:
            self._place(arrival_ms, record)
            self._copy(arrival_ms, made, record)
        elif draw < COPY_SHARE + VOID_SHARE:
            self._void(arrival_ms, made, record)
        elif draw > 0.98 and made.form == "ce" and made.fields["customer_id"] != RETAIL_CUSTOMER:
            # Without a time of its own an event happened when it arrived.
            fields = {name: value for name, value in made.fields.items() if name != "timestamp"}
            timeless = replace(made, fields=fields, event_ms=arrival_ms)
            self._place(arrival_ms, replace(record, value=written(timeless)))
        else:
            self._place(arrival_ms, record)

    def _copy(self, arrival_ms: int, made: Made, record: StreamRecord) -> None:
        """The same id again, from at once to hours later, early enough not to be too late."""
        later_ms = arrival_ms + round(10 ** self.rng.uniform(0, 7.5))
        if later_ms >= made.event_ms + GRACE_MS - MARGIN_MS:
            return
        draw = self.rng.random()
        if draw < 0.4:
            record = self._elsewhere(record)
        elif draw < 0.5:
            # Other content counts as a duplicate too; in the same partition, so that it is known which was first.
            customer = "walk-in" if made.tenant != "initech" else "samir"
            record = replace(record, value=written(made, customer_id=customer, resource_id="2"))
        elif draw < 0.6 and made.form == "ce":
            # The same event, sent by another client.
            record = replace(record, value=written(replace(made, form="2")))
        elif draw < 0.7 and made.form == "1":
            # To version 1 a source is an unknown field.
            record = replace(record, value=written(made, source=self.rng.choice(SOURCES)))
        self._place(later_ms, record)

    def _void(self, arrival_ms: int, made: Made, record: StreamRecord) -> None:
        """An event and what takes it back, one to three times, before and after it, some of it too late.

        All copies in different partitions have one content, so it does not matter which is counted.
        """
        rng = self.rng
        if rng.random() >= 0.05:
            self._place(arrival_ms, record)
        altered = _altered(made) if rng.random() < 0.05 else None
        made = altered or made
        *identity, _ = made.identity
        voids = made.fields["event_id"]
        void = replace(record, identity=(*identity, "void"), altered=altered is not None)
        for copy in range(rng.choice([1, 1, 2, 3])):
            # Its own id does not matter, even if it is that of the original.
            own = rng.choice([voids, f"void-{self.made}", f"void-{self.made}-{copy}"])
            sent = replace(void, value=written(made, voids=voids, event_id=own))
            sent = self._elsewhere(sent) if rng.random() < 0.4 else sent
            self._place_void(self._void_ms(arrival_ms, made.event_ms), made.event_ms, sent)

    def _void_ms(self, arrival_ms: int, event_ms: int) -> int:
        rng = self.rng
        draw = rng.random()
        if draw < 0.2:
            earliest_ms = max(BEGIN_MS, event_ms - FUTURE_TOLERANCE_MS + MARGIN_MS)
            return rng.randint(min(earliest_ms, arrival_ms), arrival_ms)
        if draw < 0.3:
            return event_ms + GRACE_MS + rng.randint(MARGIN_MS, 3 * DAY_MS)
        latest_ms = event_ms + GRACE_MS - MARGIN_MS - 1
        return min(arrival_ms + round(10 ** rng.uniform(0, 7.5)), max(latest_ms, arrival_ms))

    def _place_void(self, place_ms: int, event_ms: int, void: StreamRecord) -> None:
        if place_ms > event_ms + GRACE_MS:
            void = replace(void, reason="too_late", partial=(), identity=None, altered=False, unmeasured=False)
        self._place(place_ms, void)

    def _elsewhere(self, record: StreamRecord) -> StreamRecord:
        if self.partitions == 1:
            return record
        return replace(record, partition=(record.partition + self.rng.randrange(1, self.partitions)) % self.partitions)

    def _place(self, place_ms: int, record: StreamRecord) -> None:
        """Arrival times are out of order by up to 5 s within a partition, as CreateTime allows."""
        skewed = replace(record, timestamp_ms=place_ms + (self.rng.randint(0, 5_000) if self.rng.random() < 0.1 else 0))
        self.placed.append((place_ms, skewed))

    def _event(self, arrival_ms: int, event_ms: int | None = None) -> Made:
        """A good event; a plain one, as others are made of, when its time is given."""
        rng, plain = self.rng, event_ms is not None
        if event_ms is None:
            event_ms = arrival_ms - _delay_ms(rng)
        tenant = rng.choices(["acme", "globex", "initech"], [5, 4, 1])[0]
        customer = rng.choice([item for item in CUSTOMERS[tenant] if not plain or item != RETAIL_CUSTOMER])
        types = {item: share for item, share in TYPES.items() if item != "refund" or tenant == "acme"}
        event_type = rng.choice(PLAIN_TYPES) if plain else rng.choices([*types], [*types.values()])[0]
        if event_type == "reading":
            # Whole ten seconds: readings of one customer meet at the same instant.
            event_ms -= event_ms % MARGIN_MS
        self.made += 1
        fields: dict[str, Any] = {
            "event_id": self._event_id(tenant), "tenant_id": tenant, "customer_id": customer, "event_type": event_type,
            "timestamp": timestamp(event_ms, rng),
        }  # fmt: skip
        more, unmeasured = details(event_type, rng)
        return self._in_a_form(Made(fields | more, event_ms, unmeasured=unmeasured), plain=plain)

    def _event_id(self, tenant: str) -> str:
        """Each tenant counts its ids for itself, so equal ids of two tenants are two events."""
        return f"e-{self.made // 2}-{self.made % 2}" if tenant == "initech" else f"e-{self.made}"

    def _in_a_form(self, made: Made, *, plain: bool) -> Made:
        """Version 1, version 2 or CloudEvents; acme's two gateways count their ids each for itself."""
        rng = self.rng
        draw = rng.random()
        if plain or draw < 0.6:
            return made
        source = rng.choice(SOURCES)
        if made.tenant == "acme":
            # Two gateways, one id: so they are two events.
            event_id = f"g-{self.made // 2}"
            source = SOURCES[self.made % 2]
            made = replace(made, fields=made.fields | {"event_id": event_id})
        if draw < 0.8:
            named = made.tenant == "acme" or rng.random() < 0.8
            return replace(made, form="2", source=source if named else "")
        fields = {name: value for name, value in made.fields.items() if name not in OWN_FIELDS}
        return replace(made, fields=fields, form="ce", source=source)

    def _record(self, made: Made, arrival_ms: int) -> StreamRecord:
        customer = made.fields["customer_id"]
        key = f"{made.tenant}/{customer}".encode()
        partition = sum(key) % self.partitions
        record = StreamRecord(partition, arrival_ms, key, written(made), identity=made.identity)
        if customer == RETAIL_CUSTOMER and not RETAIL_MS[0] <= made.event_ms < RETAIL_MS[1]:
            return replace(record, reason="no_period", identity=None)
        return replace(record, unmeasured=made.unmeasured, partial=made.partial)

    def _bad(self, arrival_ms: int, kind: Bad) -> None:
        event_ms = arrival_ms + kind.shift_ms(self.rng) if kind.shift_ms else arrival_ms - 1_000
        made = self._event(arrival_ms, event_ms)
        record = self._record(made, arrival_ms)
        key = record.key if self.rng.random() < 0.8 else None
        bad = replace(record, key=key, value=kind.spoil(made.fields))
        if kind.refused_by and kind.reason is not None:
            bad = replace(bad, partial=(kind.reason,) * len(kind.refused_by))
        elif kind.reason is not None:
            bad = replace(bad, reason=kind.reason, identity=None)
        self.placed.append((arrival_ms, bad))


def _altered(made: Made) -> Made | None:
    """The same event with another value of a meter that can be taken back; None when it feeds none such."""
    fields, properties = made.fields, made.fields.get("properties", {})
    if "quantity" in fields:
        # More decimals than the original ever has.
        return replace(made, fields=fields | {"quantity": Raw("77.0078125")})
    if properties.get("latency") is not None:
        changed: dict[str, Any] = {"latency": Raw("3.00001")}
    elif (properties.get("sensor") or {}).get("celsius") is not None:
        changed = {"sensor": {"celsius": Raw("3.00001")}}
    elif "cost" in properties and not made.unmeasured:
        changed = {"cost": 3}
    else:
        return None
    return replace(made, fields=fields | {"properties": properties | changed})


def _delay_ms(rng: random.Random) -> int:
    """Arrival minus event time: mostly seconds, some hours, a few nearly all of the grace, a few clocks ahead."""
    draw = rng.random()
    if draw < 0.80:
        return rng.randint(0, MINUTE_MS)
    if draw < 0.94:
        return rng.randint(0, 6 * HOUR_MS)
    if draw < 0.98:
        return rng.randint(0, GRACE_MS - 2 * MARGIN_MS)
    return -rng.randint(0, FUTURE_TOLERANCE_MS - MARGIN_MS)
