"""Quotas of tenants: volume, series and unique values as stored; alarms name the tenant, and nothing is dropped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg

from tidemark.alerts.active_runs import ActiveReplay, read_active_replays
from tidemark.core.alarms import SEND_STALL_S
from tidemark.core.kafka import Sender
from tidemark.core.postgres import CLAIM_IDLE_S, Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import EventSettings, QuotaSettings, Settings
from tidemark.quotas import store as quota_store
from tidemark.quotas.rules import QUIET, Alarm, Decision, Key, Reading, decide
from tidemark.quotas.store import STATEMENT_TIMEOUT_MS, TOP, Stored
from tidemark.quotas.usage_reader import UsageReader
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, id_of, to_json
from udfs.alerts.pipeline import Rule
from udfs.values import epoch_ms, rfc3339

log = logger("quotas")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
# A reader gives way after this long, so that a stop waits for none; it goes on at once.
STEP_S = 5.0
# For a person who asks once, and can end it.
CHECK_TIMEOUT_MS = 3_600_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class PollResult:
    """What was done: alarms that started, grew and ended, and alerts that the brokers have.

    `more`: there is so much to read that nothing was decided yet.
    """

    begun: tuple[Alarm, ...]
    grown: tuple[Alarm, ...]
    ended: tuple[Alarm, ...]
    sent: int
    more: bool = False


class QuotaMonitor:
    """Compares the stored usage of a run with its quotas; one Postgres connection, made again after each failure.

    Parameters
    ----------
    settings:
        Bounds, services and run.
    quiet:
        How long there must be no news before an alarm ends.

    """

    def __init__(self, settings: Settings, quiet: timedelta = QUIET) -> None:
        self._settings = settings
        self._quiet = quiet
        self._cursor: datetime | None = None
        self._reader: UsageReader | None = None
        self._database = Database(
            settings.postgres.ops, "quotas", settings.names.usage_schema, claim="quotas",
            timeout_ms=STATEMENT_TIMEOUT_MS,
            claim_idle_s=CLAIM_IDLE_S + settings.quotas.interval_s,
        )  # fmt: skip

    def run_once(self) -> PollResult:
        """Read what was written since the last pass, store alarms that start or end, and announce them.

        It ends after STEP_S; then the next one goes on reading where it was.

        Raises
        ------
        UnavailableError
            Postgres or Kafka is unreachable; what was stored and not announced is announced by the next pass.
        TidemarkError
            The database has no tables, or another process monitors this run.

        """
        # Step 1: read in parts; what was read stays read when a later part fails.
        reader = self._reader = self._reader or self._database.run(self._begin)
        until = time.monotonic() + STEP_S
        while self._database.run(reader.advance):
            if time.monotonic() >= until:
                return PollResult((), (), (), 0, more=True)
        # Decide in one transaction; an alarm that starts or ends is stored as not announced.
        decision = self._database.run(lambda connection: self._decide(connection, reader.readings))
        self._cursor, self._reader = reader.now, None
        # Step 2: make the alerts of all that is stored and not announced, from before a crash too: the same row makes
        # the same alert, id included.
        waiting = self._database.run(quota_store.unannounced)
        texts = [text for stored in waiting for text in alerts_of(self._settings, stored)]
        # Step 3: send, and store that only after the brokers have it.
        self._send(texts)
        self._database.run(lambda connection: _record_announced(connection, texts))
        return PollResult(decision.begun, decision.grown, decision.ended, len(texts))

    def close(self) -> None:
        """Give the connection back, and with it the right to watch."""
        self._database.close()

    def _begin(self, connection: psycopg.Connection) -> UsageReader:
        now = quota_store.clock(connection)
        return UsageReader(now, self._since(now), self._quiet)

    def _decide(self, connection: psycopg.Connection, readings: Sequence[Reading]) -> Decision:
        with connection.transaction():
            now = quota_store.clock(connection)
            alarms = quota_store.known(connection, now - kept_for(self._settings.events))
            decision = decide(readings, alarms, bounds(self._settings.quotas), now, self._quiet)
            quota_store.store(connection, decision, self._quiet)
        return decision

    def _since(self, now: datetime) -> datetime:
        # A first pass goes back as far as usage may be late.
        return (
            now - timedelta(seconds=self._settings.events.grace_s) if self._cursor is None else self._cursor - OVERLAP
        )

    def _send(self, texts: Sequence[tuple[Alarm, Status, str]]) -> None:
        if texts:
            with Sender(self._settings.kafka, SEND_STALL_S) as sender:
                for alarm, _, text in texts:
                    sender.send(self._settings.names.alerts, text.encode(), key=alarm.tenant.encode())


def alerts_of(settings: Settings, stored: Stored) -> list[tuple[Alarm, Status, str]]:
    """Alerts of a stored alarm that are still to be sent, in their order, as JSON text."""
    alarm = stored.alarm
    texts: list[tuple[Alarm, Status, str]] = []
    if not stored.announced:
        texts.append((alarm, "firing", _alert(settings, alarm, "firing", alarm.since, stored.evidence)))
    if alarm.resolved_at is not None:
        shown = {"tenant_id": alarm.tenant, "value": alarm.value, "bound": alarm.bound, "since": rfc3339(alarm.since)}
        hour = {"hour": rfc3339(alarm.hour)} if alarm.hour is not None else {}
        texts.append((alarm, "resolved", _alert(settings, alarm, "resolved", alarm.resolved_at, shown | hour)))
    return texts


def bounds(quotas: QuotaSettings) -> dict[Rule, int]:
    """Greatest value of each rule that raises no alarm."""
    return {
        "tenant_volume": quotas.tenant_measurements_per_hour,
        "tenant_series": quotas.tenant_series,
        "tenant_unique": quotas.tenant_unique_values,
    }


def kept_for(events: EventSettings) -> timedelta:
    """How long an ended alarm is read: while usage of its hours can still arrive, and a day more."""
    return timedelta(seconds=events.grace_s + events.redrive_window_s, days=1)


@dataclass(frozen=True, slots=True)
class UsageRank:
    """Usage of a tenant under one rule: its greatest value, the bound, and the hour of that value."""

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
    """The biggest tenants, largest share of the bound first, and the alarms that fire, oldest first.

    `promoted` are the runs of replays that people read instead: they have rollups, and so figures, of their own.
    """

    ranks: tuple[UsageRank, ...]
    running: tuple[Alarm, ...]
    promoted: tuple[str, ...] = ()


def check(settings: Settings) -> Check:
    """Read once and change nothing: usage written within grace, all over a bound and the TOP tenants of each rule.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached.
    TidemarkError
        The database has no tables.

    """

    def read(connection: psycopg.Connection) -> tuple[Sequence[Reading], list[Alarm], list[ActiveReplay]]:
        now = quota_store.clock(connection)
        reader = UsageReader(now, now - timedelta(seconds=settings.events.grace_s), QUIET)
        while reader.advance(connection):
            pass
        alarms = [alarm for alarm in quota_store.known(connection, now) if alarm.resolved_at is None]
        return reader.readings, alarms, read_active_replays(connection, settings.names)

    schema = settings.names.usage_schema
    with closing(Database(settings.postgres.ops, "quotas", schema, timeout_ms=STATEMENT_TIMEOUT_MS)) as database:
        readings, running, replays = database.run(read, CHECK_TIMEOUT_MS)
    running.sort(key=lambda alarm: (alarm.since, alarm.tenant, alarm.rule))
    promoted = tuple(replay.run_id for replay in replays)
    return Check(ranks(readings, bounds(settings.quotas)), tuple(running), promoted)


def ranks(readings: Sequence[Reading], limits: Mapping[Rule, int], top: int = TOP) -> tuple[UsageRank, ...]:
    """Greatest value of each tenant under each rule: those over the bound, and the `top` of each rule."""
    greatest: dict[Key, Reading] = {}
    for reading in readings:
        key = (reading.tenant, reading.rule)
        if key not in greatest or reading.value > greatest[key].value:
            greatest[key] = reading
    chosen: list[UsageRank] = []
    for rule, bound in limits.items():
        readings_of_rule = sorted((r for r in greatest.values() if r.rule == rule), key=lambda r: (-r.value, r.tenant))
        ranks = [UsageRank(r.tenant, rule, r.value, bound, rfc3339(r.hour) if r.hour else "") for r in readings_of_rule]
        chosen += [rank for place, rank in enumerate(ranks) if rank.over or place < top]
    return tuple(sorted(chosen, key=lambda s: s.value / s.bound, reverse=True))


def service(settings: Settings) -> Service[QuotaMonitor, PollResult]:
    """Checks every `quotas.interval_s`."""
    every_s = settings.quotas.interval_s
    return Service(
        "quotas", every_s, lambda: QuotaMonitor(settings), QuotaMonitor.run_once, log, _report,
        again=lambda result: result.more,
    )  # fmt: skip


def _report(result: PollResult, failing: bool) -> None:
    for event, changed in (("firing", result.begun), ("resolved", result.ended)):
        for alarm in changed:
            hour = rfc3339(alarm.hour) if alarm.hour else ""
            log(event, tenant_id=alarm.tenant, rule=alarm.rule, value=alarm.value, bound=alarm.bound, hour=hour)
    if (failing or result.sent) and not result.more:
        log("checked", grown=len(result.grown), sent=result.sent)


def _record_announced(connection: psycopg.Connection, texts: Sequence[tuple[Alarm, Status, str]]) -> None:
    for alarm, status, _ in texts:
        quota_store.announced(connection, alarm, status)


def _alert(settings: Settings, alarm: Alarm, status: Status, at: datetime, evidence: Mapping[str, Any]) -> str:
    since = alarm.since.astimezone(UTC).isoformat()
    event_id = id_of(settings.names.alerts, alarm.tenant, alarm.rule, since, status)
    at_ms = epoch_ms(at)
    return to_json(alerts.tenant_alarm(alarm.rule, status, evidence=evidence, at_ms=at_ms, event_id=event_id))
