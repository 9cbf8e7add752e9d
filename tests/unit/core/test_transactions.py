"""Numbers of transactions, as patterns that the brokers compare."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.kafka.transactions import above

NUMBERS = st.integers(0, 10**6)


@given(number=NUMBERS, other=NUMBERS)
def test_a_pattern_matches_the_numbers_that_are_greater(number: int, other: int) -> None:
    assert bool(re.fullmatch(above(number), str(other))) == (other > number)


@given(number=NUMBERS)
def test_the_next_number_is_greater_and_the_same_is_not(number: int) -> None:
    assert re.fullmatch(above(number), str(number + 1))
    assert not re.fullmatch(above(number), str(number))
