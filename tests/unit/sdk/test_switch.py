"""Which version of the usage a reader asks: the one that the switch names, remembered, and its own where none is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.reader_parts import FULL, judge, replies
from tidemark_client.evaluate import Judge, Question
from tidemark_client.switch import EVERY_TENANT, tenant_name, version_of

EVERY, ONE = json.dumps({"*": "usage_r:"}), json.dumps({"t": "usage_s:"})
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6) | st.just(EVERY_TENANT)
maps = st.dictionaries(ids, st.sampled_from(["usage_r:", "usage_s:"]), max_size=3)


def ask(asked: Judge, tenant: str = "t") -> Question:
    return asked.question(tenant, "c", "m", 1)


@given(maps, st.none() | st.just("usage_q:"), ids)
def test_a_tenant_has_the_version_of_its_name_else_that_of_all_else_its_own(
    named: dict[str, str], every: str | None, tenant: str
) -> None:
    switch = {tenant_name(one): prefix for one, prefix in named.items()} | ({EVERY_TENANT: every} if every else {})
    assert version_of(json.dumps(switch), tenant, "usage:") == named.get(tenant, every or "usage:")


UNREADABLE = ["", "{", "[]", "3", "null", '"usage_r:"', '{"t": 5}', '{"t": ""}', '{"*": null}', "[" * 100_000]


@pytest.mark.parametrize("text", [*UNREADABLE, None, 5, b"\xff", redis.ResponseError("no")])
def test_a_switch_that_cannot_be_read_names_no_other_version(text: Any) -> None:
    asked = judge()
    assert asked.elsewhere(ask(asked), replies(FULL, switch=text)) is None
    assert ask(asked).version == "usage:"


def test_the_question_is_put_again_at_a_switch_and_no_more() -> None:
    asked = judge()
    first = ask(asked)
    again = asked.elsewhere(first, replies(FULL, switch=EVERY))
    assert again is not None
    assert (again.version, again.keys.counter, again.keys.suspension) == (
        "usage_r:", "usage_r:{t/c}:m", "usage:{t/c}::suspended",
    )  # fmt: skip
    assert asked.elsewhere(again, replies(FULL, switch=EVERY)) is None
    # From now on the first question is put to that version, and back it goes the same way.
    assert ask(asked) == again
    assert asked.elsewhere(again, replies(FULL)) == first
    assert ask(asked) == first


def test_one_tenant_moves_alone() -> None:
    asked = judge()
    assert asked.elsewhere(ask(asked, "u"), replies(FULL, switch=ONE.encode())) is None
    assert [ask(asked, tenant).version for tenant in "tu"] == ["usage_s:", "usage:"]


@pytest.mark.parametrize("broken", [[], [{}, [], None, redis.ResponseError("LOADING")], [{}, [], None, []]])
def test_replies_without_the_switch_leave_the_version_as_it_was(broken: list[Any]) -> None:
    asked = judge()
    asked.elsewhere(ask(asked), replies(FULL, switch=EVERY))
    assert asked.elsewhere(ask(asked), broken) is None
    assert ask(asked).version == "usage_r:"
