"""Conditions of OpenMeter: what they mean in SQL, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from psycopg import sql

from tidemark.api.conditions import DEEPEST, MOST_CONDITIONS, Condition, decode, fault_of, sql_of


def text(document: bytes) -> str:
    (condition,) = decode(b'{"d": %s}' % document).values()
    assert fault_of(condition) == ""
    return sql_of(condition, sql.SQL("d")).as_string()


@pytest.mark.parametrize(
    ("document", "means"),
    [
        (b'{"$eq": "a"}', """(true AND d COLLATE "C" = 'a')"""),
        (b'{"$gte": "a", "$lt": "b"}', """(true AND d COLLATE "C" >= 'a' AND d COLLATE "C" < 'b')"""),
        (b'{"$nilike": "A%"}', "(true AND d NOT ILIKE 'A%%')"),
        (b'{"$in": ["a", "b"]}', "(true AND d = ANY ('{a,b}'::text[]))"),
        (b'{"$nin": []}', "(true AND d <> ALL ('{}'::text[]))"),
        (b'{"$or": [{"$eq": "a"}, {"$like": "b_"}]}',
         """(true AND ((true AND d COLLATE "C" = 'a') OR (true AND d LIKE 'b_')))"""),
        (b'{"$and": []}', "(true)"), (b"{}", "(true)"),
        (b'{"$eq": "\'; DROP TABLE api_key; --"}', """(true AND d COLLATE "C" = '''; DROP TABLE api_key; --')"""),
    ],
)  # fmt: skip
def test_a_condition_becomes_sql(document, means):
    assert text(document) == means


@pytest.mark.parametrize(
    "document", [b'{"d": {"$regex": "a"}}', b'{"d": "a"}', b'{"d": {"$in": "a"}}', b"[", b'{"d": null}']
)
def test_what_is_no_condition_is_refused(document):
    with pytest.raises(msgspec.MsgspecError):
        decode(document)


def nested(depth: int) -> Condition:
    return Condition(eq="a") if depth == 1 else Condition(and_=(nested(depth - 1),))


def test_conditions_are_bounded_and_patterns_end():
    assert fault_of(nested(DEEPEST)) == ""
    assert "deeper than" in fault_of(nested(DEEPEST + 1))
    assert fault_of(Condition(or_=(Condition(eq="a"),) * (MOST_CONDITIONS - 1))) == ""
    assert fault_of(Condition(or_=(Condition(eq="a"),) * MOST_CONDITIONS))
    assert "escape" in fault_of(Condition(like="a\\"))
    assert fault_of(Condition(like="a\\\\")) == ""
    assert "U+0000" in fault_of(Condition(nin=("a", "\0")))
