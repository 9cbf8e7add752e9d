"""A contract in the draft of JSON Schema that every registry can compare: draft 7, without references.

Apicurio 3.0 takes a schema of draft 2020-12, and cannot compare it with the next one ("could not determine version").
"""

from __future__ import annotations

from typing import Any

DRAFT = "http://json-schema.org/draft-07/schema#"
_LEFT_OUT = {"$schema", "$id", "$defs", "$ref"}
_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "$comment"}
_DEFINITIONS = "#/$defs/"


def draft7(schema: dict[str, Any]) -> dict[str, Any]:
    """The same values in draft 7; references point into the schema's own `$defs`, and never to themselves.

    Raises
    ------
    KeyError
        A definition is missing.
    """
    return {"$schema": DRAFT, **_inlined(schema, schema.get("$defs", {}))}


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    own = {name: _inlined(value, definitions) for name, value in part.items() if name not in _LEFT_OUT}
    if "$ref" not in part:
        return own
    target = _inlined(definitions[part["$ref"].removeprefix(_DEFINITIONS)], definitions)
    # What stands beside a reference is ignored by draft 7.
    return {**target, **own} if own.keys() <= _ANNOTATIONS else {"allOf": [target, own]}
