"""Which addresses a receiver may have: a catalog says where notifications go, the settings say where they may go."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from tidemark.core.settings.serving import DeliverySettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Instance metadata that is not link-local: AWS by IPv6, Alibaba, Azure's wire server.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))


class ReachError(Exception):
    """A receiver may not be reached where it is; the text says why and which setting decides it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where notifications may go.

    Parameters
    ----------
    hosts:
        Globs of host names; none allows any.
    allow_http:
        Whether without TLS.
    allow_local:
        Whether to loopback, link-local and metadata addresses.
    ca_file:
        PEM file of the authorities that receivers are checked against; None: those of certifi.
    """

    hosts: tuple[str, ...] = ()
    allow_http: bool = False
    allow_local: bool = False
    ca_file: Path | None = None

    def check_url(self, url: str) -> None:
        """Pass if scheme and host of a URL are allowed.

        Raises
        ------
        ReachError
            One is not.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and self.allow_http):
            raise ReachError(f"{parts.scheme or 'no scheme'} is not allowed; use https, or set delivery.allow_http.")
        host = (parts.hostname or "").rstrip(".")
        if self.hosts and not any(fnmatchcase(host, glob.lower()) for glob in self.hosts):
            raise ReachError("its host is not in delivery.hosts.")

    def addresses(self, host: str, port: int) -> Iterator[str]:
        """Addresses of a name that may be connected to, in the resolver's order.

        Who connects uses these and asks for the name no second time: another answer would not have been checked.

        Raises
        ------
        ReachError
            None of them may be.
        OSError
            The name has none.
        """
        found = dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        allowed = [one for one in found if self.allow_local or not is_local(one)]
        if found and not allowed:
            raise ReachError("its address is loopback, link-local or of metadata; delivery.allow_local lets that be.")
        yield from allowed


def reach_of(settings: DeliverySettings) -> Reach:
    """What the settings allow."""
    return Reach(settings.hosts, settings.allow_http, settings.allow_local, settings.ca_file)


def is_local(text: str) -> bool:
    """Whether an address is one that only this machine or its host can mean."""
    address = _embedded(ipaddress.ip_address(text))
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address == ipaddress.IPv4Address("255.255.255.255")
        or address in _METADATA
    )


def _embedded(address: Address) -> Address:
    """The IPv4 address within an IPv6 one, by which it is reached."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
