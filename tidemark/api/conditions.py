"""Conditions on a dimension, as OpenMeter's advanced filters have them: read, bounded, and as SQL. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
from psycopg import sql

MOST_CONDITIONS = 100
DEEPEST = 8
# An escape that escapes nothing: Postgres refuses it.
_OPEN_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")
_COMPARED = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_MATCHED = {"like": "LIKE", "nlike": "NOT LIKE", "ilike": "ILIKE", "nilike": "NOT ILIKE"}
_LISTED = {"in_": "= ANY", "nin": "<> ALL"}
_JOINED = {"and_": " AND ", "or_": " OR "}


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a text must meet: everything that is given; text is compared code point by code point, `%` and `_` match."""

    eq: str | None = msgspec.field(default=None, name="$eq")
    ne: str | None = msgspec.field(default=None, name="$ne")
    gt: str | None = msgspec.field(default=None, name="$gt")
    gte: str | None = msgspec.field(default=None, name="$gte")
    lt: str | None = msgspec.field(default=None, name="$lt")
    lte: str | None = msgspec.field(default=None, name="$lte")
    like: str | None = msgspec.field(default=None, name="$like")
    nlike: str | None = msgspec.field(default=None, name="$nlike")
    ilike: str | None = msgspec.field(default=None, name="$ilike")
    nilike: str | None = msgspec.field(default=None, name="$nilike")
    in_: tuple[str, ...] | None = msgspec.field(default=None, name="$in")
    nin: tuple[str, ...] | None = msgspec.field(default=None, name="$nin")
    and_: Conditions | None = msgspec.field(default=None, name="$and")
    or_: Conditions | None = msgspec.field(default=None, name="$or")


Conditions: TypeAlias = tuple[Condition, ...]
decode = msgspec.json.Decoder(dict[str, Condition]).decode


def fault_of(condition: Condition) -> str:
    """Why a condition cannot be asked; empty for one that can."""
    found = list(_walked(condition, 1))
    if len(found) > MOST_CONDITIONS or max(depth for depth, _ in found) > DEEPEST:
        return f"over {MOST_CONDITIONS} conditions, or deeper than {DEEPEST}."
    texts = [text for _, one in found for text in _texts(one)]
    if any("\0" in text for text in texts):
        return "U+0000 is in no value."
    patterns = [text for _, one in found for name in _MATCHED if (text := getattr(one, name)) is not None]
    return "a pattern ends within an escape." if any(map(_OPEN_ESCAPE.search, patterns)) else ""


def literal(value: str | list[str]) -> sql.Composable:
    """A value in a statement that has placeholders: a percent sign in it stands for itself."""
    return sql.SQL(sql.Literal(value).as_string().replace("%", "%%"))


def sql_of(condition: Condition, value: sql.Composable) -> sql.Composable:
    """The condition on an expression of text."""
    parts = [sql.SQL("true"), *_parts(condition, value)]
    return sql.SQL("({})").format(sql.SQL(" AND ").join(parts))


def _parts(condition: Condition, value: sql.Composable) -> Iterator[sql.Composable]:
    # Letters without regard to case are those of the database's collation; an order must not depend on it.
    for collated, names in (('{} COLLATE "C" {} {}', _COMPARED), ("{} {} {}", _MATCHED)):
        for name, operator in names.items():
            if (text := getattr(condition, name)) is not None:
                yield sql.SQL(collated).format(value, sql.SQL(operator), literal(text))
    for name, operator in _LISTED.items():
        if (texts := getattr(condition, name)) is not None:
            yield sql.SQL("{} {} ({}::text[])").format(value, sql.SQL(operator), literal(list(texts)))
    for name, word in _JOINED.items():
        if inner := getattr(condition, name):
            yield sql.SQL("({})").format(sql.SQL(word).join(sql_of(one, value) for one in inner))


def _walked(condition: Condition, depth: int) -> Iterator[tuple[int, Condition]]:
    yield depth, condition
    for one in (*(condition.and_ or ()), *(condition.or_ or ())):
        yield from _walked(one, depth + 1)


def _texts(condition: Condition) -> Iterator[str]:
    singles = (getattr(condition, name) for name in (*_COMPARED, *_MATCHED))
    yield from (text for text in singles if text is not None)
    yield from (*(condition.in_ or ()), *(condition.nin or ()))
