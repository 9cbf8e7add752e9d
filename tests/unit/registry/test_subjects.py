"""Names and texts of the subjects of a schema registry; a real one is in tests/chaos/test_schema_registry.py."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

import schemas
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.registry.client import RefusedError, Registry
from tidemark.registry.draft7 import draft7
from tidemark.registry.registering import ONLY_THERE, Status, compared_here, raise_if_refused
from tidemark.registry.subjects import subjects

# Of drafts after 7, or inlined.
LATER = (
    "$ref",
    "$defs",
    "prefixItems",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "minContains",
)


def test_each_topic_of_a_run_is_a_subject_with_its_contract() -> None:
    settings = Settings(run_id="trial", topics={"events": "events.eu"})
    found = {one.name: one.contract for one in subjects(settings)}
    assert found["events.eu-value"] == "usage.events"
    assert found["events.eu.redrive-value"] == "usage.events.redrive"
    assert found["usage.deltas.trial-value"] == "usage.deltas"
    assert len(found) == len(schemas.TOPICS) + len(schemas.ALIASES)


def test_the_text_of_a_subject_is_its_schema_and_the_same_each_time() -> None:
    one, again = subjects(Settings()), subjects(Settings())
    assert one == again
    assert [json.loads(subject.schema) for subject in one] == [draft7(schemas.topic_schema(s.contract)) for s in one]


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_draft_7_takes_and_refuses_the_same_values(topic: str) -> None:
    for schema in (schemas.topic_schema(topic), schemas.released_schema(topic)):
        made = draft7(schema)
        Draft7Validator.check_schema(made)
        text = json.dumps(made)
        assert not any(
            f'"{word}"' in text for word in ("$ref", "prefixItems", "dependentRequired", "unevaluatedProperties")
        )
        for name, example in schemas.topic_examples(topic).items():
            value = example["value"]
            assert Draft7Validator(made).is_valid(value) == Draft202012Validator(schema).is_valid(value), name


def test_what_stands_beside_a_reference_still_holds() -> None:
    text = {"type": "string"}
    schema = {
        "$defs": {"id": text},
        "properties": {"a": {"$ref": "#/$defs/id", "maxLength": 2}, "b": {"$ref": "#/$defs/id"}},
    }
    assert draft7(schema)["properties"] == {"a": {"allOf": [text, {"maxLength": 2}]}, "b": text}


@pytest.mark.parametrize(
    ("url", "why"),
    [("127.0.0.1:8081", "no URL"), ("ftp://host", "no URL"), ("https://", "no URL"), ("http://a:b@host", "password")],
)
def test_a_url_that_cannot_be_one_is_refused(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Registry(url)


def test_what_older_records_do_not_pass_is_named_with_its_path() -> None:
    (subject,) = (one for one in subjects(Settings()) if one.contract == "usage.events")
    now = json.loads(subject.schema)
    before = json.loads(subject.schema)
    assert compared_here(before, subject) == [ONLY_THERE]
    before["else"]["required"].remove("event_type")
    assert compared_here(before, subject) == ["$: an object without 'event_type' is allowed by the old schema alone."]
    assert compared_here({"$ref": "#/definitions/elsewhere"}, subject) == []
    assert now == json.loads(subject.schema)


def test_every_difference_is_named_with_its_subject() -> None:
    subject = subjects(Settings())[0]
    with pytest.raises(RefusedError, match=r"usage\.events-value: a\nusage\.events-value: b"):
        raise_if_refused([Status(subject, "refused", differences=("a", "b")), Status(subject, "new")])
    raise_if_refused([Status(subject, "changed")])
