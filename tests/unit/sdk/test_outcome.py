"""Answers of the server, and what the sender makes of each; when it tries again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark_client.events.backoff import BASE_S, CAP_S, Backoff
from tidemark_client.events.outcome import Delivered, Later, Rejection, Smaller, outcome_of, retry_after_s


def answer(status: int, document: Any = None, count: int = 2, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return outcome_of(status, named, json.dumps(document).encode(), count)


GOOD = {"index": 0, "id": "a", "status": "accepted"}
BAD = {"index": 1, "id": "b", "status": "rejected", "reason": "unknown_tenant", "detail": "no tenant t."}


def test_each_event_has_its_outcome() -> None:
    assert answer(202, {"accepted": 1, "rejected": 1, "events": [GOOD, BAD]}) == Delivered(
        [0], [Rejection(1, "unknown_tenant", "no tenant t.")]
    )


@pytest.mark.parametrize("status", [400, 422])
def test_a_problem_that_names_the_events_settles_them(status: int) -> None:
    problem = {"title": "No event is valid", "events": [{**GOOD, "status": "rejected", "reason": "invalid_json"}, BAD]}
    outcome = answer(status, problem)
    assert [one.reason for one in outcome.rejected] == ["invalid_json", "unknown_tenant"]
    assert not outcome.accepted


def test_an_answer_without_events_settles_all_of_them_or_none() -> None:
    assert list(answer(202, {"accepted": 2}).accepted) == [0, 1]
    assert isinstance(answer(202, {"accepted": 1}), Later)
    assert isinstance(answer(200, "a proxy's greeting"), Later)


@pytest.mark.parametrize(
    "events",
    [[], [None, 5], [{**GOOD, "index": 2}], [{**GOOD, "index": True}], [{**GOOD, "index": -1}], [{"index": 0}]],
)
def test_an_outcome_for_no_event_that_was_sent_settles_nothing(events: list[Any]) -> None:
    assert isinstance(answer(202, {"accepted": 2, "events": events}), Later)


@pytest.mark.parametrize(
    ("status", "refused"),
    [*((status, False) for status in (408, 429, 500, 503)), *((status, True) for status in (302, 400, 401, 403, 422))],
)
def test_whatever_says_nothing_about_events_leaves_them_where_they_are(status: int, refused: bool) -> None:
    outcome = answer(status, {"title": "No", "detail": "because"}, retry_after="7")
    assert outcome == Later(f"{status} No: because", 7.0, refused=refused)


def test_too_large_a_request_is_sent_in_parts() -> None:
    assert answer(413, {"title": "Too large"}) == Smaller("too_large", "413 Too large")


@given(st.integers(100, 599), st.binary(max_size=200), st.integers(1, 5))
def test_no_answer_settles_an_event_that_it_does_not_name(status: int, body: bytes, count: int) -> None:
    assert isinstance(outcome_of(status, {}, body, count), (Later, Smaller))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0", 0.0), ("1.5", 1.5), ("99999", 3_600.0), ("-1", None), ("soon", None), (None, None),
     ("nan", None), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_seconds(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text) == seconds


def test_waits_double_up_to_a_bound_with_full_jitter() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    backoff = Backoff(uniform=uniform)
    waits = [backoff.failed() for _ in range(40)]
    assert waits[:4] == [BASE_S, 2 * BASE_S, 4 * BASE_S, 8 * BASE_S]
    assert waits[-1] == CAP_S
    assert {low for low, _ in asked} == {0.0}
    backoff.succeeded()
    assert backoff.failed() == BASE_S


def test_the_server_is_never_asked_sooner_than_it_said() -> None:
    backoff = Backoff(uniform=lambda low, _: low)
    assert backoff.failed(7.0) == 7.0
    # Nothing that passes by itself: half the longest wait at the least.
    assert backoff.failed(refused=True) == CAP_S / 2


def test_the_key_of_another_tenant_is_no_fault_of_the_events() -> None:
    outcome = answer(422, {"events": [{**BAD, "reason": "foreign_tenant"}]})
    assert isinstance(outcome, Later)
    assert outcome.refused
