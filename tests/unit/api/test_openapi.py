"""The OpenAPI document is what the routes say, is valid, and describes what is sent and answered."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from tidemark.api import openapi
from tidemark.api.admission import admit
from tidemark.api.answers import answer
from tidemark.api.problem import Problem


def stored() -> dict[str, Any]:
    return json.loads(openapi.FILE.read_text(encoding="utf-8"))


def validator(name: str) -> Draft202012Validator:
    document = stored()
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_the_stored_document_is_that_of_the_routes():
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(), "run `make reference`"


def test_its_schemas_are_json_schema_and_each_operation_has_an_id_of_its_own():
    document = stored()
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_what_is_answered_is_what_it_says():
    native = {"event_id": "e", "customer_id": "c", "event_type": "t", "timestamp": "2026-03-01T12:00:00Z"}
    made = admit([json.dumps(native).encode(), b"{"], "acme", 1_772_366_400_000, 0)
    validator("NativeEvent").validate(native)
    answered = json.loads(answer(made.document()).body)
    validator("EventsAnswer").validate(answered)
    problem = Problem(422, "all_events_rejected", "no", more=answered)
    validator("AllRejected").validate(problem.document())
    validator("ProblemAnswer").validate(Problem(413, "body_too_large", "no").document())
