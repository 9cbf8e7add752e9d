"""The URL of Postgres as the JDBC driver takes it: the same hosts, the same checks of who the server is."""

from __future__ import annotations

from urllib.parse import quote

from tidemark.core.settings.postgres_url import SYSTEM, parse

# Names of libpq's parameters in the JDBC driver, which reads the same files.
_NAMES = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "channel_binding": "channelBinding",
    "target_session_attrs": "targetServerType",
}
_TARGETS = {"any": "any", "read-write": "primary", "primary": "primary"}
# Trusts the authorities of the JVM.
_SYSTEM_AUTHORITIES = ("sslfactory", "org.postgresql.ssl.DefaultJavaSSLFactory")


def jdbc_url(url: str, application: str) -> str:
    """`jdbc:postgresql://h1:5432,h2:5432/db?user=…&sslmode=verify-full…` of a postgres.url; no password is in it.

    Raises
    ------
    ValueError
        As `tidemark.core.settings.postgres_url.parse`.
    """
    address = parse(url)
    options = [("user", address.user)] if address.user else []
    options += [("reWriteBatchedInserts", "true"), ("ApplicationName", application)]
    options += [_option(name, value) for name, value in address.parameters.items()]
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options)
    return f"jdbc:postgresql://{hosts}/{quote(address.database, safe='')}?{query}"


def _option(name: str, value: str) -> tuple[str, str]:
    if (name, value) == ("sslrootcert", SYSTEM):
        return _SYSTEM_AUTHORITIES
    return _NAMES[name], _TARGETS[value] if name == "target_session_attrs" else value
