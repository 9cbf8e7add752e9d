"""Simple repairs of a rejected event's JSON: rename a field, give one a default, set one; the rest stays as written."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemark.core.errors import UsageError
from udfs.events.parse import BYTE_ORDER_MARK

# Names of an object within each other, the first one a field of the event itself.
Path = tuple[str, ...]
Document = dict[str, Any]

_SEPARATOR = re.compile(r"(?<!\\)\.")
_EQUALS = re.compile(r"(?<!\\)=")
_MISSING = object()


class Unfixable(Exception):  # noqa: N818  an outcome of a record, not a failure
    """A record that cannot be repaired; `code` is the reason, `detail` a sentence with the record's own text."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON number as written, no digit lost; also NaN and Infinity, which some writers emit."""

    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """What a repair did to one field: its path, and its JSON before and after; None where the field is missing."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Fixes:
    """Repairs in the order they are applied: renames, then defaults, then sets.

    Parameters
    ----------
    renames:
        Pairs of an old path and a new path; an event without the old path stays as it is.
    defaults:
        Pairs of a path and the value it gets where it is missing or null.
    sets:
        Pairs of a path and the value it gets in any case.
    by_event_time:
        An event from the future arrived at its event time: the clock of the broker was behind.
    """

    renames: tuple[tuple[Path, Path], ...] = ()
    defaults: tuple[tuple[Path, Any], ...] = ()
    sets: tuple[tuple[Path, Any], ...] = ()
    by_event_time: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything to repair."""
        return bool(self.renames or self.defaults or self.sets)

    def apply(self, document: Document) -> list[Edit]:
        """Change a document in place and return the changes.

        Raises
        ------
        Unfixable
            `fix_conflict`: a new name is taken, or a path leads through a value that is not an object.
        """
        edits: list[Edit] = []
        for old, new in self.renames:
            edits += _rename(document, old, new)
        for path, value in self.defaults:
            if _get(document, path) in (_MISSING, None):
                edits += _put(document, path, value)
        for path, value in self.sets:
            edits += _put(document, path, value)
        return edits


def parse_fixes(
    sets: Sequence[str] = (), renames: Sequence[str] = (), defaults: Sequence[str] = (), *, by_event_time: bool = False
) -> Fixes:
    """Repairs from text: `path=JSON` for sets and defaults, `old=new` for renames.

    A path consists of names joined by dots; a dot or an equals sign within a name needs a backslash before it.

    Raises
    ------
    UsageError
        A text is not of that form.
    """
    return Fixes(
        renames=tuple(map(_renaming, renames)),
        defaults=tuple(_setting("--default", text) for text in defaults),
        sets=tuple(_setting("--set", text) for text in sets),
        by_event_time=by_event_time,
    )


def _renaming(text: str) -> tuple[Path, Path]:
    old, new = _halves("--rename", text, "old=new")
    paths = _path("--rename", old), _path("--rename", new)
    if paths[0] == paths[1][: len(paths[0])] or paths[1] == paths[0][: len(paths[1])]:
        raise UsageError(f"--rename {text}: one path is within the other.", "name two different fields.")
    return paths


def _setting(option: str, text: str) -> tuple[Path, Any]:
    path, value = _halves(option, text, "path=JSON")
    try:
        return _path(option, path), _load(value)
    except (ValueError, Unfixable):
        raise UsageError(
            f"{option} {path}: {value[:120]!r} is not valid JSON.", f"text needs quotes: {option} '{path}=\"text\"'."
        ) from None


def _halves(option: str, text: str, form: str) -> tuple[str, str]:
    halves = _EQUALS.split(text, maxsplit=1)
    if len(halves) == 1:
        raise UsageError(f"{option} {text!r} has no equals sign.", f"write {option} {form}.")
    return halves[0], halves[1]


def _path(option: str, text: str) -> Path:
    names = tuple(re.sub(r"\\([.=])", r"\1", name) for name in _SEPARATOR.split(text))
    if not all(names):
        raise UsageError(f"{option}: {text!r} is not a path.", "write names joined by dots: properties.model.")
    return names


def read_object(raw: bytes | None) -> Document:
    """The JSON object in the bytes; numbers are kept as `Literal`.

    Raises
    ------
    Unfixable
        `no_value` or `no_json_object`; `duplicate_key` where readers would interpret the object differently.
    """
    if raw is None:
        raise Unfixable(
            "no_value", "the Kafka value is null, or too large for a dead letter, so there is no event to send."
        )
    try:
        document = _load(raw.removeprefix(BYTE_ORDER_MARK).decode())
    except (ValueError, RecursionError) as error:
        raise Unfixable("no_json_object", f"the value is not JSON, so it cannot be sent as an event: {error}") from None
    if not isinstance(document, dict):
        raise Unfixable("no_json_object", "the value is JSON, but not an object, so it cannot be sent as an event.")
    return document


def write_object(document: Document) -> bytes:
    """Compact JSON of a document of `read_object`; an unpaired surrogate stays the escape it was read from.

    Raises
    ------
    Unfixable
        `nesting_too_deep`: the nesting is far beyond the limit of an event.
    """
    try:
        return _written(document).encode()
    except RecursionError:
        raise Unfixable("nesting_too_deep", "the value is nested too deep to be written again.") from None


def _load(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_int=Literal, parse_float=Literal, parse_constant=Literal)


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Unfixable("duplicate_key", "an object has a key twice; it is not known which of the two is meant.")
    return document


def _written(value: Any) -> str:
    match value:
        case Literal():
            return value.text
        case dict():
            return "{" + ",".join(f"{_written(key)}:{_written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case str() if not any("\ud800" <= c <= "\udfff" for c in value):
            return json.dumps(value, ensure_ascii=False)
        case _:
            return json.dumps(value)


def _get(document: Document, path: Path) -> Any:
    value: Any = document
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _rename(document: Document, old: Path, new: Path) -> list[Edit]:
    value = _get(document, old)
    if value is _MISSING:
        return []
    taken = _get(document, new)
    if taken not in (_MISSING, None):
        raise Unfixable(
            "fix_conflict", f"{_shown(old)} cannot become {_shown(new)}, which already exists: {_written(taken)[:120]}."
        )
    put = _put(document, new, value)
    del _parent(document, old)[old[-1]]
    return [Edit(_shown(old), _written(value), None), *put]


def _put(document: Document, path: Path, value: Any) -> list[Edit]:
    """Set a field, and create the objects that contain it; no edit if it has that value already."""
    parent = _parent(document, path)
    before = parent.get(path[-1], _MISSING)
    if before is not _MISSING and before == value and type(before) is type(value):
        return []
    # Copied, because the next repair may change the value, and the next event gets it too.
    parent[path[-1]] = copy.deepcopy(value)
    return [Edit(_shown(path), None if before is _MISSING else _written(before), _written(value))]


def _parent(document: Document, path: Path) -> Document:
    level = document
    for depth, name in enumerate(path[:-1], 1):
        if level.get(name) is None:
            level[name] = {}
        if not isinstance(level[name], dict):
            raise Unfixable("fix_conflict", f"{_shown(path[:depth])} is not an object: {_written(level[name])[:120]}.")
        level = level[name]
    return level


def _shown(path: Path) -> str:
    return ".".join(re.sub(r"([.=])", r"\\\1", name) for name in path)
