"""What an answer means: delivered, tried again after a pause that never changes for the same attempt, or given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.delivery.outcome import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Attempt,
    Dead,
    Delivered,
    Retry,
    of_failure,
    of_response,
    pause_s,
    retry_after_s,
)

NOW = datetime(2026, 11, 18, 10, 17, tzinfo=UTC)
FIRST = Attempt("n-1", 1, 10)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_any_success_is_delivered(status: int) -> None:
    assert of_response(FIRST, status, "", "", NOW) == Delivered()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    outcome = of_response(FIRST, status, "", "busy", NOW)
    assert isinstance(outcome, Retry)
    assert outcome.error == f"answered {status}: busy"
    assert FIRST_PAUSE_S / 2 <= outcome.pause.total_seconds() <= FIRST_PAUSE_S


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 410, 413, 422])
def test_what_does_not_pass_by_itself_is_given_up_at_once(status: int) -> None:
    assert of_response(FIRST, status, "30", "", NOW) == Dead(f"answered {status}")


def test_a_receiver_that_names_a_time_is_left_alone_until_then() -> None:
    assert of_response(FIRST, 429, "120", "", NOW) == Retry("answered 429", timedelta(seconds=120))
    # An earlier time than our own pause does not hurry us.
    hurried = of_response(FIRST, 429, "0", "", NOW)
    assert isinstance(hurried, Retry)
    assert hurried.pause.total_seconds() >= FIRST_PAUSE_S / 2


def test_retry_after_is_a_number_or_a_date_and_at_most_a_day() -> None:
    assert retry_after_s("90", NOW) == 90.0
    assert retry_after_s(format_datetime(NOW + timedelta(seconds=45), usegmt=True), NOW) == 45.0
    assert retry_after_s(format_datetime(NOW - timedelta(days=1), usegmt=True), NOW) == 0.0
    assert retry_after_s("99999999999", NOW) == 86_400.0


@given(st.text())
def test_any_retry_after_is_understood_or_ignored(text: str) -> None:
    assert 0.0 <= retry_after_s(text, NOW) <= 86_400.0


def test_the_last_attempt_is_the_last() -> None:
    assert isinstance(of_failure(Attempt("n", 9, 10), "ReadTimeout"), Retry)
    assert of_failure(Attempt("n", 10, 10), "ReadTimeout") == Dead("given up after 10 attempts: ReadTimeout")


@given(st.text(), st.integers(1, 1_000))
def test_pauses_double_to_an_hour_and_are_the_same_for_the_same_attempt(key: str, number: int) -> None:
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1))
    pause = pause_s(Attempt(key, number, 10))
    assert longest / 2 <= pause <= longest
    assert pause == pause_s(Attempt(key, number, 20))


def test_pauses_of_different_notifications_differ() -> None:
    assert len({pause_s(Attempt(f"n-{one}", 1, 10)) for one in range(100)}) == 100


def test_ten_attempts_take_two_hours_at_most() -> None:
    longest = sum(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (number - 1)) for number in range(1, 10))
    assert timedelta(seconds=longest) == timedelta(hours=2, minutes=3, seconds=45)
    assert sum(pause_s(Attempt("n", number, 10)) for number in range(1, 10)) >= longest / 2


def test_errors_are_cut() -> None:
    outcome = of_response(FIRST, 500, "", "x" * 1_000, NOW)
    assert isinstance(outcome, Retry)
    assert len(outcome.error) == 300
