"""Helpers of the storage tests: a run of its own in the shared database, and a Redis process of its own."""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from psycopg import sql

from infra.service_settings import REDIS_READER
from tests.addresses import redis_as, redis_at
from tests.ports import free_port
from tidemark.core import migrate, postgres
from tidemark.core.settings import Settings


def reader_url(settings: Settings) -> str:
    """Address of the stack's Redis for a service that asks for limits, with its password."""
    return redis_as(settings, REDIS_READER)


@contextmanager
def own_run(settings: Settings, redis_url: str = "") -> Iterator[Settings]:
    """Settings of a fresh run, migrated; its schemas are dropped at the end."""
    changes = {
        "run_id": f"t{secrets.token_hex(5)}",
        **(redis_at(redis_url) if redis_url else {}),
    }
    run = settings.with_changes(changes)
    migrate.migrate(run)
    try:
        yield run
    finally:
        with postgres.connect(run.postgres) as connection:
            schemas = map(sql.Identifier, (run.names.report_schema, run.names.billing_schema, run.names.usage_schema))
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.SQL(", ").join(schemas)))


class OwnRedis:
    """A redis-server on a free port, to be killed, frozen and started again; keeps its snapshot in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        arguments = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server did not start within 10 s"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        self.client.connection_pool.disconnect()

    def freeze(self) -> None:
        """Stop it: it keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
