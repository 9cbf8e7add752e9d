"""What the reader makes of the replies of Redis, good and broken, and which failure policy it remembers from them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, get_args

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.reader_parts import ASK, FEB, FULL, JAN, NOW, SECOND, judge, replies
from tidemark_client import Reason
from tidemark_client.policies import Policies
from tidemark_client.stored import Counter, parse


def test_a_counter_is_read_as_it_is_written() -> None:
    decision = judge().answered(ASK, replies(FULL))
    assert (decision.reason, decision.used, decision.rule) == ("within_limit", Decimal("4.5"), "customer/c@0")
    assert parse(replies(FULL | {"limit": "", "mode": ""})).counter == Counter(
        JAN, FEB, Decimal("4.5"), None, NOW + SECOND
    )


def test_bytes_are_read_as_text() -> None:
    held = {"reason": "unpaid", "by": "dunning", "at": str(NOW), "until": ""}
    raw = [
        {name.encode(): value.encode() for name, value in held.items()},
        [value.encode() for value in FULL.values()],
        CLOSED.encode(),
        [b"r1", str(NOW).encode(), None],
    ]
    assert judge().answered(ASK, raw) == judge().answered(ASK, replies(FULL, suspension=held, default=CLOSED))


@pytest.mark.parametrize(
    "broken",
    [
        FULL | {"period_start": "yesterday"},
        FULL | {"period_start": "-1"},
        FULL | {"period_end": "999999999999999"},
        FULL | {"period_end": ""},
        FULL | {"total": "NaN"},
        FULL | {"total": "1e40"},
        FULL | {"limit": "0.0000000001"},
        FULL | {"limit": "Infinity"},
        FULL | {"mode": "firm"},
        FULL | {"projected_exhaustion_at": "soon"},
    ],
)
def test_nothing_is_decided_on_a_counter_that_cannot_be_read(broken: dict[str, str]) -> None:
    decision = judge().answered(ASK, replies(broken))
    assert (decision.reason, decision.allowed, decision.known) == ("redis_error", False, False)
    assert decision.detail


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"limit": 5}', '{"limit": "5", "mode": "firm"}', '{"limit": "x"}'])
def test_a_default_that_cannot_be_read_is_no_limit_of_zero_and_no_freedom(text: str) -> None:
    decision = judge(on_unknown="fail_closed").answered(ASK, replies(default=text))
    assert (decision.reason, decision.allowed) == ("redis_error", False)


def test_an_error_to_one_question_leaves_the_policy_of_another_to_hold() -> None:
    torn = replies(FULL)
    torn[0] = redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    decision = judge().answered(ASK, torn)
    assert (decision.reason, decision.allowed) == ("redis_error", False)
    assert "WRONGTYPE" in decision.detail


text_or_none = st.none() | st.text(max_size=20) | st.sampled_from([*FULL.values(), "soft", "fail_open"])
failures = st.just(redis.ResponseError("no"))
nine, three = (st.lists(text_or_none, min_size=size, max_size=size) | failures for size in (9, 3))
hashes = st.dictionaries(st.sampled_from(["reason", "by", "at", "until", "x"]), st.text(max_size=20)) | failures
defaults = text_or_none | st.dictionaries(st.sampled_from(["limit", "mode", "on_unknown"]), text_or_none).map(
    json.dumps
)


@given(st.tuples(hashes, nine, defaults | failures, three))
def test_whatever_redis_says_there_is_an_answer(raw: tuple[Any, ...]) -> None:
    asked = judge(on_unknown="fail_closed")
    assert asked.elsewhere(ASK, raw) is None
    decision = asked.answered(ASK, list(raw))
    assert decision.reason in get_args(Reason)
    assert not any(isinstance(reply, Exception) for reply in raw) or decision.reason == "redis_error"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (redis.ConnectionError("refused"), "redis_unreachable"),
        (redis.TimeoutError("slow"), "redis_unreachable"),
        (TimeoutError(), "redis_unreachable"),
        (OSError("no route"), "redis_unreachable"),
        (redis.BusyLoadingError("LOADING Redis is loading the dataset in memory"), "redis_error"),
        (redis.AuthenticationError("NOAUTH"), "redis_error"),
        (redis.OutOfMemoryError("OOM"), "redis_error"),
        (RuntimeError("transport closed"), "redis_error"),
    ],
)
@pytest.mark.parametrize("policy", ["fail_open", "fail_closed"])
def test_a_failure_is_answered_by_the_policy(error: Exception, reason: str, policy: Any) -> None:
    decision = judge(on_unknown=policy).failed(ASK, error)
    assert (decision.reason, decision.allowed) == (reason, policy == "fail_open")
    assert type(error).__name__ in decision.detail


GONE = redis.ConnectionError("gone")
CLOSED, OPEN = '{"limit": "5", "mode": "hard", "on_unknown": "fail_closed"}', '{"on_unknown": "fail_open"}'


@pytest.mark.parametrize(
    ("seen", "allowed"),
    [
        ([replies(FULL)], False),
        ([replies(FULL), replies(FULL | {"on_unknown": "fail_open"})], True),
        # A cap that was taken away takes its policy with it, but a flushed Redis takes nothing.
        ([replies(FULL), replies({"total": "1"})], True),
        ([replies(FULL), replies({"total": "1"}, marker=None)], False),
        ([replies(FULL), replies(marker=None, heartbeat=None)], False),
        # Before any counter of the customer: the tenant's default.
        ([replies(default=CLOSED)], False),
        ([replies(default=CLOSED), replies()], True),
        ([replies(default=CLOSED), replies(marker=None)], False),
        ([replies(default=CLOSED), replies(default="{")], False),
        ([replies(FULL, default=OPEN)], False),
        ([], True),
    ],
)
def test_the_last_declared_policy_holds_while_redis_is_away(seen: list[Any], allowed: bool) -> None:
    asked = judge()
    for raw in seen:
        asked.answered(ASK, raw)
    assert asked.failed(ASK, GONE).allowed == allowed


def test_a_default_holds_for_customers_never_asked_about_of_the_same_meter_and_tenant_alone() -> None:
    asked = judge()
    asked.answered(ASK, replies(default=CLOSED))
    others = [("t", "new", "m"), ("t", "new", "n"), ("u", "new", "m")]
    assert [asked.failed(asked.question(*other, 1), GONE).allowed for other in others] == [False, True, True]


def test_the_memory_of_policies_is_bounded_and_forgets_the_longest_unseen() -> None:
    kept = Policies("fail_open", 2)
    for customer in ("a", "b", "a", "c"):
        kept.learn(("t", customer, "m"), "fail_closed")
    assert [kept.of("t", customer, "m") for customer in "abc"] == ["fail_closed", "fail_open", "fail_closed"]
