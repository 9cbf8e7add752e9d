"""The slow path: names the reason for which bytes are no event, and settles doubts about bytes that decoded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from udfs.reasons import Reason, Rejected, shown
from udfs.shape import MAX_DEPTH, depth_of

SCHEMA_VERSION = 1
_REQUIRED = ("event_id", "tenant_id", "customer_id", "event_type", "timestamp")
_OPTIONAL_TEXT = ("resource_id", "user_id", "session_id", "region")
IDS = ("tenant_id", "customer_id", "event_id")
_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)
# What an interrupted text may end with where a whole token was expected.
_BEGUN_TOKEN = re.compile(r"-|t(?:ru?)?|f(?:al?s?)?|n(?:ul?)?|\.|[eE][+-]?")
_BEGUN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,4})?\Z")


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number as written: no digit limit, no rounding."""

    text: str


@dataclass(frozen=True, slots=True)
class _NonFinite:
    """NaN, Infinity or -Infinity, which some writers emit and JSON does not know."""

    text: str


def diagnose(raw: bytes, decoder_message: str) -> Rejected:
    """The verdict on bytes that did not decode as an event."""
    try:
        inspect(raw)
    except Rejected as verdict:
        return verdict
    # RFC 3339 in form, but beyond the end of the year 9999 once it is rounded to microseconds.
    reason = Reason.INVALID_TIMESTAMP if "$.timestamp" in decoder_message else Reason.MALFORMED_JSON
    return Rejected(reason, shown(decoder_message))


def inspect(raw: bytes) -> None:
    """Check everything about the bytes that makes an event parse, at leisure.

    Raises
    ------
    Rejected
        The first thing found wrong: encoding, syntax, depth, keys, strings, fields.
    """
    text = _text(raw)
    if not text.strip(" \t\r\n"):
        raise Rejected(Reason.EMPTY_VALUE, "the value is blank.")
    if (depth := depth_of(raw)) > MAX_DEPTH:
        raise Rejected(Reason.NESTING_TOO_DEEP, f"nested {depth} levels deep; the limit is {MAX_DEPTH}.")
    document = _load(text)
    if not isinstance(document, dict):
        raise Rejected(Reason.NOT_AN_OBJECT, f"the value is {_kind(document)}, not an object.")
    try:
        _check_strings(document)
        _check_numbers(document)
        _check_fields(document)
    except Rejected as verdict:
        ids = {name: value for name in IDS if isinstance(value := document.get(name), str)}
        raise Rejected(verdict.reason, verdict.detail, ids) from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        reason = Reason.TRUNCATED_JSON if cut else Reason.INVALID_UTF8
        raise Rejected(reason, f"byte {error.start} is 0x{raw[error.start]:02x}: {error.reason}.") from None


def _load(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_NonFinite, parse_int=_Number, parse_float=_Number
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
    for where, value in _strings(document, "$"):
        if "\0" in value:
            raise Rejected(Reason.NUL_CHARACTER, f"{shown(where)} holds \\u0000: {shown(value)}.")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Rejected(Reason.INVALID_UNICODE, f"{shown(where)} holds half a surrogate pair: {shown(value)}.")


def _strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string, keys included, with its path; the depth was checked before."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"a key of {where}", key
            yield from _strings(item, f"{where}.{key}")


def _check_numbers(document: dict[str, Any]) -> None:
    quantity = document.get("quantity")
    if isinstance(quantity, _NonFinite):
        raise Rejected(Reason.NON_FINITE_QUANTITY, f"quantity is {quantity.text}.")
    for literal in _non_finite(document):
        raise Rejected(Reason.MALFORMED_JSON, f"{literal.text} is not JSON.")


def _non_finite(value: Any) -> Iterator[_NonFinite]:
    if isinstance(value, _NonFinite):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _non_finite(item)


def _check_fields(document: dict[str, Any]) -> None:
    missing = [name for name in _REQUIRED if name not in document]
    if missing:
        raise Rejected(Reason.MISSING_FIELD, f"{', '.join(missing)} {'are' if missing[1:] else 'is'} missing.")
    for name in _REQUIRED[:-1]:
        _expect(name, document[name], "a string", isinstance(document[name], str))
    _check_timestamp(document["timestamp"])
    for name in _OPTIONAL_TEXT:
        value = document.get(name)
        _expect(name, value, "a string or null", value is None or isinstance(value, str))
    properties = document.get("properties", {})
    _expect("properties", properties, "an object", isinstance(properties, dict))
    _check_schema_version(document.get("schema_version", _Number("1")))


def _check_timestamp(value: Any) -> None:
    if value is None:
        raise Rejected(Reason.INVALID_TIMESTAMP, "timestamp is null.")
    _expect("timestamp", value, "an RFC 3339 string", isinstance(value, str))
    if _LOCAL_TIME.fullmatch(value) and _is_date_time(value):
        raise Rejected(Reason.TIMESTAMP_WITHOUT_ZONE, f'timestamp "{shown(value)}" has neither Z nor an offset.')
    if not _is_rfc3339(value):
        raise Rejected(
            Reason.INVALID_TIMESTAMP, f'timestamp "{shown(value)}" is not RFC 3339, for example 2024-02-29T23:59:59Z.'
        )


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|[+-](\d\d):?(\d\d))", re.ASCII)


def _is_rfc3339(value: str) -> bool:
    match = _RFC3339.fullmatch(value)
    hours, minutes = (match[2] or "0", match[3] or "0") if match else ("99", "99")
    return match is not None and _is_date_time(match[1]) and int(hours) <= 23 and int(minutes) <= 59  # noqa: PLR2004


def _is_date_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _check_schema_version(value: Any) -> None:
    number = float(value.text) if isinstance(value, _Number) else 0.5
    _expect("schema_version", value, "an integer", number.is_integer())
    if number != SCHEMA_VERSION:
        raise Rejected(
            Reason.UNSUPPORTED_SCHEMA_VERSION,
            f"schema_version is {shown(value.text)}; {SCHEMA_VERSION} is known.",
        )


def _expect(name: str, value: Any, contract: str, holds: bool) -> None:
    if not holds:
        raise Rejected(Reason.WRONG_TYPE, f"{name} is {_kind(value)}, not {contract}.")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case _Number() | _NonFinite():
            return f"the number {shown(value.text)}"
        case str():
            return f'the string "{shown(value)}"'
        case list():
            return "an array"
        case _:
            return "an object"
