"""A Kafka that lets nobody in without TLS, a password and a right: SASL_SSL, SCRAM users, ACLs."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from infra.local import programs, provision
from infra.service_settings import KAFKA, KAFKA_JAVA_OPTIONS
from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
_STARTS_WITHIN_S = 90
_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one authority and of the broker that it vouches for, on 127.0.0.1."""

    authority: Path
    broker: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make both by OpenSSL; the broker's file holds its key (PKCS#8) and its certificate."""
        made = cls(folder / "ca.pem", folder / "broker.pem")
        key, request, certificate = folder / "broker.key", folder / "broker.csr", folder / "broker.crt"
        names = folder / "names.cnf"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        new_key = ["-newkey", "rsa:2048", "-nodes"]
        _openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=Test authority", "-keyout", folder / "ca.key",
                 "-out", made.authority)  # fmt: skip
        _openssl("req", *new_key, "-subj", "/CN=broker", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-days", "2", "-in", request, "-CA", made.authority, "-CAkey", folder / "ca.key",
                 "-CAcreateserial", "-extfile", names, "-out", certificate)  # fmt: skip
        made.broker.write_text(key.read_text() + certificate.read_text())
        return made


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
        self._certificates = Certificates.make(folder)
        self._port, controller = _free_port(), _free_port()
        self._properties = folder / "kafka.properties"
        own = self._own_properties(controller)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in {**KAFKA, **own}.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def _own_properties(self, controller: int) -> dict[str, str]:
        listener = "listener.name.sasl_ssl"
        return {
            "listeners": f"SASL_SSL://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"SASL_SSL://127.0.0.1:{self._port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"{listener}.{MECHANISM.lower()}.sasl.jaas.config":
                f'{_LOGIN} username="{ADMIN}" password="{self._users[ADMIN]}";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificates.broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._certificates.authority),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's own listener knows no users.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self._folder / "data"),
        }  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers its administrator."""
        scram = [
            item
            for user, secret in self._users.items()
            for item in ("--add-scram", f"{MECHANISM}=[name={user},password={secret}]")
        ]
        form = ["format", "-t", "TidemarkSecuredTest0000", "-c", str(self._properties), *scram]
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
            sasl_mechanism=MECHANISM,
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
