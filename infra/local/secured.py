"""What makes each service of a stack let nobody in without TLS and a name; configuration beside the usual one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.confined import POSTGRES_DATA
from infra.local.paths import write_private
from infra.local.tls import Certificates
from infra.service_settings import KAFKA_ADMIN, KAFKA_MECHANISM

_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"
SERVER_CERTIFICATE, SERVER_KEY, AUTHORITY, HBA = "server.crt", "server.key", "ca.pem", "tidemark_hba.conf"


def kafka(certificates: Certificates, port: int, controller: int, admin_password: str) -> dict[str, str]:
    """Options of a broker: SASL_SSL for clients, mutual TLS for its controller, ACLs for all but two administrators."""
    listener, controllers = "listener.name.sasl_ssl", "listener.name.controller"
    return {
        "listeners": f"SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:SSL,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": KAFKA_MECHANISM,
        "sasl.mechanism.inter.broker.protocol": KAFKA_MECHANISM,
        f"{listener}.{KAFKA_MECHANISM.lower()}.sasl.jaas.config":
            f'{_LOGIN} username="{KAFKA_ADMIN}" password="{admin_password}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.bundle),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.authority),
        # Who reaches the controller may do everything there: the broker alone has a certificate of that name.
        f"{controllers}.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{KAFKA_ADMIN};User:CN=127.0.0.1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }  # fmt: skip


def write_kafka_users(file: Path, passwords: Mapping[str, str]) -> str:
    """Write arguments of Kafka's StorageTool that make the users, once; returns the argument that names the file."""
    users = (f"{KAFKA_MECHANISM}=[name={user},password={secret}]" for user, secret in passwords.items())
    write_private(file, "".join(f"--add-scram\n{user}\n" for user in users))
    return f"@{file}"


def postgres() -> dict[str, str]:
    """Options of Postgres; its files are copied to where it sees its data."""
    return {
        "ssl": "on",
        "ssl_cert_file": f"{POSTGRES_DATA}/{SERVER_CERTIFICATE}",
        "ssl_key_file": f"{POSTGRES_DATA}/{SERVER_KEY}",
        "ssl_ca_file": f"{POSTGRES_DATA}/{AUTHORITY}",
        "ssl_min_protocol_version": "TLSv1.2",
        "hba_file": f"{POSTGRES_DATA}/{HBA}",
    }


def postgres_hba(certificate_of: Iterable[str] = ()) -> str:
    """Who may connect, and how: by TLS with a password; some logins with a certificate of theirs beside it."""
    lines = [f"hostssl all {login} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca" for login in certificate_of]
    return "\n".join([*lines, "hostssl all all 127.0.0.1/32 scram-sha-256", ""])


def redis(certificates: Certificates, port: int) -> dict[str, str]:
    """Options of Redis: a port with TLS, and none without."""
    return {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificates.certificate("server")),
        "tls-key-file": str(certificates.key("server")),
        "tls-ca-cert-file": str(certificates.authority),
        # Names and passwords say who it is.
        "tls-auth-clients": "no",
    }


def flink(certificates: Certificates) -> str:
    """Lines of Flink's configuration: mutual TLS between its processes, and for whoever calls its REST interface."""
    password = certificates.store_password
    own = {"keystore": certificates.keystore, "keystore-password": password, "key-password": password,
           "truststore": certificates.truststore, "truststore-password": password}  # fmt: skip
    switches = ["security.ssl.internal.enabled: true", "security.ssl.rest.enabled: true",
                "security.ssl.rest.authentication-enabled: true"]  # fmt: skip
    stores = [f"security.ssl.{part}.{name}: {value}" for part in ("internal", "rest") for name, value in own.items()]
    return "\n".join([*switches, *stores])
