"""Addresses of services, as types of settings: validates the form of each and suggests a correction."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,/\[\]@]+):(\d{1,5})", re.ASCII)
_KAFKA_PORT = 9_092
_MAX_PORT = 65_535
# A local socket: it has a path and no host.
_SOCKET = "unix"


def url_of(*schemes: str) -> Callable[[str], str]:
    """A check that a URL has one of these schemes, a host, and a valid port if any."""

    def check(url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise ValueError(f"has no scheme; write {_example(schemes[0], url)}")
        if scheme not in schemes:
            raise ValueError(
                f"has the scheme {scheme!r}, not {' or '.join(schemes)}; write {_example(schemes[0], rest)}"
            )
        try:
            host, port = urlsplit(url).hostname, urlsplit(url).port
        except ValueError:
            raise ValueError(f"has a port that is not a number up to {_MAX_PORT}") from None
        if not host and scheme != _SOCKET:
            raise ValueError(f"has no host; write {scheme}://HOST{'' if port is None else f':{port}'}")
        return url

    return check


def _example(scheme: str, rest: str) -> str:
    """A corrected URL; the text before an @ may be a password, and is not repeated."""
    return f"{scheme}://{rest.rpartition('@')[2] or 'HOST'}"


def brokers(text: str) -> str:
    """Check that each of the comma-separated brokers is host:port."""
    for broker in text.split(","):
        found = _BROKER.fullmatch(broker.strip())
        if found is None:
            host = broker.partition("://")[2] or broker
            meant = host if _BROKER.fullmatch(host) else f"{host.strip().partition(':')[0] or 'HOST'}:{_KAFKA_PORT}"
            raise ValueError(f"names {broker!r}, which is not host:port; did you mean {meant}?")
        if not 0 < int(found[2]) <= _MAX_PORT:
            raise ValueError(f"names the port {found[2]}; ports go from 1 to {_MAX_PORT}")
    return text


PostgresUrl = Annotated[str, AfterValidator(url_of("postgresql", "postgres"))]
RedisUrl = Annotated[str, AfterValidator(url_of("redis", "rediss", _SOCKET))]
HttpUrl = Annotated[str, AfterValidator(url_of("http", "https"))]
Brokers = Annotated[str, AfterValidator(brokers)]
