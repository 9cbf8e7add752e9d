"""A small world of usage for tests of the ledger: its events, the rollups of them as stored, and what is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from hashlib import blake2b

import psycopg
from psycopg import sql

from tidemark.billing.lines import Line, LineKey, PeriodKey

# Enough digits for an amount times an instant in ms.
_WIDE = Context(prec=60)
DAY = timedelta(days=1)
START = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 4
TENANT = "ledger"
CUSTOMERS = ("a", "b")
UNITS = {"bytes": "B", "mean": "B", "users": "users", "storage": "GB-hours"}
AGGREGATIONS = {"bytes": "sum", "mean": "avg", "users": "unique", "storage": "weighted_sum"}
CATALOG = {
    "calendars": {
        "days": {"anchor": "2024-01-01T00:00:00", "interval": "P1D", "timezone": "Etc/UTC"},
        "one-day": {"boundaries": ["2024-03-01", "2024-03-02"], "timezone": "Etc/UTC"},
    },
    "tenants": {
        TENANT: {
            "calendar": "days",
            "customers": {**dict.fromkeys(CUSTOMERS), "old": {"calendar": "one-day"}},
            "meters": {
                name: {"event_types": ["x"], "aggregation": aggregation, "unit": UNITS[name], "value": "v"}
                for name, aggregation in AGGREGATIONS.items()
            },
        }
    },
}
_UPSERT = """
INSERT INTO {table}
    (tenant_id, customer_id, meter, dims, part, period_start, period_end, n, samples, total, lo, hi)
VALUES (%s, %s, %s, '', %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant_id, customer_id, meter, dims, part, period_start)
DO UPDATE SET n = EXCLUDED.n, samples = EXCLUDED.samples, total = EXCLUDED.total, lo = EXCLUDED.lo, hi = EXCLUDED.hi
"""


@dataclass
class Event:
    """A value at an instant, and whether it was taken back."""

    customer: str
    at: datetime
    value: Decimal
    user: int
    void: bool = False

    @property
    def start(self) -> datetime:
        """First instant of its day."""
        return self.at.replace(hour=0, minute=0, second=0, microsecond=0)


# How a version of the rollups reads the value of an event.
Rule = Callable[[Event], Decimal]


@dataclass
class World:
    """Events so far, and the rules of each version of the rollups by schema."""

    rng: random.Random
    rules: dict[str, Rule]
    events: list[Event] = field(default_factory=list)

    def happen(self, days: Iterable[int]) -> Event:
        """One more event, on one of these days."""
        at = START + self.rng.choice(list(days)) * DAY + timedelta(milliseconds=self.rng.randrange(86_400_000))
        value = Decimal(self.rng.randrange(-(10**6), 10**9)).scaleb(-self.rng.randrange(10))
        made = Event(self.rng.choice(CUSTOMERS), at, value, self.rng.randrange(4))
        self.events.append(made)
        return made

    def take_back(self) -> Event | None:
        """An event that is no more."""
        counted = [event for event in self.events if not event.void]
        if not counted:
            return None
        victim = self.rng.choice(counted)
        victim.void = True
        return victim

    def write(self, connection: psycopg.Connection, schema: str, customer: str, start: datetime) -> None:
        """The rows of a period as `rollup` keeps them: absolute, n counting voids too."""
        rule = self.rules[schema]
        mine = [event for event in self.events if event.customer == customer and event.start == start]
        rows: dict[tuple[str, str], tuple[int, int, Decimal]] = {}
        for event in mine:
            value = rule(event)
            stays = not event.void
            digest = "u" + blake2b(str(event.user).encode(), digest_size=16).hexdigest()
            moment = _WIDE.multiply(value, Decimal(_ms(event.at - datetime(1970, 1, 1, tzinfo=UTC))))
            for place, amount in (
                (("bytes", ""), value), (("mean", ""), value), (("users", digest), Decimal(1)),
                (("storage", ""), value), (("storage", "m"), moment),
            ):  # fmt: skip
                n, samples, total = rows.get(place, (0, 0, Decimal(0)))
                rows[place] = n + 1 + event.void, samples + stays, _WIDE.add(total, amount) if stays else total
        statement = sql.SQL(_UPSERT).format(table=sql.Identifier(schema, "usage_period"))
        for (meter, part), (n, samples, total) in rows.items():
            connection.execute(
                statement, [TENANT, customer, meter, part, start, start + DAY, n, samples, total, total, total]
            )

    def right(self, key: PeriodKey, schema_of: Callable[[datetime], str]) -> dict[LineKey, Line]:
        """What the period has to come to, worked out from the events; `schema_of` says which version a day has."""
        before = [event for event in self.events if event.customer == key.customer_id and event.start <= key.start]
        mine = [event for event in before if event.start == key.start]
        counted = [event for event in mine if not event.void]
        rule = self.rules[schema_of(key.start)]
        lines: dict[str, tuple[int, Fraction]] = {}
        if mine:
            total = sum((Fraction(rule(event)) for event in counted), Fraction(0))
            lines["bytes"] = len(counted), total
            if counted:
                lines["mean"] = len(counted), total / len(counted)
                lines["users"] = len(counted), Fraction(len({event.user for event in counted}))
        held = Fraction(0)
        for event in before:
            if not event.void:
                value = Fraction(self.rules[schema_of(event.start)](event))
                held += value * _ms(key.end - max(event.at, key.start))
        level = any(_level(self, before, key, schema_of))
        if mine or level:
            lines["storage"] = len(counted), held / 3_600_000
        return {
            LineKey(meter, ""): Line(AGGREGATIONS[meter], UNITS[meter], 0, samples, _rounded(value))
            for meter, (samples, value) in lines.items()
        }


def _level(world: World, before: list[Event], key: PeriodKey, schema_of: Callable[[datetime], str]) -> list[bool]:
    """Whether earlier days left a level."""
    earlier = [event for event in before if event.start < key.start and not event.void]
    return [sum(Fraction(world.rules[schema_of(event.start)](event)) for event in earlier) != 0] if earlier else []


def _ms(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)


def _rounded(value: Fraction) -> Decimal:
    # To the even one of two, as the database does.
    scaled = round(value * 10**9)
    return Decimal(scaled).scaleb(-9, _WIDE)
