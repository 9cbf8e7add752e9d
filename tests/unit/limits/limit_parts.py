"""Shared by the tests of limits: limits in memory, a catalog of them that changes, what the job keeps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import md5
from typing import Any

from udfs.alerts.event import Alert
from udfs.catalog.model import Pair
from udfs.limits.alerts import Counter
from udfs.limits.cache import LimitCache
from udfs.limits.rule import Limit, Scope
from udfs.limits.source import SharedLimits
from udfs.limits.timeline import CustomerRules, PlanVersion, Stretch
from udfs.limits.watch import LimitsUnknownError, LimitWatch
from udfs.meters.meter import FOREVER_MS

TENANT, CUSTOMER, METER = "EWR", "UA", "miles"
PAIR = (TENANT, CUSTOMER)
JAN, FEB = 1_356_998_400_000, 1_359_676_800_000
NOW_MS = 1_357_035_420_123
SCOPE_IDS: dict[Scope, str] = {"tenant": "", "plan": "gold", "customer": CUSTOMER}


def limit(cap: Any = 100, *thresholds: str, scope: Scope = "customer", **more: Any) -> Limit:
    """A limit of the one meter; without thresholds for none but the cap."""
    stated = {"scope_id": SCOPE_IDS[scope], "meter": METER, "thresholds": thresholds, **more}
    return Limit(TENANT, scope, cap=Decimal(cap), **stated)


def counter(at_ms: int = JAN, **more: Any) -> Counter:
    """The counter of the one customer and meter in January."""
    named = {"tenant": TENANT, "customer": CUSTOMER, "meter": METER, "period_start_ms": JAN, "period_end_ms": FEB}
    return Counter(**{**named, **more}, at_ms=at_ms)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Limits:
    """`LimitSource` over lists; `away` makes every call fail, `mute` look-ups alone; `asked` has the pairs of each."""

    limits: list[Limit] = field(default_factory=list)
    plans: list[PlanVersion] = field(default_factory=list)
    revision: int = 1
    away: bool = False
    mute: bool = False
    asked: list[Sequence[Pair]] = field(default_factory=list)

    def shared(self, known_revision: int) -> SharedLimits | None:
        self._answer()
        if known_revision == self.revision:
            return None
        tenants = frozenset(one.tenant_id for one in self.limits)
        return SharedLimits(self.revision, [one for one in self.limits if one.scope != "customer"], tenants)

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, CustomerRules]:
        self.asked.append(tuple(pairs))
        self._answer(look_up=True)
        rules = CustomerRules(tuple(self.plans), [one for one in self.limits if one.scope == "customer"])
        return {pair: rules for pair in pairs if pair == PAIR}

    def _answer(self, *, look_up: bool = False) -> None:
        if self.away or (look_up and self.mute):
            raise ConnectionError("away")

    def book(self, clock: Clock | None = None, **more: Any) -> LimitCache:
        return LimitCache(self, self, refresh_s=0, clock=clock or Clock(), **more)

    def state(self, begin_ms: int, scope: Scope, made: Limit | None) -> None:
        """From `begin_ms` on the limit of a scope is another one, or none."""
        kept = [_until(one, begin_ms) if one.scope == scope else one for one in self.limits]
        self.limits = [*kept, *([replace(made, valid_from_ms=begin_ms)] if made else [])]
        self.revision += 1

    def move(self, begin_ms: int, plan: str | None) -> None:
        """From `begin_ms` on the customer has another plan."""
        self.plans = [*(_until(one, begin_ms) for one in self.plans), PlanVersion(plan, begin_ms)]
        self.revision += 1


@dataclass
class Reported:
    """What the job makes of candidates: `alert_statuses.sql`, `alert_news.sql` and `insert_alerts.sql`, row by row."""

    status: dict[str, str] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    news: list[Alert] = field(default_factory=list)

    def take(self, candidates: Sequence[Alert]) -> list[Alert]:
        """Those that are news, with their ids."""
        found = []
        for one in candidates:
            before = self.status.get(one.fingerprint)
            self.status[one.fingerprint] = one.status
            if (before is None and one.status == "firing") or (before is not None and before != one.status):
                turn = self.turns[one.fingerprint] = self.turns.get(one.fingerprint, 0) + 1
                name = md5(f"{one.fingerprint}:{turn}".encode(), usedforsecurity=False).hexdigest()
                found.append(replace(one, id=name))
        self.news += found
        return found

    def copy(self) -> Reported:
        return Reported(dict(self.status), dict(self.turns), list(self.news))

    @property
    def firing(self) -> set[str]:
        return {name for name, status in self.status.items() if status == "firing"}

    @property
    def begun(self) -> list[str]:
        return sorted(one.fingerprint for one in self.news if one.status == "firing")


class World:
    """One counter under changing limits: rows in, alerts out, with everything that can happen in between."""

    def __init__(self, *limits: Limit, plans: Sequence[PlanVersion] = ()) -> None:
        self.source = Limits(list(limits), list(plans))
        self.clock = Clock()
        self.reported = Reported()
        self.at_ms, self.changed_ms = JAN, JAN
        self.total = Decimal(0)
        self.rows: list[tuple[int, Decimal, Decimal]] = []
        self.watch = self._fresh()
        self.kept = (Reported(), 0)

    def usage(self, added: Any, advance_ms: int = 1_000) -> list[Alert]:
        """One more row; what it tells."""
        self.at_ms += advance_ms
        before, self.total = self.total, self.total + Decimal(added)
        self.rows.append((self.at_ms, before, self.total))
        return self._send(self.rows[-1])

    def repeat(self) -> None:
        """The last row once more."""
        if self.rows:
            self._send(self.rows[-1])

    def restart(self) -> None:
        """A worker that remembers nothing; the state of the job is kept."""
        self.watch = self._fresh()

    def checkpoint(self) -> None:
        self.kept = (self.reported.copy(), len(self.rows))

    def crash(self) -> None:
        """Back to the last checkpoint: what was reported since was never committed, and its rows come again."""
        self.reported, done = self.kept[0].copy(), self.kept[1]
        self.restart()
        for row in self.rows[done:]:
            self._send(row)

    def state(self, scope: Scope, made: Limit | None) -> None:
        self.source.state(self._next_change(), scope, made)

    def move(self, plan: str | None) -> None:
        self.source.move(self._next_change(), plan)

    def outage(self) -> None:
        """Changes are seen, but what they mean for the customer cannot be looked up."""
        self.source.mute = True

    def recovery(self) -> None:
        self.source.mute = False
        self.clock.now += 60

    def _next_change(self) -> int:
        self.changed_ms = max(self.changed_ms, self.at_ms) + 1
        return self.changed_ms

    def _fresh(self) -> LimitWatch:
        return LimitWatch(self.source.book(self.clock), lambda: NOW_MS)

    def _send(self, row: tuple[int, Decimal, Decimal]) -> list[Alert]:
        at_ms, before, total = row
        self.watch.prepare([PAIR])
        try:
            _, candidates = self.watch.see(counter(at_ms), before, total)
        except LimitsUnknownError:
            return []
        return self.reported.take(candidates)


def limit_at(stretches: Sequence[Stretch], at_ms: int) -> Limit | None:
    """The limit of the only stretch an instant is in."""
    (found,) = [one.limit for one in stretches if one.start_ms <= at_ms < one.end_ms]
    return found


def _until(one: Any, begin_ms: int) -> Any:
    """A version that ends where it has not yet."""
    return replace(one, valid_to_ms=begin_ms) if one.valid_to_ms == FOREVER_MS else one
