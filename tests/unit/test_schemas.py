"""Contracts: schemas are valid, golden examples pass or fail for their stated reason, AsyncAPI holds together."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import schemas
from udfs import alerts, dlq
from udfs.reasons import Reason

EXAMPLES = [(topic, name) for topic in schemas.TOPICS for name in schemas.topic_examples(topic)]


def errors_of(topic: str, value: Any) -> set[tuple[str, str]]:
    found = Draft202012Validator(schemas.topic_schema(topic)).iter_errors(value)
    return {(".".join(map(str, error.absolute_path)), str(error.validator)) for error in found}


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_a_topic_schema_is_json_schema_2020_12(topic: str) -> None:
    schema = schemas.topic_schema(topic)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(("topic", "name"), EXAMPLES)
def test_an_example_passes_or_fails_for_its_stated_reason(topic: str, name: str) -> None:
    example = schemas.topic_examples(topic)[name]
    stated = set() if example["valid"] else {(example["fails"]["path"], example["fails"]["keyword"])}
    assert errors_of(topic, example["value"]) == stated
    assert example["why"].endswith(".")


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_a_topic_has_valid_and_invalid_examples(topic: str) -> None:
    assert {example["valid"] for example in schemas.topic_examples(topic).values()} == {True, False}


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_every_field_of_a_topic_says_what_it_is(topic: str) -> None:
    schema = schemas.topic_schema(topic)
    assert [name for name, field in schema["properties"].items() if name != "data" and "description" not in field] == []


def test_the_dlq_schema_lists_every_reason_with_its_meaning() -> None:
    options = schemas.topic_schema("usage.dlq")["properties"]["reason"]["oneOf"]
    assert {option["const"]: option["description"] for option in options} == {str(r): r.meaning for r in Reason}


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("raw", [None, b"", b"\xff\x00", b"{}" * 40_000])
def test_a_dead_letter_as_built_fits_the_schema(reason: Reason, raw: bytes | None) -> None:
    record = dlq.DlqRecord(
        reason=reason, detail="x", raw=raw, topic="usage.events", partition=0, offset=7, arrival=dlq.rfc3339(1_000)
    )
    assert errors_of("usage.dlq", json.loads(dlq.to_json(record))) == set()


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_an_alert_as_built_fits_the_schema(status: alerts.Status) -> None:
    text = alerts.live_counters(status, at_ms=1_357_035_420_123, evidence={"dropped": 3})
    alert = json.loads(text)
    assert errors_of("usage.alerts", alert) == set()
    assert (alert["time"], alert["data"]["status"]) == ("2013-01-01T10:17:00.123Z", status)


def test_two_alerts_have_different_ids() -> None:
    ids = {json.loads(alerts.live_counters("firing", at_ms=0, evidence={}))["id"] for _ in range(2)}
    assert len(ids) == 2


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [value for key, value in node.items() if key == "$ref"] + [
            r for v in node.values() for r in references(v)
        ]
    return [r for v in node for r in references(v)] if isinstance(node, list) else []


def resolve(document: Any, reference: str) -> Any:
    if reference.startswith("#/"):
        for part in reference[2:].split("/"):
            document = document[part]
        return document
    return json.loads(files("schemas").joinpath(*reference.removeprefix("./").split("/")).read_text("utf-8"))


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = schemas.asyncapi()
    assert [reference for reference in references(document) if not resolve(document, reference)] == []


def test_the_asyncapi_document_has_one_channel_and_operation_per_topic() -> None:
    document = schemas.asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == set(schemas.TOPICS)
    operated = [operation["channel"]["$ref"] for operation in document["operations"].values()]
    assert sorted(operated) == sorted(f"#/channels/{name}" for name in document["channels"])


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_the_asyncapi_payload_of_a_topic_is_its_schema(topic: str) -> None:
    document = schemas.asyncapi()
    channel = next(channel for channel in document["channels"].values() if channel["address"] == topic)
    (message,) = channel["messages"].values()
    payload = resolve(document, message["$ref"])["payload"]["schema"]
    assert resolve(document, payload["$ref"]) == schemas.topic_schema(topic)


def test_the_catalog_schema_is_json_schema_and_the_example_fits() -> None:
    Draft202012Validator.check_schema(schemas.catalog_schema())
    example = yaml.safe_load(files("schemas").joinpath("catalog", "example.yaml").read_text("utf-8"))
    Draft202012Validator(schemas.catalog_schema()).validate(example)


@pytest.mark.parametrize("kind", ["usage", "catalog"])
def test_migrations_are_numbered_without_gaps(kind: str) -> None:
    names = [file.name for file in schemas.sql_files(kind)]
    assert names
    assert all(re.fullmatch(rf"{number:04d}_[a-z_]+\.sql", name) for number, name in enumerate(names, start=1))
