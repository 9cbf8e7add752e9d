"""One reconciliation: drain, recompute, compare, store, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import psycopg

from tidemark.billing.drift import Drift, open_drift
from tidemark.billing.watermark import drain
from tidemark.core import postgres, rollup_views
from tidemark.core.errors import DifferenceError, UsageError
from tidemark.core.kafka import end_offsets
from tidemark.core.service import Service, Stateless, logger
from tidemark.core.settings import Settings
from tidemark.core.times import arrival_of
from tidemark.reconcile import (
    alarm,
    baseline,
    catalog,
    drift_store,
    grains,
    invoices,
    ledger,
    live,
    manifests,
    offsets,
    rollups,
    voids,
)
from tidemark.reconcile.earliest import EarliestOffsets, earliest_offsets, first_lost
from tidemark.reconcile.findings import CHECKS, Check, Outcome, merged
from tidemark.reconcile.metrics import exposition
from tidemark.reconcile.promoted import Promoted, promoted
from tidemark.reconcile.raw import edges_of, recompute
from tidemark.reconcile.sample import Wanted

log = logger("reconcile")

# The tables of the grains are written one by one, Redis and the tables seconds apart: a difference that is unchanged
# after this time is real.
PATIENCE_S = 30.0
_RECOMPUTED: frozenset[Check] = frozenset({"offsets", "rollups", "manifests", "voids"})
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

Offsets = Mapping[str, Mapping[int, int]]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """What to check.

    Parameters
    ----------
    checks:
        Which checks, in this order.
    wanted:
        Which customers.
    idle:
        Whether no events arrive: then the run waits for nothing, and compares everything.
    metrics:
        File for Prometheus; None: none.
    """

    checks: Sequence[Check] = CHECKS
    wanted: Wanted = field(default_factory=Wanted)
    idle: bool = False
    metrics: Path | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run: its number, outcomes by check, open differences, and the number of alerts sent."""

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
    """Check, store the differences, and send an alert when drift begins or ends.

    Raises
    ------
    UsageError
        A check does not exist, the share is not valid, or the settings have another grace than the job that counts.
    UnavailableError
        A service does not answer, or the jobs do not finish what was sent in time.
    TidemarkError
        Another run is in progress, or the recomputation cannot decide every record.
    """
    _check_request(request)
    with postgres.connect(settings.postgres.ops) as connection:
        drift_store.claim(connection, settings.names)
        rollup_views.check_grace(connection, settings.names, settings.events.grace_s)
        started_at: datetime = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
        before = open_drift(connection, settings.names, request.wanted.tenant)
        # Step 1: up to which offset everything is in the stored totals.
        ends = {topic: end_offsets(settings.kafka, topic) for topic in (settings.names.deltas, settings.names.dlq)}
        edges = _edges(settings, request, say)
        replays = promoted(connection, settings) if "rollups" in request.checks else []
        # Step 2: compare every stored number with its source.
        outcomes, since = _Comparison(settings, request, edges, replays, say).outcomes(connection)
        outcomes = {name: _with_kept(before, name, outcome) for name, outcome in outcomes.items()}
        # Step 3: store the differences and the alarm in one transaction; then send the alert.
        done = drift_store.Done(started_at, request.wanted, since, {**edges, **ends} if edges else {}, outcomes)
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
    with postgres.connect(settings.postgres.ops) as connection:
        with connection.transaction():
            drift_store.explain(connection, settings.names, number, because, by)
            alarm.follow(connection, settings.names)
        return alarm.announce(connection, settings)


def service(settings: Settings) -> Service[Stateless, Report]:
    """Reconciles every `reconcile.interval_s`.

    Raises
    ------
    UsageError
        `reconcile.checks` names a check that there is not.
    """
    section = settings.reconcile
    checks = cast("Sequence[Check]", section.checks or CHECKS)
    request = Request(checks, Wanted(share=section.share), metrics=section.metrics_file)
    _check_request(request)
    return Service("reconcile", section.interval_s, Stateless, lambda _: run(settings, request), log, _log_report)


def write_metrics(connection: psycopg.Connection, settings: Settings, path: Path) -> None:
    """Replace the file for Prometheus atomically: a reader sees the old or the new file, never half of one."""
    text = exposition(
        drift_store.open_counts(connection, settings.names), drift_store.last_runs(connection, settings.names)
    )
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        # Prometheus' node exporter is another user, and no customer is named in it.
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error}.", "name a file in a folder that exists.") from error


@dataclass(slots=True)
class _Comparison:
    """One comparison of all requested checks."""

    settings: Settings
    request: Request
    edges: Offsets
    replays: Sequence[Promoted]
    say: Say
    tolerance: Decimal = Decimal(0)
    starts: Mapping[int, int] = field(default_factory=dict)

    def outcomes(self, connection: psycopg.Connection) -> tuple[dict[str, Outcome], datetime | None]:
        """By check; and the first event time that could be compared with the source (None: all)."""
        self.tolerance = self.settings.reconcile.tolerance
        found: dict[str, Outcome] = {}
        patience_s = 0.0 if self.request.idle else PATIENCE_S
        # Outside a transaction: a difference is compared again, to see whether it moves.
        if "live" in self.request.checks:
            self.say("comparing live counters …")
            found["live"] = live.check(self.settings, connection, self.request.wanted, self.tolerance, patience_s)
        if "grains" in self.request.checks:
            self.say("comparing grains …")
            schemas = [self.settings.names.usage_schema]
            schemas += [overlay.usage_schema for overlay in rollup_views.overlays(connection, self.settings.names)]
            wanted, once = self.request.wanted, [*dict.fromkeys(schemas)]
            found["grains"] = grains.check(connection, once, wanted, self.tolerance, patience_s)
        counts = None
        if "offsets" in self.request.checks:
            if not self.request.wanted.everything:
                found["offsets"] = Outcome(not_checked="partitions hold the events of all customers")
            elif (starts := self._starts(connection)) is None:
                found["offsets"] = Outcome(
                    not_checked=f"{first_lost(self._earliest())}: records before it are gone, and no earlier run tells "
                    "from where on the sums match"
                )
            else:
                self.starts = edges_of(self.settings, starts)
                counts = offsets.read_counts(self.settings, self._numbered, self.starts)
        # One snapshot for the other checks. The source is read later, so that it has everything in the snapshot.
        since = None
        with connection.transaction():
            connection.execute(_SNAPSHOT)
            if "invoices" in self.request.checks:
                found["invoices"] = invoices.check(connection, self.settings.names, self.request.wanted, self.tolerance)
            if "ledger" in self.request.checks:
                self.say("comparing the ledger with what was published …")
                found["ledger"] = ledger.check(self.settings, connection, self.request.wanted)
            if _RECOMPUTED & {*self.request.checks}:
                recomputed, since = self._recomputed(connection, counts)
                found |= recomputed
        return {name: found[name] for name in self.request.checks}, since

    def _earliest(self) -> EarliestOffsets:
        topics, names = self.settings.topics, self.settings.names
        return earliest_offsets(self.settings, [topics.events, topics.redrive, names.deltas, names.dlq])

    def _starts(self, connection: psycopg.Connection) -> Offsets | None:
        settings = self.settings
        source = settings.topics.events, settings.topics.redrive
        written = settings.names.deltas, settings.names.dlq
        copies_for = timedelta(milliseconds=settings.events.dedupe_ttl_ms)
        runs = baseline.recorded(connection, settings.names)
        return baseline.start(runs, self._earliest(), source, written, copies_for)

    @property
    def _numbered(self) -> dict[int, int]:
        return edges_of(self.settings, self.edges)

    def _recomputed(
        self, connection: psycopg.Connection, counts: offsets.JobCounts | None
    ) -> tuple[dict[str, Outcome], datetime | None]:
        """Checks that compare with the independent recomputation."""
        settings, request, names = self.settings, self.request, self.settings.names
        earliest = self._earliest()
        history = catalog.history(connection, request.wanted.tenant)
        self.say("recomputing usage from the source topics …")
        gone_by = drift_store.seen_by(connection, names, earliest)
        oracle, known_from_ms = recompute(settings, history, request.wanted, earliest, gone_by)
        since = self._since(known_from_ms)
        found: dict[str, Outcome] = {}
        with closing(oracle):
            self.say("comparing with the recomputation …")
            if counts is not None:
                found["offsets"] = offsets.check(settings, oracle, self._numbered, counts, self.starts)
            if "rollups" in request.checks:
                overlays = [replay.overlay for replay in self.replays]
                scope = rollups.Scope(names.billing_schema, request.wanted, since, overlays)
                found["rollups"] = rollups.check(connection, oracle, self._numbered, scope, self.tolerance)
            if "manifests" in request.checks:
                found["manifests"] = manifests.check(connection, names, oracle, request.wanted, self.tolerance, since)
            if "voids" in request.checks:
                found["voids"] = voids.check(oracle, names, request.wanted, whole=known_from_ms is None)
        if "rollups" in request.checks and self.replays:
            parts = [self._promoted(connection, replay, history) for replay in self.replays]
            found["rollups"] = merged([found["rollups"], *parts])
        return found, since

    def _promoted(self, connection: psycopg.Connection, replay: Promoted, history: list[dict[str, Any]]) -> Outcome:
        """The rows of a promoted replay, by its own rules."""
        name, schema, wanted = replay.overlay.usage_schema, self.settings.names.billing_schema, self.request.wanted
        if not replay.known_catalog:
            return Outcome(notes=[f"rows of {name} are not compared: it measures by an earlier version of the catalog"])
        self.say(f"recomputing what {name} shows …")
        earliest = earliest_offsets(replay.settings, [replay.settings.topics.events, replay.settings.topics.redrive])
        gone_by = drift_store.seen_by(connection, self.settings.names, earliest)
        oracle, known_from_ms = recompute(replay.settings, history, wanted, earliest, gone_by)
        with closing(oracle):
            scope = rollups.Scope(schema, wanted, self._since(known_from_ms), replay.above, replay.overlay)
            return rollups.check(connection, oracle, edges_of(replay.settings, replay.edges), scope, self.tolerance)

    def _since(self, known_from_ms: int | None) -> datetime | None:
        """First event time for which the source is complete: the first known arrival plus the future tolerance."""
        if known_from_ms is None:
            return None
        arrival = arrival_of(known_from_ms)
        return arrival + timedelta(seconds=self.settings.events.future_tolerance_s)


def _check_request(request: Request) -> None:
    unknown = sorted({*request.checks} - {*CHECKS})
    if unknown or not request.checks:
        named = f"there is no check {', '.join(unknown)}" if unknown else "no check is named"
        raise UsageError(f"{named}.", f"name some of {', '.join(CHECKS)}.")
    if not 0 < request.wanted.share <= 1:
        raise UsageError(f"a share of {request.wanted.share} is not valid.", "give more than 0 and at most 1.")


def _edges(settings: Settings, request: Request, say: Say) -> Offsets:
    """Offsets before which everything is in the stored totals; empty if no check needs them."""
    if not _RECOMPUTED & {*request.checks}:
        return {}
    if request.idle:
        topics = (settings.topics.events, settings.topics.redrive)
        return {topic: end_offsets(settings.kafka, topic) for topic in topics}
    return drain(settings, say).offsets


def _with_kept(before: Sequence[Drift], name: str, outcome: Outcome) -> Outcome:
    kept = drift_store.kept(before, name, outcome.unseen)
    return replace(outcome, findings=[*outcome.findings, *kept]) if kept else outcome


def _log_report(report: Report, failing: bool) -> None:
    outcomes: dict[str, Any] = {name: outcome.document() for name, outcome in report.outcomes.items()}
    log("reconciled", number=report.number, open=len(report.open), outcomes=outcomes, after_failure=failing)
