"""What breaks a client of the HTTP API and what does not, and that nothing here breaks one that is released."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import schemas
from schemas.http_compatibility import breaking_http_changes

BODY = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "note": {"type": "string"}}}
DOCUMENT: dict[str, Any] = {
    "paths": {
        "/things": {
            "post": {
                "parameters": [{"in": "query", "name": "dry", "schema": {"type": "boolean"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
                },
            }
        }
    },
    "components": {"schemas": {"Thing": BODY}},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for name in path[:-1]:
        place = place[name]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


POST = ("paths", "/things", "post")
THING = ("components", "schemas", "Thing")


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (DOCUMENT, ""),
        (changed("paths", "/others", to={}), ""),
        (changed("paths", "/things", to=...), "POST /things: it is gone"),
        (changed(*POST, "parameters", to=[]), "parameter dry is gone"),
        (changed(*POST, "requestBody", to={}), "application/json is not taken"),
        (changed(*POST, "responses", to={}), "200 is not answered with application/json"),
        # A field that must be sent breaks who sends, one that may be missing breaks who reads.
        (changed(*THING, "required", to=["id", "note"]), "POST /things: body application/json"),
        (changed(*THING, "required", to=[]), "POST /things: 200 application/json"),
        (changed(*THING, "properties", "more", to={"type": "integer"}), "body application/json: $.more"),
    ],
)
def test_changes_break_who_sends_or_who_reads(new: dict[str, Any], said: str) -> None:
    found = breaking_http_changes(DOCUMENT, new)
    assert (said in "\n".join(found)) if said else found == []


def test_a_parameter_may_come_but_not_be_required() -> None:
    old = {"in": "query", "name": "dry", "schema": {"type": "boolean"}}
    more = {"in": "query", "name": "x", "schema": {}}
    assert breaking_http_changes(DOCUMENT, changed(*POST, "parameters", to=[old, more])) == []
    found = breaking_http_changes(DOCUMENT, changed(*POST, "parameters", to=[old, {**more, "required": True}]))
    assert found == ["POST /things: parameter x is required now."]


def test_the_document_breaks_no_released_client() -> None:
    assert breaking_http_changes(schemas.released_openapi(), schemas.openapi()) == []
