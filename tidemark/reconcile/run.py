"""One reconciliation: settle, look, recompute, compare, store, tell."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from tidemark.billing.drift import Drift, open_drift
from tidemark.billing.watermark import settle
from tidemark.core import migrate, rollup_views
from tidemark.core.errors import DifferenceError, UsageError
from tidemark.core.kafka import end_offsets
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings
from tidemark.reconcile import alarm, catalog, drift_store, grains, invoices, live, manifests, offsets, rollups, voids
from tidemark.reconcile.findings import CHECKS, Check, Outcome, merged
from tidemark.reconcile.metrics import exposition
from tidemark.reconcile.promoted import Promoted, promoted
from tidemark.reconcile.raw import edges_of, recompute
from tidemark.reconcile.reach import begins, first_gone
from tidemark.reconcile.sample import Wanted
from udfs.values import instant

log = logger("reconcile")

# The tables of the grains are written one by one, Redis and tables seconds apart: what still differs so much later, and
# has not moved, differs.
PATIENCE_S = 30.0
_RECOMPUTED: frozenset[Check] = frozenset({"offsets", "rollups", "manifests", "voids"})
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

Offsets = Mapping[str, Mapping[int, int]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be checked.

    Parameters
    ----------
    checks:
        Which checks, in this order.
    wanted:
        Which customers.
    settled:
        Whether the stream stands still: then nothing is waited for, and everything is compared.
    metrics:
        File for Prometheus; None: none.
    """

    checks: Sequence[Check] = CHECKS
    wanted: Wanted = field(default_factory=Wanted)
    settled: bool = False
    metrics: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to: its number, outcomes by check, what is open now, and how many alerts were sent."""

    number: int
    finished_at: datetime
    outcomes: Mapping[str, Outcome]
    open: Sequence[Drift]
    sent: int = 0

    def raise_if_open(self) -> None:
        """Raise DifferenceError if something is open."""
        if self.open:
            raise DifferenceError(
                f"{len(self.open)} unexplained difference(s); the first: {self.open[0].text}.",
                "`tidemark reconcile drift`, then docs/operations.md#reconciliation-difference.",
            )


def run(settings: Settings, request: Request, say: Say = lambda _: None) -> Report:
    """Check, store what was found, and tell when drift begins or ends.

    Raises
    ------
    UsageError
        A check cannot be made of the customers asked for.
    UnavailableError
        A service does not answer, or the jobs do not come to an end with what was sent.
    TidemarkError
        Another run is at work, or the recomputation cannot decide every record.
    """
    _check_request(request)
    with migrate.connect(settings.postgres) as connection:
        drift_store.claim(connection, settings.names)
        started_at: datetime = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
        before = open_drift(connection, settings.names, request.wanted.tenant)
        # Step 1: up to which offset everything is in the stored totals.
        edges = _edges(settings, request, say)
        replays = promoted(connection, settings) if "rollups" in request.checks else []
        # Step 2: look at both sides, and hold every stored number against where it came from.
        outcomes, since = _Look(settings, request, edges, replays, say).outcomes(connection)
        outcomes = {name: _with_kept(before, name, outcome) for name, outcome in outcomes.items()}
        # Step 3: what was found, and whether there is an alarm, in one transaction; then tell it.
        done = drift_store.Done(started_at, request.wanted, since, edges, outcomes)
        with connection.transaction():
            number, finished_at = drift_store.record(connection, settings.names, done)
            if "voids" in outcomes and not outcomes["voids"].not_checked:
                voids.record(connection, settings.names, request.wanted, number, outcomes["voids"])
            alarm.follow(connection, settings.names)
        if request.metrics is not None:
            write_metrics(connection, settings, request.metrics)
        sent = alarm.announce(connection, settings)
        still_open = open_drift(connection, settings.names, request.wanted.tenant)
    return Report(number, finished_at, outcomes, still_open, sent)


def explain(settings: Settings, number: int, because: str, by: str) -> int:
    """Mark a difference as explained, and end the alarm if it was the last; how many alerts were sent."""
    with migrate.connect(settings.postgres) as connection:
        with connection.transaction():
            drift_store.explain(connection, settings.names, number, because, by)
            alarm.follow(connection, settings.names)
        return alarm.announce(connection, settings)


def watch(settings: Settings, request: Request, every_s: float, stop: threading.Event) -> None:
    """Reconcile every `every_s` seconds until `stop` is set; failures are logged and tried again, never raised."""
    log("started", every_s=every_s, schema=settings.names.billing_schema, checks=list(request.checks))
    repeat(lambda: run(settings, request), every_s=every_s, stop=stop, log=log, report=_log_report)


def write_metrics(connection: psycopg.Connection, settings: Settings, path: Path) -> None:
    """Write the file for Prometheus at once: a reader sees the old one or the new one, never half of it."""
    text = exposition(
        drift_store.open_counts(connection, settings.names), drift_store.last_runs(connection, settings.names)
    )
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error}.", "name a file in a folder that exists.") from error


@dataclass(slots=True)
class _Look:
    """One look at the numbers, from the outside in."""

    settings: Settings
    request: Request
    edges: Offsets
    replays: Sequence[Promoted]
    say: Say
    tolerance: Decimal = Decimal(0)

    def outcomes(self, connection: psycopg.Connection) -> tuple[dict[str, Outcome], datetime | None]:
        """By check; and the first event time that could be compared with the source (None: all)."""
        self.tolerance = self.settings.reconcile.tolerance
        found: dict[str, Outcome] = {}
        patience_s = 0.0 if self.request.settled else PATIENCE_S
        # Outside a transaction: what differs is looked at again, to see whether it moves.
        if "live" in self.request.checks:
            self.say("comparing live counters …")
            found["live"] = live.check(self.settings, connection, self.request.wanted, self.tolerance, patience_s)
        if "grains" in self.request.checks:
            self.say("comparing grains …")
            schemas = [self.settings.names.usage_schema]
            schemas += [layer.usage_schema for layer in rollup_views.layers(connection, self.settings.names)]
            wanted, once = self.request.wanted, [*dict.fromkeys(schemas)]
            found["grains"] = grains.check(connection, once, wanted, self.tolerance, patience_s)
        told = None
        if "offsets" in self.request.checks:
            if self.request.wanted.everything:
                told = offsets.told(self.settings, self._numbered)
            else:
                found["offsets"] = Outcome(not_checked="partitions hold the events of all customers")
        # One snapshot for all else. The source is read after it, so that it holds all that the snapshot rests on.
        since = None
        with connection.transaction():
            connection.execute(_SNAPSHOT)
            if "invoices" in self.request.checks:
                found["invoices"] = invoices.check(connection, self.settings.names, self.request.wanted, self.tolerance)
            if _RECOMPUTED & {*self.request.checks}:
                recomputed, since = self._recomputed(connection, told)
                found |= recomputed
        return {name: found[name] for name in self.request.checks}, since

    @property
    def _numbered(self) -> dict[int, int]:
        return edges_of(self.settings, self.edges)

    def _recomputed(
        self, connection: psycopg.Connection, told: offsets.Told | None
    ) -> tuple[dict[str, Outcome], datetime | None]:
        """What is held against the independent recomputation."""
        settings, request, names = self.settings, self.request, self.settings.names
        reach = begins(settings, [settings.topics.events, settings.topics.redrive, names.deltas, names.dlq])
        history = catalog.history(connection, request.wanted.tenant)
        self.say("recomputing usage from the source topics …")
        oracle, known_from_ms = recompute(settings, history, request.wanted, reach)
        since = self._since(known_from_ms)
        found: dict[str, Outcome] = {}
        with closing(oracle):
            self.say("comparing with the recomputation …")
            if told is not None:
                found["offsets"] = offsets.check(settings, oracle, self._numbered, told, first_gone(reach))
            if "rollups" in request.checks:
                layers = [one.layer for one in self.replays]
                scope = rollups.Scope(names.billing_schema, request.wanted, since, layers)
                found["rollups"] = rollups.check(connection, oracle, self._numbered, scope, self.tolerance)
            if "manifests" in request.checks:
                found["manifests"] = manifests.check(connection, names, oracle, request.wanted, self.tolerance, since)
            if "voids" in request.checks:
                found["voids"] = voids.check(oracle, names, request.wanted, whole=known_from_ms is None)
        if "rollups" in request.checks and self.replays:
            parts = [self._promoted(connection, one, history) for one in self.replays]
            found["rollups"] = merged([found["rollups"], *parts])
        return found, since

    def _promoted(self, connection: psycopg.Connection, one: Promoted, history: list[dict[str, Any]]) -> Outcome:
        """What a promoted replay shows, by its own rules."""
        name, schema, wanted = one.layer.usage_schema, self.settings.names.billing_schema, self.request.wanted
        if not one.known_catalog:
            return Outcome(
                notes=[f"rows of {name} are not compared: it measures by an earlier knowledge of the catalog"]
            )
        self.say(f"recomputing what {name} shows …")
        reach = begins(one.settings, [one.settings.topics.events, one.settings.topics.redrive])
        oracle, known_from_ms = recompute(one.settings, history, wanted, reach)
        with closing(oracle):
            scope = rollups.Scope(schema, wanted, self._since(known_from_ms), one.above, one.layer)
            return rollups.check(connection, oracle, edges_of(one.settings, one.edges), scope, self.tolerance)

    def _since(self, known_from_ms: int | None) -> datetime | None:
        """Whatever happened later than the first known arrival and the tolerance has arrived, whole, since then."""
        if known_from_ms is None:
            return None
        arrival = instant(known_from_ms)
        return arrival + timedelta(seconds=self.settings.events.future_tolerance_s)


def _check_request(request: Request) -> None:
    unknown = sorted({*request.checks} - {*CHECKS})
    if unknown or not request.checks:
        named = f"there is no check {', '.join(unknown)}" if unknown else "no check is named"
        raise UsageError(f"{named}.", f"name some of {', '.join(CHECKS)}.")
    if not 0 < request.wanted.share <= 1:
        raise UsageError(f"a share of {request.wanted.share} is none.", "give more than 0 and at most 1.")


def _edges(settings: Settings, request: Request, say: Say) -> Offsets:
    """Offsets before which everything is in the stored totals; none where no check rests on them."""
    if not _RECOMPUTED & {*request.checks}:
        return {}
    if request.settled:
        topics = (settings.topics.events, settings.topics.redrive)
        return {topic: end_offsets(settings.kafka, topic) for topic in topics}
    return settle(settings, say).offsets


def _with_kept(before: Sequence[Drift], name: str, outcome: Outcome) -> Outcome:
    kept = drift_store.kept(before, name, outcome.unseen)
    return replace(outcome, findings=[*outcome.findings, *kept]) if kept else outcome


def _log_report(report: Report, failing: bool) -> None:
    outcomes: dict[str, Any] = {name: outcome.document() for name, outcome in report.outcomes.items()}
    log("reconciled", number=report.number, open=len(report.open), outcomes=outcomes, after_failure=failing)
