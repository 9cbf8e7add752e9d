"""Checks whether a changed OpenAPI document breaks a client, by the rules of `schemas.compatibility`.

What a client sends is accepted, what it is answered is produced. An operation, a parameter, a type of body or of a
successful answer may come, none may go; a parameter may not come to be required.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.compatibility import breaking_changes

_METHODS = ("get", "put", "post", "delete", "patch")
_COMPONENTS, _DEFS = "#/components/schemas/", "#/$defs/"


def breaking_http_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The breaking changes from one OpenAPI 3.1 document to another, a line each; empty when there are none."""
    return list(_all(old, new))


def _all(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in old["paths"].items():
        for method in (one for one in _METHODS if one in operations):
            name = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield f"{name}: it is gone."
                continue
            before = operations[method]
            yield from _parameters(name, (before, old), (after, new))
            yield from _bodies(name, before.get("requestBody", {}), after.get("requestBody", {}), old, new)
            yield from _answers(name, before["responses"], after["responses"], old, new)


def _parameters(name: str, old: tuple[Any, Any], new: tuple[Any, Any]) -> Iterator[str]:
    before, after = (
        {(one["in"], one["name"]): one for one in operation.get("parameters", ())} for operation, _ in (old, new)
    )
    for key, one in before.items():
        if key not in after:
            yield f"{name}: parameter {key[1]} is gone."
        else:
            found = breaking_changes(_whole(one["schema"], old[1]), _whole(after[key]["schema"], new[1]), "accepted")
            yield from (f"{name}: parameter {key[1]}: {line}" for line in found)
    for key, one in after.items():
        if one.get("required") and not before.get(key, {}).get("required"):
            yield f"{name}: parameter {key[1]} is required now."


def _bodies(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], old_document: Any, new_document: Any
) -> Iterator[str]:
    if new.get("required") and not old.get("required"):
        yield f"{name}: a body is required now."
    for media, content in old.get("content", {}).items():
        after = new.get("content", {}).get(media)
        if after is None:
            yield f"{name}: a body of {media} is not taken any more."
            continue
        found = breaking_changes(
            _whole(content["schema"], old_document), _whole(after["schema"], new_document), "accepted"
        )
        yield from (f"{name}: body {media}: {line}" for line in found)


def _answers(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], old_document: Any, new_document: Any
) -> Iterator[str]:
    for status, answer in old.items():
        for media, content in answer.get("content", {}).items():
            after = new.get(status, {}).get("content", {}).get(media)
            if after is None:
                yield f"{name}: {status} is not answered with {media} any more."
                continue
            found = breaking_changes(
                _whole(content["schema"], old_document), _whole(after["schema"], new_document), "produced"
            )
            yield from (f"{name}: {status} {media}: {line}" for line in found)


def _whole(schema: Any, document: Mapping[str, Any]) -> Any:
    """A schema that has its definitions in itself."""
    return {**_moved(schema), "$defs": _moved(document["components"]["schemas"])}


def _moved(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _moved(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_moved(one) for one in value]
    return value.replace(_COMPONENTS, _DEFS) if isinstance(value, str) and value.startswith(_COMPONENTS) else value
