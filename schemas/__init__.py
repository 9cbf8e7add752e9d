"""Contracts of Tidemark as package data: topic schemas, AsyncAPI, catalog schema and SQL migrations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

TOPICS = ("usage.events", "usage.deltas", "usage.dlq", "usage.alerts", "usage.closes", "usage.corrections")
# Topics whose values have the schema of another topic.
ALIASES = {"usage.events.redrive": "usage.events"}
# Kinds of events that must be readable for ever: versions of the native event, and of CloudEvents.
EVENT_FORMATS = ("v1", "v2", "cloudevents-1.0")


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One migration: its file name, which gives the order, and its bytes, which the checksum is taken of."""

    name: str
    content: bytes

    @property
    def text(self) -> str:
        """The statements."""
        return self.content.decode("utf-8")


def topic_schema(topic: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of the value of one topic in `TOPICS` or `ALIASES`."""
    return _json("topics", f"{ALIASES.get(topic, topic)}.schema.json")


def released_schema(topic: str) -> dict[str, Any]:
    """The released schema of one topic in `TOPICS`, on which others rely; `schemas.compatibility` guards it."""
    return _json("topics", "released", f"{topic}.schema.json")


def topic_examples(topic: str) -> dict[str, dict[str, Any]]:
    """Golden examples of one topic by file name; each holds `valid`, `why` and the record in `value`."""
    return _json_files("topics", "examples", topic)


def golden_events(event_format: str) -> dict[str, dict[str, Any]]:
    """Events of one of `EVENT_FORMATS` by file name, in words (`why`), as sent (`raw`) and as read (`decoded`).

    CloudEvents have the `default_tenant` and `arrival_ms` they are read with.
    """
    return _json_files("topics", "golden", "usage.events", event_format)


def catalog_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the catalog file."""
    return _json("catalog", "catalog.schema.json")


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 document of the HTTP API."""
    return _json("http", "openapi.json")


def released_openapi() -> dict[str, Any]:
    """The released document, on which clients rely; `schemas.http_compatibility` guards it."""
    return _json("http", "released", "openapi.json")


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0 document of all topics."""
    document: dict[str, Any] = yaml.safe_load(files(__name__).joinpath("asyncapi.yaml").read_text("utf-8"))
    return document


def sql_files(kind: str) -> list[SqlFile]:
    """Migrations of `usage`, `catalog` or `billing` in the order they are applied."""
    folder = files(__name__).joinpath("sql", kind)
    found = [SqlFile(entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found, key=lambda file: file.name)


def value_columns() -> str:
    """Columns `samples` and `value` of any set of rows of a rollup `u` with its `meter_kind` `k`, grouped as one likes.

    As the view `usage_day_total` has them: there is one text that says what parts come to.
    """
    (text,) = (file.text for file in sql_files("usage") if "CREATE VIEW usage_day_total" in file.text)
    view = text.partition("CREATE VIEW usage_day_total")[2]
    begin, end = view.index("coalesce(sum(samples)"), view.index(" AS value,") + len(" AS value")
    return view[begin:end]


def _json_files(*path: str) -> dict[str, dict[str, Any]]:
    entries = sorted(files(__name__).joinpath(*path).iterdir(), key=lambda entry: entry.name)
    return {entry.name: json.loads(entry.read_text("utf-8")) for entry in entries if entry.name.endswith(".json")}


def _json(*path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files(__name__).joinpath(*path).read_text("utf-8"))
    return document
