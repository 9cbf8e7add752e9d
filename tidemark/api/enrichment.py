"""Properties that the process adds to events by declared rules: from a header of the request, or of the key. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.core.settings import EnrichRule
from udfs.events.cloudevents import is_cloudevent
from udfs.events.parse import BYTE_ORDER_MARK, MAX_ID_BYTES

# Fields of a native event that answer to their name where no property does: one that is there states the value.
_OWN = frozenset({"resource_id", "user_id", "session_id", "region"})
_NULL = Raw(b"null")

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


class Addition(msgspec.Struct, frozen=True):
    """A property for all events of a request, as JSON; `overwrite`: also where an event states another."""

    name: str
    value: Raw
    overwrite: bool


def additions(rules: Iterable[EnrichRule], headers: Mapping[str, str], key: StoredKey) -> list[Addition]:
    """What rules add to the events of a request: of each property, by the first rule that has a value.

    Parameters
    ----------
    rules:
        In their order.
    headers:
        By lower-case name.
    key:
        Whose request it is.

    Raises
    ------
    Problem
        400 where a header that a rule names holds no text of up to 256 bytes.
    """
    found: dict[str, Addition] = {}
    for rule in rules:
        if rule.property not in found and rule.is_of(key.tenant) and (value := _value(rule, headers, key)):
            found[rule.property] = Addition(rule.property, Raw(_encode(value)), rule.overwrite)
    return list(found.values())


def enriched(value: bytes, added: Iterable[Addition]) -> bytes:
    """An event, which the parser has read, with the properties that it does not state; the same bytes for none."""
    fields = _decode(value.removeprefix(BYTE_ORDER_MARK))
    place = "data" if is_cloudevent(fields) else "properties"
    properties = _decode(fields[place]) if _is_there(fields, place) else {}
    new = {one.name: one.value for one in added if one.overwrite or not _states(one.name, fields, properties, place)}
    return _encode(fields | {place: Raw(_encode(properties | new))}) if new else value


def _value(rule: EnrichRule, headers: Mapping[str, str], key: StoredKey) -> str:
    if rule.key:
        return key.name if rule.key == "name" else key.key_id
    text = headers.get(rule.header, "").strip()
    if not (text.isprintable() and len(text.encode()) <= MAX_ID_BYTES):
        detail = f"header {rule.header} becomes a property: it must be printable text of up to {MAX_ID_BYTES} bytes."
        raise Problem(400, "malformed_header", detail)
    return text


def _states(name: str, fields: Mapping[str, Raw], properties: Mapping[str, Raw], place: str) -> bool:
    """Whether a meter would find a value, or a null that hides it."""
    return name in properties or (place == "properties" and name in _OWN and _is_there(fields, name))


def _is_there(fields: Mapping[str, Raw], name: str) -> bool:
    return fields.get(name, _NULL) != _NULL
