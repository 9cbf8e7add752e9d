"""Losing a store of the stack, and how long it takes until every number is right again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from psycopg import sql

from infra.local.prepare import connect_admin, make_database
from jobs.flink.rest import wait_until
from tests.pipeline import Pipeline
from tidemark.core.kafka import clients
from tidemark.core.settings import Settings


class Clock:
    """Seconds since a loss, by step; printed, for docs/reliability.md."""

    def __init__(self, drill: str) -> None:
        self._drill, self._since = drill, time.monotonic()
        self._steps: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        since = time.monotonic()
        yield
        self._steps.append(f"{name} {time.monotonic() - since:.0f}")

    def note(self, name: str) -> None:
        """What took all the time so far."""
        self._steps.append(f"{name} {time.monotonic() - self._since:.0f}")

    def print(self, rpo: str) -> None:
        rto = time.monotonic() - self._since
        steps = f" ({', '.join(self._steps)})" if self._steps else ""
        sys.stdout.write(f"\ndrill {self._drill}: RPO {rpo}; RTO {rto:.0f} s{steps}\n")


def say(_: str) -> None: ...


def make_database_anew(stack: Any, settings: Settings) -> None:
    """Drop the database with all that is in it, and make an empty one of its name."""
    address = urlsplit(settings.postgres.url)
    name, port = address.path.strip("/"), address.port
    assert port is not None
    drop_database(stack, settings)
    with connect_admin(stack.local.paths, port) as admin:
        make_database(admin, name)
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))


def drop_database(stack: Any, settings: Settings) -> None:
    """Postgres is lost, for this run."""
    address = urlsplit(settings.postgres.url)
    assert address.port is not None
    with connect_admin(stack.local.paths, address.port) as admin:
        name = sql.Identifier(address.path.strip("/"))
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


def cancel(run: Pipeline, jobs: Sequence[str]) -> None:
    """End some jobs without a savepoint."""
    names = [run.settings.names.job(job) for job in jobs]
    for job in filter(None, map(run.rest.active, names)):
        run.rest.cancel(job.id)
    wait_until(lambda: not any(map(run.rest.active, names)), 60, f"{names} to end")


def lose_topics(settings: Settings) -> None:
    """Kafka is lost, for this run: its topics, and the source with them."""
    names, source = settings.names, settings.topics
    own = {names.deltas, names.dlq, names.alerts, names.reevaluations, names.closes, names.corrections}
    with clients.admin(settings.kafka) as admin:
        there = ({source.events, source.redrive} | own) & {*admin.list_topics()}
        admin.delete_topics([*there])
        wait_until(lambda: not there & {*admin.list_topics()}, 60, "the topics to go")
