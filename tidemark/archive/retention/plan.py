"""The plan of retention: all steps for one instant; a dry run prints what a run does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime

import psycopg

from tidemark.archive.index import writing
from tidemark.archive.retention import files, reads, tables, topics
from tidemark.archive.retention.steps import Step
from tidemark.archive.source import reading
from tidemark.core import audit
from tidemark.core.errors import TidemarkError
from tidemark.core.service import Service, Stateless, logger
from tidemark.core.settings import Settings

log = logger("retention")


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order of execution; valid while `planned` is open."""

    at: datetime
    steps: tuple[Step, ...]
    connection: psycopg.Connection
    run_id: str

    def act(self, by: str = "") -> list[Step]:
        """Execute the steps that are due and not refused, each with its entry in the audit; returns them."""
        due = [step for step in self.steps if step.is_due]
        for step in due:
            with self.connection.transaction() if step.atomic else nullcontext():
                document = {name: value for name, value in step.document().items() if name != "target"}
                audit.record(self.connection, self.run_id, "retention.act", step.target, by=by, **document)
                step.act()
        return due

    @property
    def size(self) -> int:
        """Bytes of tables and files that the steps remove; what Kafka then removes by age is not among them."""
        return sum(step.size for step in self.steps if step.is_due)

    def raise_if_refused(self) -> None:
        """Raise TidemarkError if a step was refused, after the others were executed."""
        refused = [f"{step.target}: {step.refused}" for step in self.steps if step.refused]
        if refused:
            raise TidemarkError("; ".join(refused) + ".", "change the settings of `retention`, or remove the reason.")


@contextmanager
def planned(settings: Settings, now: datetime | None = None) -> Iterator[Plan]:
    """What is due at an instant (None: now, by the clock of the database); the archive is locked meanwhile.

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer.
    TidemarkError
        Another process changes the archive.
    """
    with writing(settings.postgres.owner, settings.names) as index, reading(settings.kafka) as source:
        connection = index.connection
        if now is None:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None  # noqa: S101 - a statement that always has one row
            now = row[0]
        yield Plan(
            now,
            (
                *tables.steps(connection, settings.names, settings.retention, now),
                *reads.steps(connection, settings.names, settings.retention, now),
                *topics.steps(settings, source, index, now),
                *files.steps(connection, settings, source, index, now),
            ),
            connection,
            settings.run_id,
        )


def service(settings: Settings) -> Service[Stateless, Plan]:
    """Takes the steps that are due, every `retention.interval_s`; what is refused is logged, and tried again then."""
    return Service("retention", settings.retention.interval_s, Stateless, lambda _: _act(settings), log, _report)


def _act(settings: Settings) -> Plan:
    with planned(settings) as plan:
        plan.act("serve retention")
    return plan


def _report(plan: Plan, failing: bool) -> None:
    for step in plan.steps:
        if step.refused:
            log("refused", level="warning", target=step.target, why=step.refused)
        elif step.is_due:
            log("done", target=step.target, does=step.does, count=step.count, bytes=step.size, limited=step.limited)
    if failing:
        log("recovered")
