"""A Postgres that lets nobody in without TLS and a password, and one of its logins without a certificate; no tables."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psycopg

from infra.local import configure, prepare, secured
from infra.local.account import Account
from infra.local.addresses import postgres_urls
from infra.local.paths import Paths
from infra.local.programs import POSTGRES_ARGUMENTS, confined, postgres_command
from infra.local.provision import locations
from infra.service_settings import DATABASE, STANDARD_PORTS
from tests.ports import free_port
from tidemark.core.grants import LEDGER

# It needs a certificate of its own beside its password.
CERTIFIED = LEDGER
_STARTS_WITHIN_S = 60


class SecuredPostgres:
    """A server of a test alone, as a secured local stack has it.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.paths, self._parts, self.port = Paths.of(folder), locations(), free_port()
        Account.of(folder).admit(folder)
        self.certificates = self.paths.certificates.make(self.paths.certificates.folder)
        for made in (self.paths.conf, self.paths.data):
            made.mkdir(parents=True, exist_ok=True)
        prepare.write_passfiles(self.paths)
        ports = {**STANDARD_PORTS, "postgres": self.port}
        (self.paths.conf / "postgres.conf").write_text(configure._postgres_conf(self.paths, ports))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it has its roles and its database."""
        prepare.prepare_postgres(self.paths, self._parts)
        rules = self.paths.conf / secured.HBA
        rules.write_text(secured.postgres_hba([CERTIFIED]))
        prepare.give(rules, self.paths.data / "postgres" / secured.HBA, Account.of(self.paths.root))
        with (self.paths.root / "postgres.log").open("wb") as log:
            command = confined(self.paths, self._parts, postgres_command(self._parts, "postgres", *POSTGRES_ARGUMENTS))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._is_ready():
            assert time.monotonic() < deadline, (self.paths.root / "postgres.log").read_text()[-2_000:]
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            prepare.prepare_database(self.paths, self.port)
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)

    def url(self, login: str = "writer_url") -> str:
        """Address of the database for a login, verified."""
        return postgres_urls(self.paths, self.port, DATABASE)[login]
