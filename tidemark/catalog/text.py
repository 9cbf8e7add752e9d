"""YAML as it is written: the core schema of YAML 1.2 with exact decimals, keys as text, merge keys, bounded aliases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

# Deepest entry of a catalog: a filter of a tenant's meter, 14 levels.
MAX_DEPTH = 40
MAX_SCALAR = 10_000
# Aliases may make of a file this many times the entries that are written, and some more; no catalog comes near.
MAX_GROWTH = 20
SMALL = 10_000
# Larger exponents would make a line of zeros of a short text.
_MOST_DIGITS = 100
# Names and identifiers: a number written there is text, as keys are.
_TEXT_KEYS = frozenset(
    (
        *("event_types", "unit", "value", "group_by", "property", "calendar", "plan", "timezone", "reason"),
        *("types", "receivers", "tenants", "customers", "meters"),
    )
)
_TAG = "tag:yaml.org,2002:"
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL = {text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# libyaml, where PyYAML was built with it: ten times as fast.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file, and where: its path, and its line where it is known."""

    path: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a value in a file: its line, and for a scalar its text and whether that is unquoted."""

    line: int
    text: str = ""
    is_plain: bool = False


@dataclass(slots=True)
class Document:
    """A parsed file: its content, the faults its text shows (a key given twice), its places by path if asked for."""

    content: Any = None
    faults: list[Fault] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)


class BoundError(ValueError):
    """A file that is too deep, too long, or grows too much by its aliases; the text says where."""


def parse(text: str, *, with_places: bool = False) -> Document:
    """Parse a YAML file of one document.

    Raises
    ------
    yaml.YAMLError
        It is not YAML, or has a tag that is not one of JSON's types.
    BoundError
        It is beyond a bound, most likely by aliases of aliases.
    """
    return _Builder(text, with_places=with_places).document()


class _Builder:
    """Content from the events of a parser: nothing is made that a bound refuses."""

    def __init__(self, text: str, *, with_places: bool) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        self._made = Document()
        self._with_places = with_places
        self._anchors: dict[str, tuple[Any, int]] = {}
        # Nodes that are written, and those there are when every alias is written out.
        self._written = self._size = 0
        self._largest_alias = (0, 0)

    def document(self) -> Document:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self._written:
                    raise _error(event, "a second document begins; a catalog is one")
                self._anchors.clear()
                self._made.content = self._node(next(self._events), "", "", 1)
        limit = MAX_GROWTH * self._written + SMALL
        if self._size > limit:
            raise BoundError(
                f"line {self._largest_alias[1]}: its aliases make {self._size:,} entries of {self._written:,} written "
                f"ones; the limit is {limit:,}. Write out what the alias stands for."
            )
        return self._made

    def _node(self, event: Any, path: str, key: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BoundError(f"line {_line(event)}: it is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._written += 1
        before = self._size
        self._size += 1
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, key)
        elif isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(event, path, depth)
        else:
            value = self._sequence(event, path, key, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._size - before
        return value

    def _alias(self, event: Any) -> Any:
        self._written += 1
        if event.anchor not in self._anchors:
            raise _error(event, f"the alias *{event.anchor} stands for nothing that is complete before it")
        value, size = self._anchors[event.anchor]
        self._size += size
        self._largest_alias = max(self._largest_alias, (size, _line(event)))
        return value

    def _sequence(self, event: Any, path: str, key: str, depth: int) -> list[Any]:
        _expect_tag(event, "seq")
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            place = f"{path}.{len(items)}" if self._with_places else ""
            self._note(place, event, event)
            items.append(self._node(event, place, key, depth + 1))
        return items

    def _mapping(self, event: Any, path: str, depth: int) -> dict[str, Any]:
        _expect_tag(event, "map")
        direct: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _error(event, "a key is text, and this is not")
            # A customer named 007 or NO is neither a number nor a boolean.
            key = str(event.value)
            is_merge = key == "<<" and event.implicit[0]
            self._check_text(event, key)
            value_event = next(self._events)
            place = (f"{path}.{key}" if path else key) if self._with_places else ""
            self._note(place, event, value_event)
            value = self._node(value_event, place, key, depth + 1)
            if (is_merge and merged) or (not is_merge and key in direct):
                self._fault(event, f"the key {key!r} is given twice.")
            if is_merge:
                merged = self._merged(event, value)
            else:
                direct[key] = value
        return direct if not merged else self._with_merged(merged, direct)

    def _merged(self, event: Any, value: Any) -> list[Any]:
        sources = value if isinstance(value, list) else [value]
        if not sources or not all(isinstance(item, Mapping) for item in sources):
            self._fault(event, "`<<` takes a mapping, or a list of mappings: write for example `<<: *common`.")
            return []
        return sources

    def _with_merged(self, sources: list[Any], direct: dict[str, Any]) -> dict[str, Any]:
        """Keys of the mapping itself go before merged ones, and those of an earlier source before a later one's."""
        result: dict[str, Any] = {}
        for source in reversed(sources):
            result |= source
        return result | direct

    def _scalar(self, event: Any, key: str) -> Any:
        text = str(event.value)
        self._check_text(event, text)
        tag = event.tag
        if tag is not None and tag not in ("!", _TAG + "str"):
            return self._tagged(event, text)
        if tag is not None or not event.implicit[0]:
            return text
        if text in _NULL:
            return None
        return text if key in _TEXT_KEYS else self._plain(event, text)

    def _plain(self, event: Any, text: str) -> Any:
        if text in _BOOL:
            return _BOOL[text]
        # Most scalars are words, and no number begins with a letter.
        if text[0] not in "+-.0123456789":
            return text
        if _INT.fullmatch(text):
            digits = text.lstrip("+-")
            if len(digits) > _MOST_DIGITS:
                self._fault(event, f"{text[:40]}… is not a number of at most {_MOST_DIGITS} digits.")
                return 0
            return int(text, 0) if digits[:2] in ("0x", "0o") else int(text)
        if _FLOAT.fullmatch(text):
            return self._decimal(event, text)
        if _NOT_FINITE.fullmatch(text):
            self._fault(event, f'{text} is no number that can be counted. If it is text, put it in quotes: "{text}".')
        return text

    def _decimal(self, event: Any, text: str) -> Decimal:
        number = Decimal(text)
        if abs(number.adjusted()) > _MOST_DIGITS:
            self._fault(event, f"{text[:40]} is not a number of at most {_MOST_DIGITS} digits.")
            return Decimal(0)
        return number

    def _tagged(self, event: Any, text: str) -> Any:
        kinds: dict[str, tuple[type, ...]] = {
            "null": (type(None),), "bool": (bool,), "int": (int,), "float": (int, Decimal)
        }  # fmt: skip
        kind = str(event.tag).removeprefix(_TAG)
        value = None if text in _NULL else self._plain(event, text)
        if kind not in kinds or not isinstance(value, kinds[kind]) or (kind == "int" and isinstance(value, bool)):
            raise _error(event, f"{text[:40]!r} cannot be read as {event.tag}")
        return value

    def _check_text(self, event: Any, text: str) -> None:
        if len(text) > MAX_SCALAR:
            raise BoundError(f"line {_line(event)}: a text has {len(text):,} characters; the limit is {MAX_SCALAR:,}.")
        if not text.isprintable() and _UNSTORABLE.search(text):
            self._fault(event, f"{text[:40]!r} holds a NUL or half a surrogate pair, which cannot be stored.")

    def _note(self, path: str, at: Any, event: Any) -> None:
        if self._with_places:
            is_scalar = isinstance(event, yaml.ScalarEvent)
            text, is_plain = (str(event.value), bool(event.implicit[0])) if is_scalar else ("", False)
            self._made.places[path] = Place(_line(at), text, is_plain)

    def _fault(self, event: Any, message: str) -> None:
        self._made.faults.append(Fault("file", message, _line(event)))


def _expect_tag(event: Any, kind: str) -> None:
    if event.tag not in (None, "!", _TAG + kind):
        raise _error(event, f"the tag {event.tag} is not one of JSON's types")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _error(event: Any, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)
