"""The URL of Postgres, taken apart: only what both psycopg and the JDBC driver of the jobs are given is known.

Tools and workers connect with the URL as it is, the writers of the jobs with a translation (`jobs.flink.jdbc`). What
cannot be translated would hold for one and not for the other, so it is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

DEFAULT_PORT = 5_432
_MAX_PORT = 65_535
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.%]+\]|[^\s:,/\[\]@'\"]+)(:(?P<port>\d{1,5}))?", re.ASCII)
# Parameters, and their values where those are few; a file has a path instead.
CHOICES: dict[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    # The jobs and most tools write.
    "target_session_attrs": ("any", "read-write", "primary"),
    "channel_binding": ("disable", "prefer", "require"),
}
FILES = ("sslrootcert", "sslcert", "sslkey")
# Instead of a file of authorities: those that the system trusts.
SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where Postgres is.

    Parameters
    ----------
    user, database:
        Decoded; empty for the driver's own default.
    hosts:
        Each with its port, tried in this order; an IPv6 address in brackets.
    parameters:
        By libpq's names, decoded.
    """

    user: str
    hosts: tuple[tuple[str, int], ...]
    database: str
    parameters: dict[str, str]


def parse(url: str) -> PostgresAddress:
    """Take a URL apart.

    Raises
    ------
    ValueError
        It has no host, a port that is not one, or a parameter that is not known; names it, and never its value.
    """
    split = urlsplit(url)
    user, _, hosts = split.netloc.rpartition("@")
    return PostgresAddress(
        user=unquote(user.partition(":")[0]),
        hosts=tuple(_host(text, split.scheme) for text in hosts.split(",")),
        database=unquote(split.path.removeprefix("/")),
        parameters=_parameters(split.query),
    )


def _host(text: str, scheme: str) -> tuple[str, int]:
    if not text or text.startswith(":"):
        raise ValueError(f"has no host; write {scheme}://HOST{text}")
    match = _HOST.fullmatch(text)
    port = DEFAULT_PORT if match is None or match["port"] is None else int(match["port"])
    if match is None or not 0 < port <= _MAX_PORT:
        raise ValueError(f"has a port that is not a number up to {_MAX_PORT}, or a host that is not one")
    return match["name"], port


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = (unquote(part) for part in pair.partition("="))
        if name not in CHOICES and name not in FILES:
            known = ", ".join((*CHOICES, *FILES))
            raise ValueError(f"has the parameter {name[:40]!r}, which the jobs cannot pass on; known are {known}")
        if name in parameters:
            raise ValueError(f"has the parameter {name} twice")
        _check(name, value)
        parameters[name] = value
    if ("sslcert" in parameters) != ("sslkey" in parameters):
        raise ValueError("has one of sslcert and sslkey; they go together")
    return parameters


def _check(name: str, value: str) -> None:
    if name in CHOICES and value not in CHOICES[name]:
        raise ValueError(f"has a {name} that is not {', '.join(CHOICES[name])}")
    if name in FILES and not value.startswith("/") and (name, value) != ("sslrootcert", SYSTEM):
        raise ValueError(f"has a {name} that is no absolute path, and workers run in other folders")
