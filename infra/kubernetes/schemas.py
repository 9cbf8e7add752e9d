"""Strict JSON schemas for kubeconform, from what the API server itself publishes, definitions of operators included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_KIND = "x-kubernetes-group-version-kind"
_PREFIX = "#/definitions/"
# What kubeconform is given: {{ .ResourceKind }} and {{ .KindSuffix }} are its own.
LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"


def write(openapi: dict[str, Any], folder: Path) -> int:
    """Write a schema for each kind of `/openapi/v2`; how many."""
    definitions = openapi["definitions"]
    count = 0
    for name, definition in definitions.items():
        for kind in definition.get(_KIND, ()):
            whole = {"definitions": {one: _strict(definitions[one]) for one in _used(definitions, name)}}
            schema = {**whole, "$ref": f"{_PREFIX}{name}"}
            (folder / f"{_file(kind)}.json").write_text(json.dumps(schema))
            count += 1
    return count


def _file(kind: dict[str, str]) -> str:
    group = kind["group"].partition(".")[0]
    return "-".join(part for part in (kind["kind"].lower(), group, kind["version"].lower()) if part)


def _used(definitions: dict[str, Any], name: str) -> set[str]:
    """A definition and all that it refers to."""
    found, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += _references(definitions[one])
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(_PREFIX)] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    return [name for value in node for name in _references(value)] if isinstance(node, list) else []


def _strict(node: Any) -> Any:
    """The same, but that a member nobody knows is wrong."""
    if isinstance(node, list):
        return [_strict(value) for value in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    made = {key: _strict(value) for key, value in node.items()}
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made
