"""A Kafka that lets nobody in without TLS, a password and a right: SASL_SSL, SCRAM users, ACLs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.integration.own_kafka import OwnKafka
from tests.ports import free_port
from tidemark.core.settings import KafkaSettings

ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
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


class SecuredKafka(OwnKafka):
    """A broker of a test alone, with the users that are named and an administrator.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    users:
        Passwords by user.
    """

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        self._users = {ADMIN: "admin-secret", **users}
        self._certificates = Certificates.make(folder)
        self._folder, self._port, controller = folder, free_port(), free_port()
        scram = tuple(
            item
            for user, secret in self._users.items()
            for item in ("--add-scram", f"{MECHANISM}=[name={user},password={secret}]")
        )
        probe = self._port, self.settings_of(ADMIN)
        super().__init__(folder, self._own_properties(controller), controller, probe, scram)

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
        }  # fmt: skip

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


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
