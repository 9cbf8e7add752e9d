"""Which processes of a stack listen, and where: everybody who reaches the machine reaches what is not on loopback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"
_PROC = Path("/proc")


@dataclass(frozen=True, order=True, slots=True)
class Listener:
    """A port that a process listens on."""

    pid: int
    program: str
    address: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether more than this machine reaches it."""
        address = ip_address(self.address)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return not (mapped or address).is_loopback


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Every TCP port that these processes listen on."""
    where = {inode: (address, port) for table in ("tcp", "tcp6") for inode, address, port in _table(table)}
    return sorted({
        Listener(pid, _program(pid), *where[inode]) for pid in pids for inode in _sockets(pid) if inode in where
    })  # fmt: skip


def parse(line: str) -> tuple[str, str, int] | None:
    """Inode, address and port of a line of /proc/net/tcp that is a listening socket."""
    words = line.split()
    if len(words) <= 9 or words[3] != _LISTEN:  # noqa: PLR2004 - the columns of /proc/net/tcp
        return None
    address, _, port = words[1].partition(":")
    # Words of four bytes in the order of the machine.
    raw = b"".join(bytes.fromhex(address[place : place + 8])[::-1] for place in range(0, len(address), 8))
    found = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)  # noqa: PLR2004 - bytes
    return words[9], str(found), int(port, 16)


def _table(name: str) -> Iterator[tuple[str, str, int]]:
    try:
        lines = (_PROC / "net" / name).read_text().splitlines()[1:]
    except OSError:
        return
    yield from filter(None, map(parse, lines))


def _sockets(pid: int) -> Iterator[str]:
    # A process may end, and close files, meanwhile.
    with suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                kind, _, inode = str(link.readlink()).partition(":[")
                if kind == "socket":
                    yield inode.removesuffix("]")


def _program(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"
