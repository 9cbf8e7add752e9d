"""Checks whether a changed JSON Schema of a topic breaks producers of events, or readers of what Tidemark produces.

A schema that is *accepted* may only come to accept more: whatever the old one accepts, the new one must too. Where
unknown fields are tolerated, a new field with a type of its own breaks, because producers may send it already and mean
something else: it belongs under a condition on a new `schema_version`.

A schema that is *produced* may only come to allow less: whatever the new one allows, the old one must allow. So no
required field goes, no type gets wider, no enum longer. Marks in the old schema make room: with `x-open-enum` readers
cope with values of that enum that they do not know, with `x-open-fields` they ignore fields that they do not know.

A difference between two schemas that cannot be compared here counts as breaking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.plain_schema import Schema, allows, conjuncts, opened, plain, same, types_of, unmarked

Direction = Literal["accepted", "produced"]
DIRECTIONS: Mapping[str, Direction] = {
    "usage.events": "accepted",
    "usage.deltas": "produced",
    "usage.dlq": "produced",
    "usage.alerts": "produced",
    "usage.closes": "produced",
    "usage.corrections": "produced",
}

# Limits, and the JSON type that they speak of.
_UPPER = {
    "maximum": "integer",
    "exclusiveMaximum": "integer",
    "maxLength": "string",
    "maxItems": "array",
    "maxProperties": "object",
}
_LOWER = {
    "minimum": "integer",
    "exclusiveMinimum": "integer",
    "minLength": "string",
    "minItems": "array",
    "minProperties": "object",
}
# Keywords without meaning for other types than these.
_SPEAKS_OF = {
    **_UPPER,
    **_LOWER,
    "multipleOf": "integer",
    "pattern": "string",
    "format": "string",
    "contentEncoding": "string",
    "items": "array",
    "required": "object",
    "properties": "object",
    "additionalProperties": "object",
}


def breaking_changes(old: Any, new: Any, direction: Direction) -> list[str]:
    """The breaking changes from `old` to `new`, a line each with the path; empty when there are none.

    Raises
    ------
    ValueError
        A `$ref` does not point into the schema's own `$defs`, or refers to itself.
    """
    before, after = plain(old), plain(new)
    if direction == "accepted":
        found = _Comparison(narrow_name="old", wide_name="new").excess(unmarked(before), unmarked(after), "$")
    else:
        found = _Comparison(narrow_name="new", wide_name="old").excess(unmarked(after), opened(before), "$")
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Finds what one plain schema (`narrow`) allows and another (`wide`) does not."""

    narrow_name: str
    wide_name: str

    def excess(self, narrow: Any, wide: Any, path: str) -> Iterator[str]:
        if wide == {} or narrow is False or same(wide, narrow):
            return
        if wide is False:
            yield self._alone(path, "anything")
            return
        parts = conjuncts(narrow)
        if any("enum" in part for part in parts):
            yield from self._values(parts, narrow, wide, path)
        elif choice := next((part for part in parts if "anyOf" in part), None):
            rest = [{name: value for name, value in choice.items() if name != "anyOf"}]
            rest += [part for part in parts if part is not choice]
            for option in choice["anyOf"]:
                if option is not False:
                    yield from self.excess({"allOf": [*rest, option]}, wide, path)
        else:
            for part in conjuncts(wide):
                yield from self._part(parts, narrow, part, path)

    def _alone(self, path: str, what: str) -> str:
        return f"{path}: {what} is allowed by the {self.narrow_name} schema alone."

    def _values(self, parts: list[Schema], narrow: Schema, wide: Any, path: str) -> Iterator[str]:
        """An enum is finite: every value can be tried."""
        values = next(part["enum"] for part in parts if "enum" in part)
        for value in values:
            if allows(narrow, value) and not allows(wide, value):
                yield self._alone(path, f"the value {value!r}")

    def _part(self, parts: list[Schema], narrow: Schema, wide: Schema, path: str) -> Iterator[str]:
        """One thing that `wide` demands: of each keyword some part of `narrow` must demand as much."""
        if "if" in wide:
            yield from self._condition(parts, narrow, wide, path)
            return
        kinds = types_of(narrow)
        for keyword, limit in wide.items():
            match keyword:
                case "type":
                    more = kinds - types_of({"type": limit})
                    yield from (self._alone(path, f"type {kind}") for kind in sorted(more))
                case "anyOf":
                    for kind in sorted(kinds):
                        selected = {"allOf": [narrow, {"type": [kind]}]}
                        if all(any(self.excess(selected, option, path)) for option in limit):
                            yield self._alone(path, f"a value of type {kind} that no anyOf speaks of")
                case _ if _SPEAKS_OF.get(keyword) in {None, *kinds}:
                    tries = [list(self._keyword(keyword, part, wide, path)) for part in parts or [{}]]
                    yield from min(tries, key=len)

    def _condition(self, parts: list[Schema], narrow: Schema, wide: Schema, path: str) -> Iterator[str]:
        alike = next((part for part in parts if "if" in part and same(part["if"], wide["if"])), None)
        for branch in ("then", "else"):
            own: Any = narrow
            if alike is not None:
                own = {"allOf": [*(part for part in parts if part is not alike), alike.get(branch, {})]}
            elif branch == "then" and _is_impossible(wide["if"], parts):
                own = False
            yield from self.excess(own, wide.get(branch, {}), path)

    def _keyword(self, keyword: str, part: Schema, wide: Schema, path: str) -> Iterator[str]:
        match keyword:
            case "items":
                yield from self.excess(part.get("items", {}), wide["items"], f"{path}[]")
            case "required":
                for name in sorted(set(wide["required"]) - set(part.get("required", ()))):
                    yield self._alone(path, f"an object without {name!r}")
            case "properties":
                yield from self._properties(part, wide, path)
            case "additionalProperties":
                yield from self._additional(part, wide, path)
            case "enum":
                yield self._alone(path, f"more than {wide['enum']}")
            case _ if keyword in _UPPER or keyword in _LOWER:
                yield from self._bound(keyword, part, wide, path)
            case _ if keyword not in part or not same(part[keyword], wide[keyword]):
                yield f"{path}: {keyword} differs, which cannot be compared."

    def _bound(self, keyword: str, part: Schema, wide: Schema, path: str) -> Iterator[str]:
        own, limit = part.get(keyword), wide[keyword]
        if own is None or (own > limit if keyword in _UPPER else own < limit):
            written = "missing" if own is None else own
            yield f"{path}: {keyword} is {written} in the {self.narrow_name} schema, {limit} in the {self.wide_name}."

    def _properties(self, part: Schema, wide: Schema, path: str) -> Iterator[str]:
        own, others = part.get("properties", {}), part.get("additionalProperties", {})
        for name, field in wide["properties"].items():
            yield from self.excess(own.get(name, others), field, f"{path}.{name}")

    def _additional(self, part: Schema, wide: Schema, path: str) -> Iterator[str]:
        own, others = part.get("properties", {}), part.get("additionalProperties", {})
        more = {name: field for name, field in own.items() if name not in wide.get("properties", {})}
        for name, field in {**more, "(any other field)": others}.items():
            yield from self.excess(field, wide["additionalProperties"], f"{path}.{name}")


def _is_impossible(condition: Any, parts: list[Schema]) -> bool:
    """Whether a condition wants a value of a required field that none of these parts allows it to have."""
    if condition is False:
        return True
    for name in condition.get("required", ()):
        wanted = condition.get("properties", {}).get(name, {}).get("enum")
        fields = [part["properties"][name] for part in parts if name in part.get("properties", {})]
        if wanted and any(not any(allows(field, value) for value in wanted) for field in fields):
            return True
    return False
