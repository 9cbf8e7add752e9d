"""Checks whether each service is ready; an open port alone is not enough."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis
import requests

from infra.local.paths import Paths
from infra.service_settings import DATABASE, ROLE
from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings

_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a probe: ready or not, the version, and a detail for people."""

    ready: bool
    version: str = ""
    detail: str = ""


def kafka(port: int) -> Answer:
    """Send a metadata request; the version is the broker's protocol version as the client reports it."""
    # The client leaves its sockets open when it cannot connect, and polling would pile them up: ask the port first.
    socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S).close()
    milliseconds = int(_TIMEOUT_S * 1_000)
    waits = {"request_timeout_ms": milliseconds, "bootstrap_timeout_ms": milliseconds}
    admin = clients.admin_client(KafkaSettings(bootstrap=f"127.0.0.1:{port}"), **waits)
    try:
        topics = admin.list_topics()
        version = ".".join(map(str, admin._manager.broker_version))  # noqa: SLF001 - the client offers no other way
    finally:
        admin.close()
    return Answer(ready=True, version=version, detail=f"{len(topics)} topics")


def postgres(port: int, passfile: Path, user: str = ROLE, database: str = DATABASE) -> Answer:
    """Run a query; ready means that the TimescaleDB extension exists."""
    with psycopg.connect(
        host="127.0.0.1", port=port, user=user, dbname=database, passfile=str(passfile), connect_timeout=int(_TIMEOUT_S)
    ) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), current_setting('TimeZone'), "
            "(SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')"
        ).fetchone()
    version, zone, extension = row or ("", "", None)
    detail = f"TimescaleDB {extension}, time zone {zone}" if extension else "TimescaleDB is not created"
    return Answer(ready=extension is not None, version=str(version), detail=detail)


def redis_server(port: int) -> Answer:
    """PING."""
    with redis.Redis(port=port, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S) as client:
        client.ping()
        return Answer(ready=True, version=str(client.info("server")["redis_version"]))


def jobmanager(port: int) -> Answer:
    """Query the REST interface."""
    answer = requests.get(f"http://127.0.0.1:{port}/overview", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    seen = answer.json()
    return Answer(ready=True, version=seen["flink-version"], detail=f"{seen['jobs-running']} jobs running")


def taskmanager(port: int) -> Answer:
    """Check that the JobManager knows a TaskManager with slots."""
    answer = requests.get(f"http://127.0.0.1:{port}/overview", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    seen = answer.json()
    detail = f"{seen['slots-available']} of {seen['slots-total']} slots free"
    return Answer(
        ready=seen["taskmanagers"] >= 1 and seen["slots-total"] >= 1, version=seen["flink-version"], detail=detail
    )


def ask(service: str, ports: dict[str, int], paths: Paths) -> Answer:
    """Probe one service; a failure gives an answer too."""
    probes: dict[str, Callable[[], Answer]] = {
        "kafka": lambda: kafka(ports["kafka"]),
        "postgres": lambda: postgres(ports["postgres"], paths.passfile),
        "redis": lambda: redis_server(ports["redis"]),
        "jobmanager": lambda: jobmanager(ports["flink_rest"]),
        "taskmanager": lambda: taskmanager(ports["flink_rest"]),
    }
    try:
        return probes[service]()
    except Exception as error:  # noqa: BLE001 - whatever a client library raises means: not ready
        return Answer(ready=False, detail=f"{type(error).__name__}: {error}".splitlines()[0][:200])
