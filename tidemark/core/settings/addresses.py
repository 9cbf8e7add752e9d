"""Addresses of services, as types of settings: validates the form of each and suggests a correction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator

from tidemark.core.settings.postgres_url import parse

_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII)
_PATH = re.compile(r"[\w/.+@-]+", re.ASCII)
_KAFKA_PORT = 9_092
_MAX_PORT = 65_535
# A local socket: it has a path and no host.
_SOCKET = "unix"


def url_of(*schemes: str) -> Callable[[str], str]:
    """A check that a URL has one of these schemes, a host, and a valid port if any."""

    def check(url: str) -> str:
        scheme = _check_scheme(url, schemes)
        try:
            host, port = urlsplit(url).hostname, urlsplit(url).port
        except ValueError:
            raise ValueError(f"has a port that is not a number up to {_MAX_PORT}") from None
        if not host and scheme != _SOCKET:
            raise ValueError(f"has no host; write {scheme}://HOST{'' if port is None else f':{port}'}")
        return url

    return check


_REDIS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def redis_url(url: str) -> str:
    """Check that a URL is one of Redis, with no parameters but files of TLS: the server is always verified."""
    scheme = urlsplit(url_of("redis", "rediss", _SOCKET)(url)).scheme
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for name, value in given.items():
        if name not in _REDIS_FILES:
            raise ValueError(f"has the parameter {name[:40]!r}; known are {', '.join(_REDIS_FILES)}")
        if scheme != "rediss":
            raise ValueError(f"has the parameter {name} without TLS; write rediss://")
        if not value.startswith("/"):
            raise ValueError(f"has a {name} that is no absolute path, and workers run in other folders")
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise ValueError("has one of ssl_certfile and ssl_keyfile; they go together")
    return url


def postgres_url(url: str) -> str:
    """Check that a URL is one of Postgres that tools and jobs understand alike."""
    _check_scheme(url, ("postgresql", "postgres"))
    parse(url)
    return url


def _check_scheme(url: str, schemes: Sequence[str]) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"has no scheme; write {_example(schemes[0], url)}")
    if scheme not in schemes:
        raise ValueError(f"has the scheme {scheme!r}, not {' or '.join(schemes)}; write {_example(schemes[0], rest)}")
    return scheme


def _example(scheme: str, rest: str) -> str:
    """A corrected URL; the text before an @ may be a password, and is not repeated."""
    return f"{scheme}://{rest.rpartition('@')[2] or 'HOST'}"


def brokers(text: str) -> str:
    """Check that each of the comma-separated brokers is host:port."""
    for broker in text.split(","):
        match = _BROKER.fullmatch(broker.strip())
        if match is None:
            host = broker.partition("://")[2] or broker
            meant = host if _BROKER.fullmatch(host) else f"{host.strip().partition(':')[0] or 'HOST'}:{_KAFKA_PORT}"
            raise ValueError(f"names {broker!r}, which is not host:port; did you mean {meant}?")
        if not 0 < int(match[2]) <= _MAX_PORT:
            raise ValueError(f"names the port {match[2]}; ports go from 1 to {_MAX_PORT}")
    return text


def plain_path(path: Path) -> Path:
    """Check that a path is absolute, and has nothing that the options of a table would read as something else."""
    if not path.is_absolute():
        raise ValueError("is not absolute, and workers run in other folders; write the whole path")
    if not _PATH.fullmatch(str(path)):
        raise ValueError("has a character outside a-z, A-Z, 0-9 and /._+@-")
    return path


PlainPath = Annotated[Path, AfterValidator(plain_path)]
PostgresUrl = Annotated[str, AfterValidator(postgres_url)]
RedisUrl = Annotated[str, AfterValidator(redis_url)]
HttpUrl = Annotated[str, AfterValidator(url_of("http", "https"))]
Brokers = Annotated[str, AfterValidator(brokers)]
