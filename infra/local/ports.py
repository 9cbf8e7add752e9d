"""Ports of one stack: chosen once, kept in its state directory, so that addresses survive `down` and `up`."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from pathlib import Path

import yaml

from infra.local.paths import write_private
from infra.service_settings import STANDARD_PORTS
from tidemark.core.errors import UnavailableError

# Below Linux's ephemeral range (32768 and up): no outgoing connection can take a port while the stack is down.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def read_ports(path: Path) -> dict[str, int] | None:
    """Ports kept by an earlier `up`, or None."""
    if not path.is_file():
        return None
    kept = yaml.safe_load(path.read_text())
    return {name: int(port) for name, port in kept.items()} if set(STANDARD_PORTS) <= set(kept or ()) else None


def choose_ports(path: Path, *, prefer_standard: bool, more: Mapping[str, int] | None = None) -> dict[str, int]:
    """Kept ports, or free ones that are kept from now on.

    Parameters
    ----------
    path:
        File of the state directory that keeps them.
    prefer_standard:
        Take 9092, 5432, 6379, 8081 ... where they are free (the default stack).
    more:
        Standard ports of what not every stack has.

    """
    chosen = read_ports(path) or {}
    lacking = {name: port for name, port in {**STANDARD_PORTS, **(more or {})}.items() if name not in chosen}
    for name, standard in lacking.items():
        preferred = prefer_standard and is_free(standard)
        chosen[name] = standard if preferred else other_port(set(chosen.values()))
    if lacking:
        write_private(path, yaml.safe_dump(chosen, sort_keys=False))
    return chosen


def other_port(taken: set[int]) -> int:
    """A free port that is not among those taken."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise UnavailableError(f"no free port between {_FIRST} and {_LAST} after {_TRIES} tries.", "stop other servers.")


def refuse_taken(ports: dict[str, int], path: Path) -> None:
    """Raise when another program uses a kept port; call it only while the stack is down.

    Raises
    ------
    UnavailableError
        Lists every taken port at once.

    """
    taken = [f"{name} {port}" for name, port in ports.items() if not is_free(port)]
    if taken:
        raise UnavailableError(
            f"ports of this stack are taken by another program: {', '.join(taken)}.",
            f"stop that program, or delete {path} so that `tidemark up` chooses other ports.",
        )
