"""Middleware around real apps and servers: each request of a customer is a use, and a limit that is reached answers."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.integration.sdk.event_server import KEY, EventServer, event_server
from tests.integration.sdk.test_reader import ID, PATIENT_S, fill
from tests.integration.storage import OwnRedis
from tidemark_client import AsyncLimitReader, Client, LimitReader
from tidemark_client.web.asgi import MeterAsgi
from tidemark_client.web.wsgi import MeterWsgi

WAIT_S = 60.0
TENANT, CUSTOMER, METER = ID


@pytest.fixture
def server() -> Iterator[EventServer]:
    with event_server() as made:
        yield made


@pytest.fixture
def client(server: EventServer, tmp_path: Path) -> Iterator[Client]:
    with Client(server.url, api_key=KEY, tenant=TENANT, spool=tmp_path / "spool") as made:
        yield made


def uses(server: EventServer, client: Client) -> list[tuple[Any, ...]]:
    """Customer, route, method and status of what was recorded."""
    assert client.flush(WAIT_S)
    events = [json.loads(event) for batch in server.batches for event in batch]
    assert all(event["properties"]["duration_ms"] >= 0 for event in events)
    named = [(event["customer_id"], event["properties"]) for event in events]
    return [(customer, found["route"], found["method"], found["status"]) for customer, found in named]


def app() -> Starlette:
    async def file(request: Request) -> PlainTextResponse:
        request.scope["user_id"] = "found inside"
        return PlainTextResponse(request.path_params["name"], 201)

    async def fail(_: Request) -> PlainTextResponse:
        raise RuntimeError

    routes = [Route("/files/{name}", file, methods=["GET", "PUT"]), Route("/fail", fail)]
    return Starlette(routes=[*routes, Mount("/sub", routes=routes)])


def get_all(metered: Any, *requests: tuple[str, str, str]) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(metered, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
            return [await http.request(how, path, headers={"x-customer": who}) for how, path, who in requests]

    return asyncio.run(run())


def customer_of(scope: Any) -> str | None:
    return dict(scope["headers"])[b"x-customer"].decode() or scope.get("user_id")


def test_a_request_is_a_use_of_its_route(server: EventServer, client: Client) -> None:
    metered = MeterAsgi(app(), client=client, customer=customer_of)
    answers = get_all(
        metered, ("GET", "/files/17", "c"), ("PUT", "/files/x", ""), ("GET", "/fail", "c"), ("GET", "/nowhere/17", "c"),
        ("BREW", "/files/1", "c"),
    )  # fmt: skip
    assert [one.status_code for one in answers] == [201, 201, 500, 404, 405]
    assert uses(server, client) == [
        ("c", "/files/{name}", "GET", 201),
        ("found inside", "/files/{name}", "PUT", 201),
        ("c", "/fail", "GET", 500),
        ("c", "unmatched", "GET", 404),
        ("c", "/files/{name}", "other", 405),
    ]


def test_a_request_of_nobody_is_answered_and_not_recorded(server: EventServer, client: Client) -> None:
    metered = MeterAsgi(app(), client=client, customer=lambda _: None)
    assert [one.status_code for one in get_all(metered, ("GET", "/files/17", "c"))] == [201]
    assert uses(server, client) == []


def test_asgi_asks_the_limit_before_the_app(server: EventServer, client: Client, own_redis: OwnRedis) -> None:
    fill(own_redis, used="10")

    async def run() -> list[httpx.Response]:
        async with AsyncLimitReader(own_redis.url, timeout_s=PATIENT_S) as limits:
            metered = MeterAsgi(app(), client=client, customer=customer_of, limits=limits, meter=METER)
            transport = httpx.ASGITransport(metered)
            async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
                return [await http.get("/files/1", headers={"x-customer": who}) for who in (CUSTOMER, "other")]

    denied, allowed = asyncio.run(run())
    assert (denied.status_code, denied.json()["reason"], allowed.status_code) == (429, "limit_reached", 201)
    assert uses(server, client) == [("other", "/files/{name}", "GET", 201)]


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError
    if environ["PATH_INFO"].startswith("/named"):
        environ["tidemark.route"] = "/named/<name>"
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", "4")])
    yield b"an"
    yield b"sw"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A test prints what it asserts."""

    def get_stderr(self) -> Any:
        """Nor what the app raised, which is asked for."""
        return io.StringIO()


def test_wsgi_records_and_denies_as_asgi_does(server: EventServer, client: Client, own_redis: OwnRedis) -> None:
    fill(own_redis, used="10")
    with LimitReader(own_redis.url, timeout_s=PATIENT_S) as limits:
        metered = MeterWsgi(
            wsgi_app, client=client, customer=lambda environ: environ.get("HTTP_X_CUSTOMER"), limits=limits, meter=METER
        )
        with make_server("127.0.0.1", 0, metered, handler_class=Quiet) as http:
            threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            url = f"http://127.0.0.1:{http.server_port}"
            asked = [("/users/17", "c"), ("/named/x", "c"), ("/fail", "c"), ("/users/17", CUSTOMER)]
            answers = [httpx.get(url + path, headers={"x-customer": who}) for path, who in asked]
            answers.append(httpx.get(url + "/health"))
            http.shutdown()
    assert [one.status_code for one in answers] == [200, 200, 500, 429, 200]
    assert (answers[0].text, answers[3].json()["reason"]) == ("answ", "limit_reached")
    assert uses(server, client) == [
        ("c", "/users/{}", "GET", 200),
        ("c", "/named/<name>", "GET", 200),
        ("c", "/fail", "GET", 500),
    ]
