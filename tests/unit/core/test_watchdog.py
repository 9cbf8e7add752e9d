"""When a statement is given up: twice the same sign in a row, while the connection waits, and never before."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidemark.core.watchdog import Patience, Sign

NOON, LATER = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (12, 13))


def looks(*found: tuple[bool, Sign | None]) -> list[bool]:
    """Whether it is over, look by look; each is whether the connection waits, and what the server says if asked."""
    patience = Patience()
    return [patience.is_over(lambda waits=waits: waits, lambda sign=sign: sign) for waits, sign in found]  # type: ignore[misc]


@pytest.mark.parametrize("sign", ["unreachable", "gone", NOON])
def test_the_same_sign_twice_while_it_waits_ends_it(sign: Sign) -> None:
    assert looks((True, sign), (True, sign), (True, sign)) == [False, False, True]


def test_a_server_at_work_is_waited_for_for_ever() -> None:
    assert not any(looks(*[(True, None)] * 1_000))


def test_a_connection_that_waits_for_nothing_is_never_asked_about() -> None:
    patience = Patience()

    def refuse() -> Sign | None:
        raise AssertionError("asked")

    assert not any(patience.is_over(lambda: False, refuse) for _ in range(5))


def test_one_sign_between_two_statements_ends_nothing() -> None:
    # The session had answered at noon; at the next look it had answered another statement.
    assert not any(looks((True, None), (True, NOON), (True, LATER), (False, LATER), (True, LATER), (True, None)))


def test_a_server_that_answers_again_begins_anew() -> None:
    assert not any(looks((True, None), (True, "unreachable"), (True, None), (True, "unreachable"), (True, None)))
