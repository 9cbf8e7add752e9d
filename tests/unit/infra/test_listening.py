"""What a stack opens: Beam's servers stay on loopback, and a door that is open is found."""

from __future__ import annotations

import os
import socket
import zipfile
from ipaddress import ip_address
from pathlib import Path

import pytest

from infra.local import beam_loopback, flink_conf
from infra.local.listening import Listener, listeners, parse
from infra.local.programs import FLINK_HOME
from tidemark.core.errors import TidemarkError


def beams_class() -> bytes:
    (jar,) = FLINK_HOME.glob("opt/flink-python-*.jar")
    with zipfile.ZipFile(jar) as whole:
        return whole.read(beam_loopback.CLASS)


def test_beams_server_gets_the_address_instead_of_its_port() -> None:
    before, after = beams_class(), beam_loopback.patched(beams_class())
    pool = beam_loopback.Pool.of(after)
    index, descriptor = pool.method("forAddress")
    assert descriptor.startswith("(Ljava/net/SocketAddress;)")
    # It is the very call that was that of the port, on the address that was asked for its port.
    assert index == beam_loopback.Pool.of(before).method("forPort")[0]
    assert b"\x2b\0\0\0\xb8" + index.to_bytes(2, "big") in after
    # Nothing else changed: what follows the constants is as long as before.
    old, new = before[beam_loopback.Pool.of(before).end :], after[pool.end :]
    assert len(new) == len(old)
    assert sum(one != other for one, other in zip(old, new, strict=True)) <= 3


@pytest.mark.parametrize("spoilt", [b"forOther", b"getOther"])
def test_another_class_of_beam_is_refused(spoilt: bytes) -> None:
    known = {b"forOther": b"forPort", b"getOther": b"getPort"}[spoilt]
    with pytest.raises(TidemarkError, match="is not the one that is known"):
        beam_loopback.patched(beams_class().replace(known, spoilt[: len(known)]))


def test_its_jar_goes_before_that_of_flink(tmp_path: Path) -> None:
    (jar,) = FLINK_HOME.glob("opt/flink-python-*.jar")
    beam_loopback.write(jar, tmp_path / beam_loopback.JAR)
    assert min(jar.name, beam_loopback.JAR) == beam_loopback.JAR
    with zipfile.ZipFile(tmp_path / beam_loopback.JAR) as made:
        assert made.namelist() == [beam_loopback.CLASS]


@pytest.mark.parametrize(("address", "is_open"), [("127.0.0.1", False), ("0.0.0.0", True), ("::1", False)])  # noqa: S104
def test_a_port_that_listens_is_found_with_who_reaches_it(address: str, is_open: bool) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        (found,) = [one for one in listeners([os.getpid()]) if one.port == port]
    assert (found.address, found.is_open, found.pid) == (address, is_open, os.getpid())


def test_addresses_of_ipv6_are_read_too() -> None:
    # Java's sockets: an IPv4 address in IPv6, and all interfaces.
    line = "  0: {}:1F90 {}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1"
    loopback, everything = "0000000000000000FFFF00000100007F", "0" * 32
    inode, address, port = parse(line.format(loopback, everything)) or ("", "::", 0)
    assert (inode, ip_address(address), port) == ("4711", ip_address("::ffff:127.0.0.1"), 8080)
    assert not Listener(1, "java", address, port).is_open
    assert parse(line.format(everything, everything)) == ("4711", "::", 8080)
    assert parse(line.replace(" 0A ", " 01 ").format(loopback, everything)) is None


def test_ports_of_metrics_are_those_that_were_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("rest.port: 8081\n")
    assert list(flink_conf.metrics_ports(config)) == []
    config.write_text(flink_conf.reporter("9249-9251"))
    assert list(flink_conf.metrics_ports(config)) == [9249, 9250, 9251]
