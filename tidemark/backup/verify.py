"""Tries a backup: restores it beside the database, and runs the checks of reconciliation that need no stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from tidemark.archive.index import Index
from tidemark.archive.layout import Folder
from tidemark.backup import restore
from tidemark.backup.manifest import Manifest
from tidemark.backup.scratch import scratch
from tidemark.core import postgres
from tidemark.core.errors import DifferenceError, UnavailableError
from tidemark.core.places import Place
from tidemark.core.settings import Settings
from tidemark.reconcile import grains, invoices, ledger
from tidemark.reconcile.findings import Outcome
from tidemark.reconcile.sample import Wanted

Say = Callable[[str], None]


@dataclass(slots=True)
class Verified:
    """What a verification did.

    Parameters
    ----------
    seconds:
        How long each step took, by name.
    applied:
        Migrations that the backup had not and this version has; the restore applied them.
    outcomes:
        Of the checks of reconciliation, by run and check; those that could not run say why.
    missing:
        Files of the archive that the backup's index has and its folder has not, or not so long.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What is wrong, as text."""
        differing = {name: outcome.differing for name, outcome in self.outcomes.items() if outcome.findings}
        found = [f"{name}: {count:,} differences" for name, count in differing.items()]
        return [*found, *(f"the archive lacks {path}" for path in self.missing)]

    def raise_if_faulty(self) -> None:
        """Raise DifferenceError for any fault."""
        if self.faults:
            raise DifferenceError(f"the backup has {len(self.faults)} faults: {self.faults[0]}.", "take another one.")

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        since = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - since, 1)


def verify(settings: Settings, place: Place, manifest: Manifest, say: Say, database: str = "") -> Verified:
    """Restore a backup into a database that is made and dropped (or is empty, by name), and check it.

    Raises
    ------
    DifferenceError
        A file is not what was written.
    UsageError
        No database can be made, or the named one is not empty.
    TidemarkError
        The backup was made by a later version.
    """
    verified = Verified()
    with scratch(settings, database) as there:
        with verified.timed("restore"):
            verified.applied = restore.into(there, place, manifest, say)
        with verified.timed("check"), postgres.connect(there.postgres.owner) as connection:
            for run, has_ledger in manifest.runs.items():
                own = there.with_changes({"run_id": run})
                verified.outcomes |= _outcomes(own, connection, say, has_ledger=has_ledger)
                if has_ledger:
                    verified.missing += _missing(own, connection) if settings.archive.dir else []
    return verified


def _outcomes(run: Settings, connection: psycopg.Connection, say: Say, *, has_ledger: bool) -> dict[str, Outcome]:
    usage = run.names.usage_schema
    say(f"checking {usage} …")
    tolerance, everybody = run.reconcile.tolerance, Wanted()
    found = {f"{usage}: grains": grains.check(connection, [usage], everybody, tolerance, 0.0)}
    if has_ledger:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            billing = run.names.billing_schema
            found[f"{billing}: invoices"] = invoices.check(connection, run.names, everybody, tolerance)
            found[f"{billing}: ledger"] = _ledger(run, connection)
    return found


def _ledger(run: Settings, connection: psycopg.Connection) -> Outcome:
    try:
        return ledger.check(run, connection, Wanted())
    except UnavailableError as error:
        return Outcome(not_checked=f"its topics cannot be read: {error.what}")


def _missing(run: Settings, connection: psycopg.Connection) -> list[str]:
    postgres.use_schema(connection, run.names.billing_schema)
    index, place = Index(connection), Folder.of(run).place
    files = [file for topic in index.topics() for file in index.files(topic)]
    return [file.path for file in files if place.size(file.path) != file.size]
