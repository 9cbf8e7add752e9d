"""Clients of services are made in one place each: the one that knows addresses, security, waits and errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("tidemark", "jobs", "udfs", "infra")
# What makes a client, and the files that may.
KAFKA = {"KafkaConsumer", "KafkaProducer", "KafkaAdminClient"}
ALLOWED = {
    "kafka": {"tidemark/core/kafka/clients.py"},
}


def python_files() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def uses(tree: ast.Module) -> Iterator[str]:
    """Kinds of clients that a module could make: by a name it imports, or by an attribute it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield from ("kafka" for alias in node.names if alias.name in KAFKA)
        elif isinstance(node, ast.Attribute) and node.attr in KAFKA:
            yield "kafka"


@pytest.mark.parametrize("kind", ALLOWED)
def test_clients_are_made_in_one_place(kind: str) -> None:
    makers = {file for file, tree in python_files() if kind in uses(tree)}
    assert makers == ALLOWED[kind]


@pytest.mark.parametrize(
    "text",
    [
        "from kafka import KafkaConsumer",
        "import kafka\nkafka.KafkaProducer()",
        "from kafka import KafkaAdminClient as A",
    ],
)
def test_a_client_made_elsewhere_is_noticed(text: str) -> None:
    assert set(uses(ast.parse(text))) == {"kafka"}
