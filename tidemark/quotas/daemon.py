"""Watch over tenants: volume, series and unique values as stored; alarms name the tenant, and nothing is dropped."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg

from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import Sender
from tidemark.core.postgres import translated
from tidemark.core.service import logger, repeat
from tidemark.core.settings import EventSettings, QuotaSettings, Settings
from tidemark.quotas import store as watch_store
from tidemark.quotas.rules import HOLD, Alarm, Decision, Key, Reading, decide
from tidemark.quotas.store import STATEMENT_TIMEOUT_MS, TOP, Stored
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, to_json
from udfs.alerts.pipeline import Rule
from udfs.postgres import deadline
from udfs.values import epoch_ms, rfc3339

log = logger("watch")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
# A broker restart takes about 10 s; what could not be sent by then is sent at the next look.
SEND_STALL_S = 20.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look did: alarms that began, grew and ended, and alerts that the brokers have."""

    begun: tuple[Alarm, ...]
    grown: tuple[Alarm, ...]
    ended: tuple[Alarm, ...]
    sent: int


class Watch:
    """Looks at the stored usage of a run; one Postgres connection, made again after each failure.

    Parameters
    ----------
    settings:
        Bounds, services and run.
    hold:
        How long nothing must be news before an alarm ends.

    """

    def __init__(self, settings: Settings, hold: timedelta = HOLD) -> None:
        self._settings = settings
        self._hold = hold
        self._cursor: datetime | None = None
        self._postgres: psycopg.Connection | None = None

    def look(self) -> Look:
        """Read what was touched since the last look, store alarms that begin or end, and announce them.

        Raises
        ------
        UnavailableError
            Postgres or Kafka is away; what was stored and not announced is announced by the next look.
        TidemarkError
            The database has no tables, or another watch of this run is at work.

        """
        # Step 1: read and decide in one transaction; an alarm that begins or ends is stored as not announced.
        now, decision = self._ask(self._decide)
        self._cursor = now
        # Step 2: make the alerts of all that is stored and not announced, from before a crash too: the same row makes
        # the same alert, id included.
        waiting = self._ask(watch_store.unannounced)
        texts = [text for stored in waiting for text in alerts_of(self._settings, stored)]
        # Step 3: send, and remember it only after the brokers have it.
        self._send(texts)
        self._ask(lambda connection: _remember(connection, texts))
        return Look(decision.begun, decision.grown, decision.ended, len(texts))

    def close(self) -> None:
        """Give the connection back, and with it the right to watch."""
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    def _decide(self, connection: psycopg.Connection) -> tuple[datetime, Decision]:
        with connection.transaction():
            now = watch_store.clock(connection)
            readings = watch_store.read(connection, self._since(now), self._hold)
            alarms = watch_store.known(connection, now - remembered(self._settings.events))
            decision = decide(readings, alarms, bounds(self._settings.quotas), now, self._hold)
            watch_store.store(connection, decision, self._hold)
        return now, decision

    def _since(self, now: datetime) -> datetime:
        # A first look goes back as far as usage may be late: nobody watched before.
        return (
            now - timedelta(seconds=self._settings.events.grace_s) if self._cursor is None else self._cursor - OVERLAP
        )

    def _send(self, texts: Sequence[tuple[Alarm, Status, str]]) -> None:
        if texts:
            with Sender(self._settings.kafka, SEND_STALL_S) as sender:
                for alarm, _, text in texts:
                    sender.send(self._settings.names.alerts, text.encode(), key=alarm.tenant.encode())

    def _ask(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        try:
            if self._postgres is None:
                self._postgres = watch_store.opened(self._settings.postgres, self._settings.names)
                watch_store.claim(self._postgres, self._settings.names)
            with deadline(self._postgres, STATEMENT_TIMEOUT_MS):
                return question(self._postgres)
        except psycopg.Error as error:
            self.close()
            raise translated(self._settings.postgres, error) from error
        except TidemarkError:
            self.close()
            raise


def alerts_of(settings: Settings, stored: Stored) -> list[tuple[Alarm, Status, str]]:
    """Alerts of a stored alarm that are still to be sent, in their order, as JSON text."""
    alarm = stored.alarm
    found: list[tuple[Alarm, Status, str]] = []
    if not stored.announced:
        found.append((alarm, "firing", _alert(settings, alarm, "firing", alarm.since, stored.evidence)))
    if alarm.resolved_at is not None:
        shown = {"tenant_id": alarm.tenant, "value": alarm.value, "bound": alarm.bound, "since": rfc3339(alarm.since)}
        hour = {"hour": rfc3339(alarm.hour)} if alarm.hour is not None else {}
        found.append((alarm, "resolved", _alert(settings, alarm, "resolved", alarm.resolved_at, shown | hour)))
    return found


def bounds(quotas: QuotaSettings) -> dict[Rule, int]:
    """Greatest value of each rule that raises no alarm."""
    return {
        "tenant_volume": quotas.tenant_measurements_per_hour,
        "tenant_series": quotas.tenant_series,
        "tenant_unique": quotas.tenant_unique_values,
    }


def remembered(events: EventSettings) -> timedelta:
    """How long an ended alarm is looked at: while usage of its hours can still arrive, and a day more."""
    return timedelta(seconds=events.grace_s + events.redrive_window_s, days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a tenant is: its greatest value under one rule, the bound, and the hour it is in."""

    tenant_id: str
    rule: Rule
    value: int
    bound: int
    hour: str

    @property
    def over(self) -> bool:
        """Whether it is above the bound."""
        return self.value > self.bound


@dataclass(frozen=True, slots=True)
class Check:
    """Where the biggest tenants are, largest share of the bound first, and the alarms that run, oldest first."""

    standings: tuple[Standing, ...]
    running: tuple[Alarm, ...]


def check(settings: Settings) -> Check:
    """Look once and change nothing: usage written within grace, all over a bound and the TOP tenants of each rule.

    Raises
    ------
    UnavailableError
        Postgres is away.
    TidemarkError
        The database has no tables.

    """
    try:
        with (
            closing(watch_store.opened(settings.postgres, settings.names)) as connection,
            deadline(connection, STATEMENT_TIMEOUT_MS),
        ):
            now = watch_store.clock(connection)
            readings = watch_store.read(connection, now - timedelta(seconds=settings.events.grace_s), HOLD)
            running = [alarm for alarm in watch_store.known(connection, now) if alarm.resolved_at is None]
    except psycopg.Error as error:
        raise translated(settings.postgres, error) from error
    running.sort(key=lambda alarm: (alarm.since, alarm.tenant, alarm.rule))
    return Check(standings(readings, bounds(settings.quotas)), tuple(running))


def standings(readings: Sequence[Reading], limits: Mapping[Rule, int], top: int = TOP) -> tuple[Standing, ...]:
    """Greatest value of each tenant under each rule: those over the bound, and the `top` of each rule."""
    greatest: dict[Key, Reading] = {}
    for reading in readings:
        key = (reading.tenant, reading.rule)
        if key not in greatest or reading.value > greatest[key].value:
            greatest[key] = reading
    chosen: list[Standing] = []
    for rule, bound in limits.items():
        mine = sorted((r for r in greatest.values() if r.rule == rule), key=lambda r: (-r.value, r.tenant))
        found = [Standing(r.tenant, rule, r.value, bound, rfc3339(r.hour) if r.hour else "") for r in mine]
        chosen += [standing for place, standing in enumerate(found) if standing.over or place < top]
    return tuple(sorted(chosen, key=lambda s: s.value / s.bound, reverse=True))


def run(settings: Settings, stop: threading.Event) -> None:
    """Look every `quotas.watch_interval_s` until `stop` is set; failures are logged and tried again, never raised."""
    log(
        "started",
        every_s=settings.quotas.watch_interval_s,
        schema=settings.names.usage_schema,
        bounds=bounds(settings.quotas),
    )
    with closing(Watch(settings)) as watch:
        repeat(watch.look, every_s=settings.quotas.watch_interval_s, stop=stop, log=log, report=_report)


def _report(found: Look, failing: bool) -> None:
    for event, changed in (("firing", found.begun), ("resolved", found.ended)):
        for alarm in changed:
            hour = rfc3339(alarm.hour) if alarm.hour else ""
            log(event, tenant_id=alarm.tenant, rule=alarm.rule, value=alarm.value, bound=alarm.bound, hour=hour)
    if failing or found.sent:
        log("looked", grown=len(found.grown), sent=found.sent)


def _remember(connection: psycopg.Connection, texts: Sequence[tuple[Alarm, Status, str]]) -> None:
    for alarm, status, _ in texts:
        watch_store.announced(connection, alarm, status)


def _alert(settings: Settings, alarm: Alarm, status: Status, at: datetime, evidence: Mapping[str, Any]) -> str:
    since = alarm.since.astimezone(UTC).isoformat()
    name = json.dumps([settings.names.alerts, alarm.tenant, alarm.rule, since, status])
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    at_ms = epoch_ms(at)
    return to_json(alerts.tenant_alarm(alarm.rule, status, evidence=evidence, at_ms=at_ms, event_id=event_id))
