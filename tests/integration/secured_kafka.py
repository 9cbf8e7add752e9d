"""A Kafka that lets nobody in without TLS, a password and a right: SASL_SSL, SCRAM users, ACLs."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from infra.local import programs, provision, secured
from infra.local.tls import Certificates
from infra.service_settings import KAFKA, KAFKA_ADMIN, KAFKA_JAVA_OPTIONS, KAFKA_MECHANISM
from tests.ports import free_port
from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

ADMIN = KAFKA_ADMIN
_STARTS_WITHIN_S = 90


class SecuredKafka:
    """A broker of a test alone, with the users that are named and an administrator.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    users:
        Passwords by user.
    """

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        self._folder, self._users = folder, {ADMIN: "admin-secret", **users}
        self._certificates = Certificates.make(folder / "tls")
        self._port, controller = free_port(), free_port()
        self._properties = folder / "kafka.properties"
        own = {**secured.kafka(self._certificates, self._port, controller, self._users[ADMIN]),
               "log.dirs": str(folder / "data")}  # fmt: skip
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in {**KAFKA, **own}.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers its administrator."""
        users = secured.kafka_users(self._users)
        form = ["format", "-t", "TidemarkSecuredTest0000", "-c", str(self._properties), *users]
        subprocess.run(self._command("kafka.tools.StorageTool", *form), check=True, capture_output=True)
        with (self._folder / "broker.log").open("wb") as log:
            broker = self._command("kafka.Kafka", str(self._properties))
            self._process = subprocess.Popen(broker, stdout=log, stderr=log)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "broker.log").read_text()[-4_000:]
            assert self._process.poll() is None, (self._folder / "broker.log").read_text()[-4_000:]
            time.sleep(0.5)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def settings_of(self, user: str, password: str | None = None) -> KafkaSettings:
        """What a client of this user connects with; `password` instead of its own."""
        file = self._folder / f"{user}.properties"
        file.touch(mode=0o600)
        file.write_text(f"password={password or self._users[user]}\n")
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self._port}",
            security_protocol="SASL_SSL",
            sasl_mechanism=KAFKA_MECHANISM,
            sasl_username=user,
            sasl_password_file=file,
            ssl_ca_file=self._certificates.authority,
        )

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", self._port)):
                return False
        try:
            with clients.admin(self.settings_of(ADMIN), request_timeout_ms=5_000) as admin:
                return bool(admin.describe_cluster())
        except Exception:  # noqa: BLE001 - whatever it is, the broker is not ready
            return False

    def _command(self, main: str, *arguments: str) -> list[str]:
        jars = provision.locations().kafka_jars
        logging = f"-Dlog4j2.configurationFile={Path(programs.__file__).parents[1] / 'kafka/log4j2.properties'}"
        return [programs.java(), *KAFKA_JAVA_OPTIONS, logging, "-cp", f"{jars}/*", main, *arguments]
