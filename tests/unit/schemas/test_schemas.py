"""Contracts: schemas are valid, golden examples pass or fail for their stated reason, AsyncAPI holds together."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from tests.unit.strategies import ARRIVAL_MS
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, to_json
from udfs.alerts.event import parse as parse_alert
from udfs.events import dead_letter
from udfs.events.parse import checked_id, event_time_ms, parse, quantity_of
from udfs.events.reasons import Reason, Rejected
from udfs.values import rfc3339

EXAMPLES = [(topic, name) for topic in schemas.TOPICS for name in schemas.topic_examples(topic)]


def errors_of(topic: str, value: Any) -> set[tuple[str, str]]:
    result = Draft202012Validator(schemas.topic_schema(topic)).iter_errors(value)
    return {(".".join(map(str, error.absolute_path)), str(error.validator)) for error in result}


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


def undescribed(schema: Any, path: str = "$") -> list[str]:
    """Fields of a schema, however deep, that do not say what they are; what a condition tests is said elsewhere."""
    if not isinstance(schema, dict):
        return []
    fields = {f"{path}.{name}": field for name, field in schema.get("properties", {}).items()}
    inner = {**fields, **{f"{path}.{name}": item for name, item in schema.get("$defs", {}).items()}}
    inner |= {f"{path}.{word}": schema[word] for word in ("then", "else", "items") if word in schema}
    result = [where for where, field in fields.items() if "description" not in field]
    return result + [more for where, item in inner.items() for more in undescribed(item, where)]


@pytest.mark.parametrize("topic", ["usage.events", "usage.deltas", "usage.dlq", "usage.closes", "usage.corrections"])
def test_every_field_of_a_topic_says_what_it_is(topic: str) -> None:
    assert undescribed(schemas.topic_schema(topic)) == []


def test_every_field_of_an_alert_says_what_it_is() -> None:
    schema = schemas.topic_schema("usage.alerts")
    assert [name for name, field in schema["properties"].items() if name != "data" and "description" not in field] == []


def reason_of(value: Any) -> str | None:
    """Why Tidemark does not take this event, before its catalog is asked; None when it does."""
    raw = json.dumps(value, ensure_ascii=False).encode()
    try:
        event = parse(raw, "EWR", ARRIVAL_MS)
        for name in ("tenant_id", "customer_id", "event_id", "event_type"):
            checked_id(name, getattr(event, name))
        event_time_ms(event)
        quantity_of(event)
    except Rejected as rejected:
        return str(rejected.reason)
    return None


@pytest.mark.parametrize("name", list(schemas.topic_examples("usage.events")))
def test_an_example_of_an_event_is_taken_or_rejected_as_it_says(name: str) -> None:
    example = schemas.topic_examples("usage.events")[name]
    stated = None if example["valid"] else re.search(r": ([a-z_]+)\.$", example["why"])
    assert reason_of(example["value"]) == (stated[1] if stated else None)
    assert example["valid"] or stated


@pytest.mark.parametrize("kind", schemas.EVENT_FORMATS)
def test_golden_events_fit_the_schema(kind: str) -> None:
    goldens = schemas.golden_events(kind)
    assert goldens
    assert [name for name, golden in goldens.items() if errors_of("usage.events", json.loads(golden["raw"]))] == []


_VALUES = st.sampled_from(
    [None, True, 0, 1, 2, 3, 1.0, -1, 10**18, 2.5, "", "a", "x" * 257, "1.0", "NaN", "1e3", "2013-01-01T10:17:00Z",
     "2013-01-01T10:17:00", "application/json", "text/xml", "text/json", "a/b+JSON ;x",
     "a\u001fb", "a\u0085b", "a\u2029", [], {}, {"quantity": 1}, {"quantity": "x"},
     {"a": None}, {f"p{n}": n for n in range(257)}]
)  # fmt: skip
_NAMES = ("event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "properties", "region",
          "source", "voids", "schema_version", "specversion", "id", "type", "subject", "time", "tenantid",
          "data", "datacontenttype", "data_base64", "other")  # fmt: skip
_STARTS = ("minimal.json", "version_2.json", "cloudevent.json", "cloudevent_minimal.json")


@given(st.sampled_from(_STARTS), st.dictionaries(st.sampled_from(_NAMES), _VALUES | st.just(...), max_size=3))
def test_the_schema_and_the_parser_agree(start: str, changes: dict[str, Any]) -> None:
    value = {**schemas.topic_examples("usage.events")[start]["value"], **changes}
    value = {name: item for name, item in value.items() if item is not ...}
    assert (errors_of("usage.events", value) == set()) == (reason_of(value) is None)


def test_the_dlq_schema_lists_every_reason_with_its_meaning() -> None:
    options = schemas.topic_schema("usage.dlq")["properties"]["reason"]["oneOf"]
    assert {option["const"]: option["description"] for option in options} == {str(r): r.meaning for r in Reason}


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("raw", [None, b"", b"\xff\x00", b"{}" * 40_000])
def test_a_dead_letter_as_built_fits_the_schema(reason: Reason, raw: bytes | None) -> None:
    record = dead_letter.DlqRecord(
        reason=reason,
        detail="x",
        raw=raw,
        topic="usage.events",
        partition=0,
        offset=7,
        arrival=rfc3339(1_000),
    )
    assert errors_of("usage.dlq", json.loads(dead_letter.to_json(record))) == set()


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_an_alert_as_built_fits_the_schema(status: Status) -> None:
    made = replace(alerts.live_counters(status, at_ms=1_357_035_420_123, evidence={"dropped": 3}), id="one")
    alert = json.loads(to_json(made))
    assert errors_of("usage.alerts", alert) == set()
    assert (alert["time"], alert["data"]["status"]) == ("2013-01-01T10:17:00.123Z", status)


def test_an_alert_is_read_as_it_was_written() -> None:
    for name, example in schemas.topic_examples("usage.alerts").items():
        if example["valid"]:
            written = json.loads(to_json(parse_alert(json.dumps(example["value"]))))
            kept = {**example["value"], "data": {**written["data"], **example["value"]["data"]}}
            assert written == kept, name


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
    assert {channel["address"] for channel in document["channels"].values()} == {*schemas.TOPICS, *schemas.ALIASES}
    operated = [operation["channel"]["$ref"] for operation in document["operations"].values()]
    assert sorted(operated) == sorted(f"#/channels/{name}" for name in document["channels"])


@pytest.mark.parametrize("topic", [*schemas.TOPICS, *schemas.ALIASES])
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


@pytest.mark.parametrize(
    ("kind", "first"), [("usage", 1), ("catalog", 1), ("billing", 101), ("report", 1), ("api", 1), ("audit", 1)]
)
def test_migrations_are_numbered_without_gaps(kind: str, first: int) -> None:
    names = [file.name for file in schemas.sql_files(kind)]
    assert names
    assert all(re.fullmatch(rf"{number:04d}_[a-z_]+\.sql", name) for number, name in enumerate(names, start=first))
