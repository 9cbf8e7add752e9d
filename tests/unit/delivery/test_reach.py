"""Where a receiver may be: TLS, hosts and addresses, checked on the address that is connected to."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.unit.delivery.test_http import ANYWHERE, TIMEOUT_S, listening, message
from tidemark.delivery.http import SendError, post
from tidemark.delivery.reach import Reach, ReachError, is_local

LOOPBACK = Reach(allow_http=True)


def refused(url: str, reach: Reach) -> str:
    with pytest.raises(SendError) as raised:
        post(message(url), (), 10, reach)
    return str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%1", "fd00:ec2::254",  # noqa: S104
        "100.100.100.200", "168.63.129.16", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_an_address_of_this_machine_or_of_its_host_is_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.0.1", "203.0.113.7", "fd12::1", "2001:db8::1", "64:ff9b::a00:1"]
)
def test_private_networks_and_the_internet_are_not_local(address: str) -> None:
    assert not is_local(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0"])
def test_loopback_is_not_connected_to_however_it_is_written(host: str) -> None:
    accepted: list[object] = []
    with listening(accepted.append) as address:
        error = refused(f"http://{host}:{address.rpartition(':')[2]}/x?token=s3cret", LOOPBACK)
    assert "delivery.allow_local" in error
    assert "s3cret" not in error
    assert not accepted


def test_a_name_that_resolves_to_another_address_the_second_time_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a name server that says a harmless address first, and loopback from then on.
    answers = iter(["203.0.113.1", *["127.0.0.1"] * 5])
    connected: list[str] = []

    def resolved(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 80))]

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> Any:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr("tidemark.delivery.bounded_session.create_connection", connect)
    assert refused("http://rebinding.invalid/", LOOPBACK) == "http://rebinding.invalid: ConnectionError"
    assert connected == ["203.0.113.1"]


def test_of_several_addresses_only_those_that_may_be_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(0, 0, 0, "", (address, 443)) for address in ("169.254.169.254", "203.0.113.1", "::1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    assert list(Reach().addresses("mixed.invalid", 443)) == ["203.0.113.1"]


def test_a_receiver_without_tls_is_refused_unless_it_is_allowed() -> None:
    assert "use https, or set delivery.allow_http" in refused("http://203.0.113.1/", Reach())
    assert "use https" in refused("file:///etc/passwd", ANYWHERE)


def test_hosts_that_are_listed_are_the_only_ones() -> None:
    reach = Reach(hosts=("hooks.slack.com", "*.Example.internal"))
    for url in ("https://hooks.slack.com/x", "https://AM.example.internal:9093/"):
        reach.check_url(url)
    for url in ("https://evil.example/", "https://example.internal/", "https://hooks.slack.com.evil.example/"):
        with pytest.raises(ReachError, match=r"delivery\.hosts"):
            reach.check_url(url)


def test_the_environment_changes_neither_the_way_nor_the_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    received: list[bytes] = []

    def serve(client: socket.socket) -> None:
        received.append(client.recv(65_536))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with listening(serve) as address:
        assert post(message(f"http://{address}/"), (), TIMEOUT_S * 30, ANYWHERE).status == 200
    assert b"authorization" not in received[0].lower()
