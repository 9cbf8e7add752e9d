"""What parallelism a running job may have."""

from __future__ import annotations

import pytest

from tidemark.core.errors import UsageError
from tidemark.scale.room import Room, refuse, room_of

DETAILS = {"vertices": [{"parallelism": 2, "maxParallelism": 128}, {"parallelism": 1, "maxParallelism": 256}]}


def test_the_widest_operator_says_what_a_job_has_and_the_narrowest_state_what_it_may_have():
    assert room_of(DETAILS, {"slots-available": 3}) == Room(parallelism=2, most=128, free=3)


@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_its_own_slots_and_the_free_ones_are_enough(wanted):
    refuse("meter", Room(parallelism=2, most=128, free=3), wanted)


def test_too_few_slots_are_refused_with_how_many_are_missing():
    with pytest.raises(UsageError, match="it has 2, and 3 are free") as refused:
        refuse("meter", Room(parallelism=2, most=128, free=3), 6)
    assert "with 1 more, or take at most 5" in refused.value.fix


def test_state_that_cannot_be_spread_so_far_is_refused_however_many_slots_there_are():
    with pytest.raises(UsageError, match="129 of rollup is more than 128"):
        refuse("rollup", Room(parallelism=2, most=128, free=1_000), 129)
