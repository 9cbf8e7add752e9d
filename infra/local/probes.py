"""Checks whether each service is ready; an open port alone is not enough."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import requests

from infra.local import standby
from infra.local.addresses import flink_rest, sections
from infra.local.paths import Paths
from tidemark.core import redis as core_redis
from tidemark.core.flink_tls import request_options
from tidemark.core.kafka import clients
from tidemark.core.settings import FlinkSettings, KafkaSettings, PostgresSettings, RedisSettings, Settings, nested

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a probe: ready or not, the version, and a detail for people."""

    ready: bool
    version: str = ""
    detail: str = ""


def kafka(server: KafkaSettings) -> Answer:
    """Send a metadata request; the version is the broker's protocol version as the client reports it."""
    # The client leaves its sockets open when it cannot connect, and polling would pile them up: ask the port first.
    host, _, port = server.bootstrap.partition(":")
    socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    milliseconds = int(_TIMEOUT_S * 1_000)
    waits = {"request_timeout_ms": milliseconds, "bootstrap_timeout_ms": milliseconds}
    admin = clients.admin_client(server, **waits)
    try:
        topics = admin.list_topics()
        version = ".".join(map(str, admin._manager.broker_version))  # noqa: SLF001 - the client offers no other way
    finally:
        admin.close()
    return Answer(ready=True, version=version, detail=f"{len(topics)} topics")


def postgres(server: PostgresSettings) -> Answer:
    """Run a query; ready means that the TimescaleDB extension exists."""
    with psycopg.connect(server.url, passfile=str(server.passfile), connect_timeout=int(_TIMEOUT_S)) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('TimeZone'), "
            "(SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')"
        ).fetchone()
    version, zone, extension = row or ("", "", None)
    detail = f"TimescaleDB {extension}, time zone {zone}" if extension else "TimescaleDB is not created"
    return Answer(ready=extension is not None, version=str(version), detail=detail)


def redis_server(server: RedisSettings) -> Answer:
    """PING, as the services."""
    with core_redis.client(server, timeout_s=_TIMEOUT_S) as client:
        client.ping()
        found: Any = client.info("server")
        return Answer(ready=True, version=str(found["redis_version"]))


def jobmanager(server: FlinkSettings) -> Answer:
    """Query the REST interface."""
    seen = _overview(server)
    return Answer(ready=True, version=seen["flink-version"], detail=f"{seen['jobs-running']} jobs running")


def taskmanager(server: FlinkSettings) -> Answer:
    """Check that the JobManager knows a TaskManager with slots."""
    seen = _overview(server)
    detail = f"{seen['slots-available']} of {seen['slots-total']} slots free"
    return Answer(
        ready=seen["taskmanagers"] >= 1 and seen["slots-total"] >= 1, version=seen["flink-version"], detail=detail
    )


def second_jobmanager(paths: Paths, ports: dict[str, int]) -> Answer:
    """Query the REST interface of the second, which answers as the one that leads does."""
    values = nested(flink_rest(paths, ports["flink_rest_2"]))
    return jobmanager(FlinkSettings(**values["flink"]))


def zookeeper(port: int) -> Answer:
    """Ask for its mode, as its own tools do; it answers once it serves."""
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(b"srvr")
        text = b"".join(iter(lambda: connection.recv(4_096), b"")).decode()
    found = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    version = found.get("Zookeeper version", "").partition("-")[0]
    return Answer(ready="Mode" in found, version=version, detail=f"{found.get('Node count', 'no')} nodes")


def _overview(server: FlinkSettings) -> dict[str, Any]:
    answer = requests.get(f"{server.rest_url}/overview", timeout=_TIMEOUT_S, **request_options(server))
    answer.raise_for_status()
    seen: dict[str, Any] = answer.json()
    return seen


def ask(service: str, ports: dict[str, int], paths: Paths) -> Answer:
    """Probe one service; a failure gives an answer too."""
    probes: dict[str, Callable[[Settings], Answer]] = {
        "kafka": lambda stack: kafka(stack.kafka),
        "postgres": lambda stack: postgres(stack.postgres),
        "redis": lambda stack: redis_server(stack.redis),
        "jobmanager": lambda stack: jobmanager(stack.flink),
        "taskmanager": lambda stack: taskmanager(stack.flink),
        standby.SECOND: lambda _: second_jobmanager(paths, ports),
        standby.ZOOKEEPER: lambda _: zookeeper(ports["zookeeper"]),
    }
    try:
        return probes[service](sections(paths, ports))
    except Exception as error:  # noqa: BLE001 - whatever a client library raises means: not ready
        return Answer(ready=False, detail=f"{type(error).__name__}: {error}".splitlines()[0][:200])
