"""A canonical form of JSON Schema: without references, annotations and synonyms, so that schemas can be compared."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

# A plain schema is False, or a dict; {} allows everything.
Schema = dict[str, Any]

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
# Marks of a schema that is produced: readers cope with values of this enum, or ignore fields, that they do not know.
OPEN_ENUM, OPEN_FIELDS = "x-open-enum", "x-open-fields"
_MARKS = {OPEN_ENUM, OPEN_FIELDS}
_ANNOTATIONS = {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}
_SCHEMAS_BY_NAME = {"properties", "patternProperties", "dependentSchemas"}
_LISTS_OF_SCHEMAS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_SCHEMAS = {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}


def plain(schema: Any, root: Any = None, seen: tuple[str, ...] = ()) -> Any:
    """The schema in plain form: `$ref` put in place, `const` and a `oneOf` of constants as `enum`, annotations gone.

    `root` holds the `$defs` (the schema itself by default), `seen` are the references that led here.

    Raises
    ------
    ValueError
        A `$ref` does not point into the schema's own `$defs`, or refers to itself.
    """
    root = schema if root is None else root
    if isinstance(schema, bool):
        return {} if schema else False
    found = {name: _keyword(name, value, root, seen) for name, value in schema.items() if name not in _ANNOTATIONS}
    if (reference := found.pop("$ref", None)) is None:
        return _with_enum(found)
    target = plain(_resolve(reference, root, seen), root, (*seen, reference))
    return {"allOf": [target, _with_enum(found)]} if found else target


def _resolve(reference: str, root: Any, seen: tuple[str, ...]) -> Any:
    if not reference.startswith("#/$defs/") or reference in seen:
        raise ValueError(f"$ref {reference} does not point into the schema's own $defs, or refers to itself.")
    return root["$defs"][reference.removeprefix("#/$defs/")]


def _keyword(name: str, value: Any, root: Any, seen: tuple[str, ...]) -> Any:
    if name in _SCHEMAS_BY_NAME:
        return {key: plain(item, root, seen) for key, item in value.items()}
    if name in _LISTS_OF_SCHEMAS:
        return [plain(item, root, seen) for item in value]
    if name in _SCHEMAS:
        return plain(value, root, seen)
    if name == "type":
        return [value] if isinstance(value, str) else sorted(value)
    return sorted(value) if name == "required" else value


def _with_enum(schema: Schema) -> Schema:
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
        del schema["const"]
    options = schema.get("oneOf")
    if options and "enum" not in schema and all(option and set(option) == {"enum"} for option in options):
        schema = {**schema, "enum": [value for option in options for value in option["enum"]]}
        del schema["oneOf"]
    return schema


def unmarked(schema: Any) -> Any:
    """A plain schema taken literally: without marks."""
    if isinstance(schema, list):
        return [unmarked(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: unmarked(value) for name, value in schema.items() if name not in _MARKS}


def opened(schema: Any) -> Any:
    """The values that readers of a plain schema must expect: its marks applied, and removed."""
    if isinstance(schema, list):
        return [opened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: opened(value) for name, value in schema.items() if name not in _MARKS}
    if schema.get(OPEN_FIELDS) is True:
        found.pop("additionalProperties", None)
    if schema.get(OPEN_ENUM) is True and "enum" in found:
        found["type"] = sorted(types_of({"enum": found.pop("enum")}))
    return found


def conjuncts(schema: Schema) -> list[Schema]:
    """Parts that all hold: the schema without `allOf` and its condition, the members of `allOf`, the condition."""
    condition: Schema = {name: schema[name] for name in ("if", "then", "else") if name in schema}
    rest: Schema = {name: value for name, value in schema.items() if name != "allOf" and name not in condition}
    members: list[Schema] = [{"not": {}} if member is False else member for member in schema.get("allOf", ())]
    parts: list[Schema] = [part for member in members for part in conjuncts(member)]
    return [part for part in [rest, *parts, condition] if part]


def types_of(schema: Any) -> set[str]:
    """JSON types that a plain schema may allow; `integer` goes along with `number`."""
    if schema is False:
        return set()
    kinds = set(TYPES)
    for part in conjuncts(schema):
        if "type" in part:
            kinds &= {*part["type"], "integer"} if "number" in part["type"] else set(part["type"])
        if "anyOf" in part:
            kinds &= set().union(*map(types_of, part["anyOf"]))
        if "enum" in part:
            kinds &= {kind for kind in TYPES if any(allows({"type": kind}, value) for value in part["enum"])}
    return kinds


def same(left: Any, right: Any) -> bool:
    """Whether two plain schemas have the same JSON; in Python 1 and True are equal, in JSON they are not."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def allows(schema: Any, value: Any) -> bool:
    """Whether a value is valid."""
    return bool(Draft202012Validator(schema).is_valid(value))
