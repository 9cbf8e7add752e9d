"""The slow path: names the reason for which bytes are no event, and settles doubts about bytes that decoded."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from typing import Any

from udfs.events import cloudevents
from udfs.events.json_fields import (
    NonFinite,
    Number,
    expect,
    expect_instant,
    expect_properties,
    expect_text,
    kind,
    require,
)
from udfs.events.reasons import Reason, Rejected, shown
from udfs.events.shape import MAX_DEPTH, depth_of
from udfs.events.upcast import DEFAULT_VERSION, LATEST_VERSION, VERSIONS

_REQUIRED = ("event_id", "tenant_id", "customer_id", "event_type", "timestamp")
_OPTIONAL_TEXT = ("resource_id", "user_id", "session_id", "region", "voids")
IDS = ("tenant_id", "customer_id", "event_id")
# What an interrupted text may end with where a whole token was expected.
_BEGUN_TOKEN = re.compile(r"-|t(?:ru?)?|f(?:al?s?)?|n(?:ul?)?|\.|[eE][+-]?")
_BEGUN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,4})?\Z")


def inspect(raw: bytes, default_tenant: str = "") -> None:
    """Check everything about the bytes that makes an event parse, at leisure.

    Of CloudEvents that name no tenant, the rejection names the default one.

    Raises
    ------
    Rejected
        The first thing found wrong: encoding, syntax, depth, keys, strings, fields.
    """
    text = _text(raw)
    if text.startswith("\ufeff"):
        raise Rejected(Reason.MALFORMED_JSON, "the value has more than one byte order mark in front; write none.")
    if not text.strip(" \t\r\n"):
        raise Rejected(Reason.EMPTY_VALUE, "the value is blank.")
    if (depth := depth_of(raw)) > MAX_DEPTH:
        raise Rejected(Reason.NESTING_TOO_DEEP, f"nested {depth} levels deep; the limit is {MAX_DEPTH}.")
    document = _load(text)
    if not isinstance(document, dict):
        raise Rejected(Reason.NOT_AN_OBJECT, f"the value is {kind(document)}, not an object.")
    foreign = cloudevents.is_cloudevent(document)
    try:
        _check_strings(document)
        _check_numbers(document, foreign)
        (cloudevents.check if foreign else _check_fields)(document)
    except Rejected as rejected:
        ids = cloudevents.ids_of(document, default_tenant) if foreign else _ids_of(document)
        raise Rejected(rejected.reason, rejected.detail, ids) from None


def _ids_of(document: dict[str, Any]) -> dict[str, str]:
    return {name: value for name in IDS if isinstance(value := document.get(name), str)}


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
            raise Rejected(Reason.INVALID_UTF8, "the value begins as UTF-16 does; write UTF-8.") from None
        cut = error.reason == "unexpected end of data"
        reason = Reason.TRUNCATED_JSON if cut else Reason.INVALID_UTF8
        raise Rejected(reason, f"byte {error.start} is 0x{raw[error.start]:02x}: {error.reason}.") from None


def _load(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=NonFinite, parse_int=Number, parse_float=Number
        )
    except json.JSONDecodeError as error:
        reason = Reason.TRUNCATED_JSON if _is_cut_off(text, error) else Reason.MALFORMED_JSON
        raise Rejected(reason, f"{error.msg} at character {error.pos} of {len(text)}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Rejected(Reason.DUPLICATE_KEY, f'key "{shown(twice)}" is there more than once.')
    return document


def _is_cut_off(text: str, error: json.JSONDecodeError) -> bool:
    if error.msg.startswith("Unterminated string"):
        return True
    rest = text[error.pos :].strip(" \t\r\n")
    begun_escape = error.msg.startswith("Invalid \\") and _BEGUN_ESCAPE.search(text) is not None
    return not rest or begun_escape or _BEGUN_TOKEN.fullmatch(rest) is not None


def _check_strings(document: dict[str, Any]) -> None:
    for place, value in _strings(document, ("", "$")):
        if "\0" in value:
            raise Rejected(Reason.NUL_CHARACTER, f"{shown(_path(place))} holds \\u0000: {shown(value)}.")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            where = shown(_path(place))
            raise Rejected(Reason.INVALID_UNICODE, f"{where} holds half a surrogate pair: {shown(value)}.")


# A step, behind the place it starts from. Joined only in an error: a long key above many strings would be copied for
# each of them.
_Place = tuple[Any, Any]


def _strings(value: Any, place: _Place) -> Iterator[tuple[_Place, str]]:
    """Every string, keys included, with its place; the depth was checked before."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, (place, f"[{index}]"))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (("", "a key of "), place), key
            yield from _strings(item, ((place, "."), key))


def _path(place: _Place | str) -> str:
    """The path of a place as text."""
    return place if isinstance(place, str) else _path(place[0]) + _path(place[1])


def _check_numbers(document: dict[str, Any], foreign: bool) -> None:
    holder, name = (document.get("data"), "data.quantity") if foreign else (document, "quantity")
    quantity = holder.get("quantity") if isinstance(holder, dict) else None
    if isinstance(quantity, NonFinite):
        raise Rejected(Reason.NON_FINITE_QUANTITY, f"{name} is {quantity.text}.")
    for literal in _non_finite(document):
        raise Rejected(Reason.MALFORMED_JSON, f"{literal.text} is not JSON.")


def _non_finite(value: Any) -> Iterator[NonFinite]:
    if isinstance(value, NonFinite):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _non_finite(item)


def _check_fields(document: dict[str, Any]) -> None:
    require(document, _REQUIRED)
    for name in _REQUIRED[:-1]:
        expect(name, document[name], "a string", isinstance(document[name], str))
    if document["timestamp"] is None:
        raise Rejected(Reason.INVALID_TIMESTAMP, "timestamp is null.")
    expect_instant("timestamp", document["timestamp"])
    expect_text(document, _OPTIONAL_TEXT)
    expect_properties("properties", document.get("properties"))
    if _version_of(document) == LATEST_VERSION:
        expect_text(document, ("source",))


def _version_of(document: dict[str, Any]) -> int:
    value = document.get("schema_version")
    if value is None:
        return DEFAULT_VERSION
    number = float(value.text) if isinstance(value, Number) else 0.5
    expect("schema_version", value, "an integer", number.is_integer())
    if number not in VERSIONS:
        known = " and ".join(map(str, sorted(VERSIONS)))
        raise Rejected(Reason.UNSUPPORTED_SCHEMA_VERSION, f"schema_version is {shown(value.text)}; {known} are known.")
    return int(number)
