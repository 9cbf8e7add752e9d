"""A Kafka that lets nobody in without TLS, a password and a right: SASL_SSL, SCRAM users, ACLs."""

from __future__ import annotations

from pathlib import Path

from infra.local import secured
from infra.local.account import Account
from infra.local.tls import Certificates
from infra.service_settings import KAFKA_ADMIN, KAFKA_MECHANISM
from tests.integration.own_kafka import OwnKafka
from tests.ports import free_port
from tidemark.core.settings import KafkaSettings

ADMIN = KAFKA_ADMIN


class SecuredKafka(OwnKafka):
    """A broker of a test alone, with the users that are named and an administrator.

    Parameters
    ----------
    folder:
        Where its files are; empty.
    users:
        Passwords by user.
    readers:
        Whose Flink reads them.
    """

    def __init__(self, folder: Path, users: dict[str, str], readers: Account) -> None:
        self._users, self._readers = {ADMIN: "admin-secret", **users}, readers
        readers.admit(folder)
        self._certificates = Certificates.make(folder / "tls")
        readers.own(folder / "tls")
        self._folder, self._port, controller = folder, free_port(), free_port()
        own = secured.kafka(self._certificates, self._port, controller, self._users[ADMIN])
        users = secured.write_kafka_users(folder / "users", self._users)
        super().__init__(folder, own, controller, (self._port, self.settings_of(ADMIN)), (users,))

    def settings_of(self, user: str, password: str | None = None) -> KafkaSettings:
        """What a client of this user connects with; `password` instead of its own."""
        file = self._folder / f"{user}.properties"
        file.touch(mode=0o600)
        file.write_text(f"password={password or self._users[user]}\n")
        self._readers.own(file)
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self._port}",
            security_protocol="SASL_SSL",
            sasl_mechanism=KAFKA_MECHANISM,
            sasl_username=user,
            sasl_password_file=file,
            ssl_ca_file=self._certificates.authority,
        )
