"""Property paths: where a meter finds a value in an event, and what that value is as text or number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw

from udfs.events.parse import Event
from udfs.values import canonical, rfc3339

# Fields of the event itself that answer to their names where no property does. Not `voids`: what takes an event back
# must be measured as that event was.
OWN_FIELDS = (
    "event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "source", "resource_id", "user_id",
    "session_id", "region",
)  # fmt: skip
PREFIX = "properties."
# What begins a JSONPath.
_ROOTS = ("$.", "$[")
_STEP = re.compile(r"""\.([^.\[\]'"*\s?@()]+)|\['([^']+)'\]|\["([^"]+)"\]""")

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_NUMBER = re.compile(r"([+-]?)(\d+(?:\.\d+)?)(?:[eE]([+-]?)\d+)?", re.ASCII)
_NEVER_LARGER, _NEVER_SMALLER = Decimal("Infinity"), Decimal("1E-999999999999999999")


@dataclass(frozen=True, slots=True)
class Path:
    """A parsed path; see `path_of`.

    Parameters
    ----------
    chains:
        Names of properties within each other, the first that is there answering: ("a.b",) before ("a", "b").
    own_field:
        The field of the event that answers instead, '' for none.
    """

    chains: tuple[tuple[str, ...], ...]
    own_field: str = ""

    @property
    def first_name(self) -> str:
        """The name of the property that answers where it is there; '' if that is one within another."""
        return "" if len(self.chains[0]) > 1 else self.chains[0][0]

    def find(self, event: Event) -> bytes | None:
        """The JSON of the value; None when it is missing, which null is too: it hides what else would answer."""
        value = self._property(event)
        if value is None and self.own_field:
            return _OWN.get(self.own_field, _own_text)(event, self.own_field)
        return None if value == b"null" else value

    def _property(self, event: Event) -> bytes | None:
        properties = event.properties
        if not properties:
            return None
        for chain in self.chains:
            if (value := _walk(properties, chain)) is not None:
                return value
        return None


def _own_text(event: Event, name: str) -> bytes | None:
    value = getattr(event, name)
    return _encode(value) if isinstance(value, str) else None


def _own_id(event: Event, name: str) -> bytes | None:
    """What takes an event back is in the group of that event."""
    return _own_text(event, "voids" if isinstance(event.voids, str) else name)


def _own_quantity(event: Event, _: str) -> bytes | None:
    return b"1" if event.quantity is UNSET else bytes(event.quantity)


def _own_time(event: Event, _: str) -> bytes | None:
    """RFC 3339 in UTC, to the millisecond where it has one."""
    try:
        return _encode(rfc3339(event.timestamp))
    except OverflowError:
        return None


# How the fields answer that are not text as it is.
_OWN: dict[str, Callable[[Event, str], bytes | None]] = {
    "event_id": _own_id, "quantity": _own_quantity, "timestamp": _own_time,
}  # fmt: skip


@lru_cache(maxsize=4_096)
def path_of(text: str) -> Path:
    """A path from text.

    ================= ===========================================================================================
    `a`               the property of that name, or else the field of the event, if it is one of OWN_FIELDS
    `a.b`             the property literally named so, or else the one within an object
    `properties.a`    the same, and never a field of the event
    `$.a.b`,          as a JSONPath has it, `$` being the properties: each step is the name of a property, and no
    `$['a']['b.c']`   field of the event answers
    ================= ===========================================================================================

    Raises
    ------
    ValueError
        It names nothing, or is a JSONPath with anything else than names.
    """
    if text.startswith(_ROOTS):
        return Path((_json_path(text),))
    name = text.removeprefix(PREFIX)
    if not name or name == "$":
        raise ValueError(f"path {text!r} names no property; write its name, as model or token.model.")
    chains = ((name,), tuple(name.split("."))) if "." in name else ((name,),)
    return Path(chains, name if text in OWN_FIELDS else "")


def _json_path(text: str) -> tuple[str, ...]:
    """The names in a JSONPath that has nothing but names."""
    steps, place = [], 1
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            rest = f"{text[place:]!r} of path {text!r} is no name of a property"
            raise ValueError(f"{rest}; a JSONPath here has nothing but names: $.a.b or $['a.b'].")
        steps.append(match[1] or match[2] or match[3])
        place = match.end()
    return tuple(steps)


def _walk(level: Mapping[str, Raw], steps: tuple[str, ...]) -> bytes | None:
    """The JSON at the end of the steps; None where one of them leads nowhere."""
    raw = level.get(steps[0])
    if raw is None or not steps[1:]:
        return None if raw is None else bytes(raw)
    value = bytes(raw)
    return _walk(_decode_object(value), steps[1:]) if value.startswith(b"{") else None


def text_of(value: bytes) -> str | None:
    """The text a JSON value is grouped, compared and counted by; None for an object or array.

    Strings stay as they are, booleans become their JSON text, numbers the one text of all that are equal, see
    `udfs.values.canonical`: 1, 1.0 and "1" are one text, "1.0" is another.
    """
    if value[0] == ord('"'):
        return _decode_text(value)
    if is_number(value):
        return canonical(value)
    return None if value[0] in b"{[" else value.decode()


def is_number(value: bytes) -> bool:
    """Whether a JSON value is a number."""
    return value[0] in b"-0123456789"


def number_of(text: str) -> Decimal | None:
    """The number a text says exactly, None if it says none; beyond what a Decimal holds, the nearest thing to it."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return _out_of_bounds(match)


def _out_of_bounds(match: re.Match[str]) -> Decimal:
    """A number whose exponent has more digits than a Decimal takes."""
    if not Decimal(match[2]):
        return Decimal(0)
    size = _NEVER_SMALLER if match[3] == "-" else _NEVER_LARGER
    return -size if match[1] == "-" else size
