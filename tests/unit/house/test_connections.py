"""Clients of services are made in one place each: the one that knows addresses, security, waits and errors."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("tidemark", "jobs", "udfs", "infra")
KAFKA = {"KafkaConsumer", "KafkaProducer", "KafkaAdminClient"}
# Calls that connect, as module and name.
CALLS = {
    ("psycopg", "connect"): "postgres",
    ("psycopg.Connection", "connect"): "postgres",
    ("redis.Redis", "from_url"): "redis",
    ("Redis", "from_url"): "redis",
    ("redis", "Redis"): "redis",
}
# What workers connect with, which has no errors in words: for what runs beside the jobs, core is the one place.
OF_WORKERS = {("udfs.postgres", "connect"): "postgres", ("udfs.live.counters", "client"): "redis"}
# The oracle shares nothing with what it checks, the demo shows what is stored, the local stack asks what it starts.
INDEPENDENT = {"tidemark/oracle/compare.py", "tidemark/demo/report.py", "infra/local/probes.py"}
ALLOWED = {
    "kafka": {"tidemark/core/kafka/clients.py"},
    "rdkafka": {"tidemark/core/kafka/rdkafka.py"},
    "postgres": {"udfs/postgres.py", "tidemark/core/postgres.py", "infra/local/prepare.py", *INDEPENDENT},
    "redis": {"udfs/live/counters.py", "tidemark/core/redis.py", *INDEPENDENT},
}


@cache
def makers() -> dict[str, set[str]]:
    """What each Python file connects to."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): kinds(ast.parse(path.read_text("utf-8"))) for path in paths}


def kinds(tree: ast.Module) -> set[str]:
    """Services that a module connects to: by a client it imports, or by a call."""
    result = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            result |= {"kafka" for alias in node.names if alias.name in KAFKA}
            result |= {"rdkafka"} if node.module == "confluent_kafka" else set()
            result |= {"postgres" for alias in node.names if (node.module, alias.name) == ("psycopg", "connect")}
            result |= {
                OF_WORKERS[key] for alias in node.names if (key := (node.module or "", alias.name)) in OF_WORKERS
            }
        elif isinstance(node, ast.Attribute) and node.attr in KAFKA:
            result.add("kafka")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            result |= {CALLS[key] for key in [(ast.unparse(node.func.value), node.func.attr)] if key in CALLS}
    return result


@pytest.mark.parametrize("kind", ALLOWED)
def test_clients_are_made_where_they_may_be(kind: str) -> None:
    found = {file for file, connects in makers().items() if kind in connects and not file.startswith("udfs/")}
    assert found <= ALLOWED[kind]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("from kafka import KafkaConsumer", "kafka"),
        ("import kafka\nkafka.KafkaProducer()", "kafka"),
        ("from kafka import KafkaAdminClient as A", "kafka"),
        ("from confluent_kafka import Producer", "rdkafka"),
        ("import psycopg\npsycopg.connect('')", "postgres"),
        ("from psycopg import connect", "postgres"),
        ("from udfs.postgres import connect, deadline", "postgres"),
        ("import redis\nredis.Redis.from_url('')", "redis"),
        ("import redis\nredis.Redis(port=1)", "redis"),
        ("from redis import Redis\nRedis.from_url('')", "redis"),
        ("from udfs.live.counters import client", "redis"),
    ],
)
def test_a_client_made_elsewhere_is_noticed(text: str, kind: str) -> None:
    assert kinds(ast.parse(text)) == {kind}
