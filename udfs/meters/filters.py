"""Filters of meters: conditions on properties, checked as the catalog is written and compiled where they are used."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from udfs.events.parse import Event
from udfs.meters.paths import is_number, number_of, path_of, text_of

# Groups (`all`, `any`) within each other.
MAX_DEPTH = 4
GROUPS = ("all", "any")
_COMPARE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
OPERATORS = ("eq", "ne", "in", "exists", *_COMPARE)

Predicate = Callable[[Event], bool]
# What a condition says of the JSON of a value, None for a missing one.
_Test = Callable[[bytes | None], bool]
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class FilterError(ValueError):
    """A filter that is not valid.

    Parameters
    ----------
    where:
        Path to the place in the document, such as `filter.all[1].gt`.
    message:
        What is wrong there.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)
        self.where = where
        self.message = message

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def parse_filter(document: Any) -> Predicate:
    """What tells the events that pass from those that do not.

    Parameters
    ----------
    document:
        `{all: [..]}`, `{any: [..]}` or `{property: path, OPERATOR: operand}`, as plain data from YAML or JSON.

    Raises
    ------
    FilterError
        The first fault of the document.
    """
    for fault in _faults(document, "filter", 1):
        raise fault
    return _compiled(document)


@lru_cache(maxsize=1_024)
def filter_of(text: str) -> Predicate:
    """`parse_filter` of JSON text; its decimals are exact.

    Raises
    ------
    ValueError
        The text is not JSON, or no filter.
    """
    return parse_filter(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def filter_text(document: Any) -> str:
    """Canonical JSON of a filter without faults: sorted keys, no spaces, UTF-8 as it is."""
    return _encode(document).decode()


def filter_faults(document: Any) -> list[str]:
    """Everything that is wrong with a filter, each with its place; empty for a good one."""
    return [str(fault) for fault in _faults(document, "filter", 1)]


# --- faults -----------------------------------------------------------------------------------------------------------


def _faults(document: Any, where: str, depth: int) -> Iterator[FilterError]:
    if not isinstance(document, Mapping):
        yield FilterError(where, f"{_shown(document)} is not a mapping of all, any or property.")
    elif "property" in document:
        yield from _condition_faults(document, where)
    elif len(document) == 1 and (kind := next(iter(document))) in GROUPS:
        yield from _group_faults(document[kind], f"{where}.{kind}", depth)
    else:
        yield FilterError(where, f"it needs `all` or `any` alone, or `property` with one of {', '.join(OPERATORS)}.")


def _group_faults(members: Any, where: str, depth: int) -> Iterator[FilterError]:
    if depth > MAX_DEPTH:
        yield FilterError(where, f"groups are nested {depth} levels deep; the limit is {MAX_DEPTH}.")
    elif not _is_list(members) or not members:
        yield FilterError(where, "it needs a list of one or more conditions.")
    else:
        for index, member in enumerate(members):
            yield from _faults(member, f"{where}[{index}]", depth + 1)


def _condition_faults(document: Mapping[Any, Any], where: str) -> Iterator[FilterError]:
    path, names = document["property"], [name for name in document if name != "property"]
    if message := _path_fault(path):
        yield FilterError(f"{where}.property", message)
    if len(names) != 1 or names[0] not in OPERATORS:
        found = f", not {', '.join(map(str, names))}" if names else ""
        yield FilterError(where, f"it needs exactly one of {', '.join(OPERATORS)}{found}.")
    elif message := _operand_fault(names[0], document[names[0]]):
        yield FilterError(f"{where}.{names[0]}", message)


def _path_fault(path: Any) -> str:
    if not isinstance(path, str):
        return f"{_shown(path)} is not the name of a property."
    try:
        path_of(path)
    except ValueError as error:
        return str(error)
    return ""


def _operand_fault(name: str, operand: Any) -> str:
    if name == "exists":
        return "" if isinstance(operand, bool) else f"{_shown(operand)} is neither true nor false."
    if name in _COMPARE:
        return "" if _decimal(operand) is not None else f"{_shown(operand)} is not a decimal number."
    if name == "in" and (not _is_list(operand) or not operand):
        return "it needs a list of one or more values."
    for one in operand if name == "in" else [operand]:
        if not isinstance(one, str | bool) and _decimal(one) is None:
            return f"{_shown(one)} is no text, number, true or false."
    return ""


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _decimal(operand: Any) -> Decimal | None:
    """The finite number an operand is, or says as text."""
    if isinstance(operand, bool) or not isinstance(operand, int | float | Decimal | str):
        return None
    # A float prints as the shortest text that reads back as it: what was written in the YAML.
    number = number_of(operand if isinstance(operand, str) else str(operand))
    return number if number is not None and number.is_finite() else None


# --- predicates -------------------------------------------------------------------------------------------------------


def _compiled(document: Mapping[str, Any]) -> Predicate:
    if "property" in document:
        return _condition(document)
    kind, members = next(iter(document.items()))
    parts = tuple(_compiled(one) for one in members)
    if kind == "all":
        return lambda event: all(part(event) for part in parts)
    return lambda event: any(part(event) for part in parts)


def _condition(document: Mapping[str, Any]) -> Predicate:
    find = path_of(document["property"]).find
    name = next(name for name in document if name != "property")
    test = _test(name, document[name])
    return lambda event: test(find(event))


def _test(name: str, operand: Any) -> _Test:
    match name:
        case "exists":
            return (lambda value: value is not None) if operand else (lambda value: value is None)
        case "in":
            return _among(operand)
        case "eq":
            return _among([operand])
        case "ne":
            equal = _among([operand])
            return lambda value: not equal(value)
    return _compared(_COMPARE[name], operand)


def _among(operands: Sequence[Any]) -> _Test:
    """Whether a value equals one of some: by number where either of the two is one (5 = 5.0 = "5"), else by text."""
    texts = frozenset(_text(one) for one in operands if isinstance(one, str | bool))
    numbers = frozenset(_decimal(one) for one in operands if not isinstance(one, str | bool))
    # Equal to what is sent as a number.
    all_numbers = numbers | {_decimal(one) for one in operands if isinstance(one, str)} - {None}

    def test(value: bytes | None) -> bool:
        if value is None:
            return False
        if is_number(value):
            return bool(all_numbers) and number_of(value.decode()) in all_numbers
        text = text_of(value)
        return text in texts or (bool(numbers) and text is not None and number_of(text) in numbers)

    return test


def _text(operand: str | bool) -> str:
    return operand if isinstance(operand, str) else str(operand).lower()


def _compared(compare: Callable[[Decimal, Decimal], bool], operand: Any) -> _Test:
    bound = _decimal(operand)
    assert bound is not None  # noqa: S101 - checked by `_operand_fault`

    def test(value: bytes | None) -> bool:
        text = None if value is None else value.decode() if is_number(value) else text_of(value)
        number = None if text is None else number_of(text)
        return number is not None and compare(number, bound)

    return test
