"""A POST ends in time whatever the receiver does: it says nothing, too little, or has addresses that are all dead."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tidemark.delivery.http import SendError, post
from tidemark.delivery.message import Message
from tidemark.delivery.reach import Reach

TIMEOUT_S = 0.3
# Far beyond any test: whoever waits for this long waits without end.
HANGS_S = 60.0
# The listeners of these tests are on loopback, without TLS.
ANYWHERE = Reach(allow_http=True, allow_local=True)


@contextmanager
def listening(serve: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """Address of a listener that serves each connection in a thread; None: it accepts and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                if serve is not None:
                    threading.Thread(target=served, args=(serve, client), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def served(serve: Callable[[socket.socket], None], client: socket.socket) -> None:
    with suppress(OSError), client:
        serve(client)


def message(url: str) -> Message:
    return Message(url, {"Content-Type": "application/json"}, b"{}")


def ended_within(seconds: float, url: str) -> str:
    """The error of a POST, which must not take as long as given; its thread would be seen."""
    errors: list[str] = []

    def attempt() -> None:
        with pytest.raises(SendError) as raised:
            post(message(url), (), TIMEOUT_S, ANYWHERE)
        errors.append(str(raised.value))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    assert errors, "it still waits"
    return errors[0]


def trickle(stop: threading.Event) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not stop.wait(TIMEOUT_S / 4):
            client.sendall(b"x")

    return serve


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_receiver_that_accepts_and_says_nothing_ends_in_time(scheme: str) -> None:
    with listening(None) as address:
        error = ended_within(HANGS_S, f"{scheme}://{address}/x?token=s3cret")
    assert error == f"{scheme}://{address}: no response within {TIMEOUT_S:g} s"


def test_a_receiver_that_sends_a_byte_now_and_then_ends_in_time_and_sees_its_connection_end() -> None:
    stop, gone = threading.Event(), threading.Event()

    def serve(client: socket.socket) -> None:
        try:
            trickle(stop)(client)
        except OSError:
            gone.set()

    with listening(serve) as address:
        assert ended_within(HANGS_S, f"http://{address}/") == f"http://{address}: no response within {TIMEOUT_S:g} s"
        assert gone.wait(HANGS_S), "the thread that was left still reads"
        stop.set()


def test_a_body_that_never_ends_ends_in_time() -> None:
    stop = threading.Event()

    def serve(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 400\r\n\r\n")
        while not stop.wait(TIMEOUT_S / 4):
            client.sendall(b"x")

    with listening(serve) as address:
        assert "no response within" in ended_within(HANGS_S, f"http://{address}/")
        stop.set()


def test_a_handshake_that_is_never_finished_ends_in_time_and_sees_its_connection_end() -> None:
    closed = threading.Event()

    def serve(client: socket.socket) -> None:
        while client.recv(65_536):
            pass
        closed.set()

    with listening(serve) as address:
        ended_within(HANGS_S, f"https://{address}/")
        assert closed.wait(HANGS_S)


def test_dead_addresses_together_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a name with many addresses of which each takes the whole time.
    released = threading.Event()

    def every_address(*_: Any, **__: Any) -> Any:
        for _attempt in range(20):
            released.wait(TIMEOUT_S)
        raise TimeoutError

    monkeypatch.setattr("tidemark.delivery.bounded_session.create_connection", every_address)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("203.0.113.1", 80))])
    assert "no response within" in ended_within(TIMEOUT_S * 15, "http://receiver.invalid/")
    released.set()


def test_a_name_that_nobody_resolves_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(HANGS_S) and [])
    assert "no response within" in ended_within(HANGS_S / 2, "http://receiver.invalid/")
    released.set()


def test_an_error_names_the_host_and_no_secret() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SendError) as raised:
            post(message(f"http://{address}/x?token=s3cret"), ("s3cret",), 10, ANYWHERE)
    assert str(raised.value) == f"http://{address}: ConnectionError"


def test_a_response_is_read_with_its_retry_after_and_its_secret_masked() -> None:
    def serve(client: socket.socket) -> None:
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 12\r\n\r\nnot s3cret!\n")

    with listening(serve) as address:
        response = post(message(f"http://{address}/"), ("s3cret",), 10, ANYWHERE)
    assert (response.status, response.retry_after, response.excerpt) == (429, "7", "not ***!")
