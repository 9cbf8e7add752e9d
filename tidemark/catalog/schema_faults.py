"""Faults of a catalog file by its schema, in words: what is there, what may be, and what to write."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator

from schemas import catalog_schema
from tidemark.catalog.entries import mapping
from tidemark.catalog.text import Fault

_SHOWN = 60
_KINDS = {
    "object": "a mapping of keys", "array": "a list", "string": "text", "number": "a number",
    "integer": "a whole number", "boolean": "true or false", "null": "empty",
}  # fmt: skip
# What people write for a boolean in other languages, and in YAML 1.1.
_BOOLEANS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_TOP = "write for example `tenants:`, `meters:` or `calendars:` with entries below it"
_EMPTY = f"it is empty: {_TOP}."


@lru_cache(maxsize=1)
def _validator() -> Validator:
    schema = catalog_schema()
    return Draft202012Validator(_inlined(schema, schema["$defs"]))


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The same schema without references but those of filters to each other, which take a third of the time."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {name: _inlined(item, definitions) for name, item in schema.items() if name not in ("$defs", "$ref")}
    if "$defs" in schema:
        result["$defs"] = {"filter": definitions["filter"] | {"properties": _filter_parts(definitions)}}
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name == "filter":
        return result | {"$ref": schema["$ref"]}
    whole = result | _inlined(definitions[name], definitions) if name else result
    branches = whole.get("oneOf", ())
    if len(branches) == len(("null", "other")) and branches[0] == {"type": "null"} and "type" in branches[1]:
        # Null, or something else: one type more.
        kinds = branches[1]["type"]
        kinds = [*([kinds] if isinstance(kinds, str) else kinds), "null"]
        whole = {key: item for key, item in whole.items() if key != "oneOf"} | branches[1] | {"type": kinds}
    return whole


def _filter_parts(definitions: Mapping[str, Any]) -> Any:
    return _inlined(definitions["filter"]["properties"], definitions)


def schema_faults(content: Any, known: Collection[str]) -> Iterator[Fault]:
    """Faults by the schema, but for places where a plainer one is `known`."""
    if content is None or content == {}:
        yield Fault("file", _EMPTY)
        return
    errors = sorted(_validator().iter_errors(content), key=lambda error: [str(part) for part in error.absolute_path])
    for fault in (fault for error in errors for fault in _faults(error)):
        parts = fault.path.split(".")
        if not any(".".join(parts[:length]) in known for length in range(1, len(parts) + 1)):
            yield fault


def suggestion(name: str, names: Iterable[str]) -> str:
    """` Did you mean …?` for the name nearest to one that is not there, or nothing."""
    plain = {_plain(item): item for item in names}
    if result := get_close_matches(_plain(name), plain, 1, 0.6):
        return f" Did you mean `{plain[result[0]]}`?"
    return ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def _faults(error: ValidationError) -> Iterator[Fault]:
    if error.validator == "oneOf":
        # Null, or something else: what is wrong with the other.
        yield from (fault for item in error.context or () if item.schema_path[0] == 1 for fault in _faults(item))
        return
    path = ".".join(map(str, error.absolute_path))
    if error.validator == "pattern" and error.instance == "":
        return  # reported by its length
    if error.validator == "additionalProperties":
        yield from _unknown_keys(path, error)
    elif "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        yield Fault(f"{path}.{name}", f"{_shown(name)} cannot be a name: {_name_message(error)}.")
    else:
        yield Fault(path or "file", _message(error))


def _unknown_keys(path: str, error: ValidationError) -> Iterator[Fault]:
    known = [*mapping(error.schema).get("properties", ())]
    for name in mapping(error.instance):
        if name not in known:
            where = f"{path}.{name}" if path else name
            yield Fault(
                where, f"the key `{name}` is not known here.{suggestion(name, known)} Known: {', '.join(known)}."
            )


def _name_message(error: ValidationError) -> str:
    if error.validator == "not":
        return "what begins with `tidemark.` is reserved"
    return _text_message(error)


def _text_message(error: ValidationError) -> str:
    limit: Any = error.validator_value
    text: Any = error.instance
    match error.validator:
        case "maxLength":
            return f"it has {len(text)} characters; the limit is {limit}"
        case "minLength":
            return "it is empty"
    return _advice(error) or "it is written in another form"


def _message(error: ValidationError) -> str:
    value: Any = error.instance
    limit: Any = error.validator_value
    if error.validator == "type":
        return _type_message(error)
    if error.validator == "enum":
        return _enum_message(value, [item for item in limit if item is not None])
    if error.validator in ("pattern", "minLength", "maxLength"):
        return f"{_shown(value)} cannot stand here: {_text_message(error)}."
    return (
        _bound_message(str(error.validator), value, limit)
        or f"{_shown(value)} cannot stand here{_joined(_advice(error))}."
    )


def _bound_message(validator: str, value: Any, limit: Any) -> str:
    message = ""
    match validator:
        case "not":
            message = f"{_shown(value)} begins with `tidemark.`, which is reserved."
        case "required":
            message = f"`{next(name for name in limit if name not in value)}` is missing."
        case "minItems":
            message = f"it has {len(value)} entries; it needs {limit} at least."
        case "maxItems":
            message = f"it has {len(value)} entries; the limit is {limit}."
        case "uniqueItems":
            message = f"{_shown(_twice(value))} is given twice."
        case "minimum" | "maximum":
            message = f"it is {_shown(value)}; the {'least' if validator == 'minimum' else 'most'} is {limit}."
    return message


def _type_message(error: ValidationError) -> str:
    value: Any = error.instance
    limit: Any = error.validator_value
    kinds = [kind for kind in ([limit] if isinstance(limit, str) else limit) if kind != "null"]
    wanted = " or ".join(_KINDS[kind] for kind in kinds)
    return f"{_shown(value)} is {_kind(value)}, and {wanted} is needed{_joined(_written(error, kinds))}."


def _written(error: ValidationError, kinds: list[str]) -> str:
    """What to write instead of a value of another type."""
    value: Any = error.instance
    if not error.absolute_path:
        return _TOP
    if advice := _advice(error):
        return advice.replace("5000", _shown(value)) if _is_number(value) and "cap" in advice else advice
    if value is None:
        return "write a value, or leave the key out: then it stays as it is"
    return _converted(value, kinds)


def _converted(value: Any, kinds: list[str]) -> str:
    is_scalar = not isinstance(value, Mapping | list)
    text = str(value).lower() if isinstance(value, bool) else str(value)[:_SHOWN]
    advice = ""
    if kinds == ["boolean"] and text.casefold() in _BOOLEANS:
        advice = f"write {_BOOLEANS[text.casefold()]}"
    elif "string" in kinds and is_scalar:
        advice = f'put it in quotes: "{text}"'
    elif "array" in kinds and is_scalar:
        advice = f"write [{text}]"
    elif "object" in kinds:
        advice = _as_mapping(value)
    elif {"number", "integer"} & {*kinds} and isinstance(value, str):
        advice = "write digits, without quotes and without a unit"
    return advice


def _as_mapping(value: Any) -> str:
    """A list of names, or a name alone, as the keys of a mapping."""
    names = value if isinstance(value, list) else [value]
    if names and all(isinstance(item, str) for item in names):
        return f"write `{names[0][:_SHOWN]}:` as a key, and what it says below it"
    return "write names as keys, without `-` before them, and what they say below them"


def _enum_message(value: Any, allowed: list[Any]) -> str:
    known = [str(item) for item in allowed]
    close = suggestion(value, known) if isinstance(value, str) else ""
    return f"{_shown(value)} is not known here.{close} Write one of {', '.join(known)}."


def _advice(error: ValidationError) -> str:
    return str(mapping(error.schema).get("$comment", ""))


def _joined(advice: str) -> str:
    return f": {advice}" if advice else ""


def _twice(values: list[Any]) -> Any:
    return next((item for place, item in enumerate(values) if item in values[:place]), values[0])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if _is_number(value):
        return "a number"
    if value is None:
        return "empty"
    return "a mapping" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "text"


def _shown(value: Any) -> str:
    """A value as a person would write it, cut where it is long; of what holds others, its size alone."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return f"this, of {len(value)} entries," if len(value) != 1 else "this, of one entry,"
    if value is None:
        return "it"
    text = str(value) if _is_number(value) else repr(str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
