"""Property paths: where a meter finds a value in an event, and what that value is as text or number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import msgspec
from msgspec import UNSET, Raw

from udfs.events.parse import Event

# Fields of the event itself that answer to their names where no property does.
OWN_FIELDS = ("resource_id", "user_id", "session_id", "region")
PREFIX = "properties."

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
    name:
        The property literally named so.
    steps:
        Its parts for nested objects, () for a name without dots.
    own_field:
        The field of the event that answers instead, '' for none.
    """

    name: str
    steps: tuple[str, ...]
    own_field: str

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a property of that name can answer."""
        return not self.steps and not self.own_field

    def find(self, event: Event) -> bytes | None:
        """The JSON of the value; None when it is missing, which null is too: it hides what else would answer."""
        value = self._property(event)
        if value is None and self.own_field:
            own = getattr(event, self.own_field)
            return _encode(own) if isinstance(own, str) else None
        return None if value == b"null" else value

    def _property(self, event: Event) -> bytes | None:
        properties = event.properties
        if properties is UNSET:
            return None
        raw = properties.get(self.name)
        if raw is not None:
            return bytes(raw)
        return _walk(properties, self.steps) if self.steps else None


@lru_cache(maxsize=4_096)
def path_of(text: str) -> Path:
    """A path from text: a property's name, or names with dots between them for a value in nested objects.

    A property literally named so comes first, then nested objects, then OWN_FIELDS. A prefix `properties.` is dropped.
    """
    name = text.removeprefix(PREFIX)
    return Path(name, tuple(name.split(".")) if "." in name else (), name if name in OWN_FIELDS else "")


def _walk(level: Mapping[str, Raw], steps: tuple[str, ...]) -> bytes | None:
    """The JSON at the end of the steps; None where one of them leads nowhere."""
    raw = level.get(steps[0])
    if raw is None or not steps[1:]:
        return None if raw is None else bytes(raw)
    value = bytes(raw)
    return _walk(_decode_object(value), steps[1:]) if value.startswith(b"{") else None


def text_of(value: bytes) -> str | None:
    """The text a JSON value is grouped, compared and counted by; None for an object or array.

    Strings stay as they are; numbers and booleans become their JSON text.
    """
    if value[0] == ord('"'):
        return _decode_text(value)
    return None if value[0] in b"{[" else value.decode()


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
