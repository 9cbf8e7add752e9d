"""What parallelism a job needs, from what it does now."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.scale.advise import TARGET_BUSY, Load, advise, partitions_for
from tidemark.scale.room import Room

ROOM = Room(parallelism=2, most=128, free=62)
# Two subtasks that are half busy with 1 000 a second: each can do 1 000.
EVEN = Load(busy=0.5, busiest=0.55, in_per_s=1_000, read_per_s=1_000, lag=0, partitions=8)


def test_what_is_enough_stays():
    assert advise(EVEN, ROOM).parallelism == 2


def test_more_events_need_more_subtasks():
    # 3 000/s, and 600/s each at 60 %.
    assert advise(replace(EVEN, in_per_s=3_000), ROOM).parallelism == 5


def test_a_backlog_is_made_up_for_within_a_quarter_of_an_hour():
    # 900 000 records in 900 s are 1 000/s more.
    assert advise(replace(EVEN, lag=900_000), ROOM).parallelism == 4


def test_fewer_events_need_fewer():
    assert advise(replace(EVEN, busy=0.1, in_per_s=200, read_per_s=200), ROOM).parallelism == 1


def test_more_than_the_slots_or_the_state_allow_is_said_and_not_recommended():
    crowded = advise(replace(EVEN, in_per_s=3_000), Room(parallelism=2, most=128, free=1))
    assert crowded.parallelism == 3
    assert "start TaskManagers with 2 more slots" in crowded.reasons[-1]
    bound = advise(replace(EVEN, in_per_s=3_000), Room(parallelism=2, most=4, free=9))
    assert bound.parallelism == 4
    assert "can be spread over 4" in bound.reasons[-1]


def test_one_full_subtask_beside_idle_ones_is_named():
    assert "one subtask is busy 98%" in advise(replace(EVEN, busiest=0.98), ROOM).reasons[-1]


def test_a_job_that_reads_nothing_of_what_waits_is_not_scaled():
    stuck = advise(replace(EVEN, read_per_s=0, lag=5), ROOM)
    assert stuck.parallelism == 2
    assert "reads nothing" in stuck.reasons[0]


def test_a_job_that_is_idle_says_nothing_of_what_it_can_do():
    idle = advise(replace(EVEN, busy=0.0, in_per_s=0, read_per_s=0), ROOM)
    assert idle.parallelism == 1
    assert "too little" in idle.reasons[0]


@pytest.mark.parametrize(("parallelism", "now", "then"), [(1, 1, 1), (4, 4, 4), (5, 4, 16), (8, 4, 16), (3, 8, 8)])
def test_every_subtask_has_a_partition_with_room_to_grow(parallelism, now, then):
    assert partitions_for(parallelism, now) == then


@given(
    busy=st.floats(0.05, 1), read=st.floats(1, 1e6), more=st.floats(0, 1e6), lag=st.integers(0, 10**8),
    parallelism=st.integers(1, 64),
)  # fmt: skip
def test_what_is_recommended_is_within_what_there_is_and_enough_where_it_can_be(busy, read, more, lag, parallelism):
    room = Room(parallelism, most=1 << 15, free=1 << 15)
    load = Load(busy, busy, read + more, read, lag, partitions=8)
    found = advise(load, room).parallelism
    assert 1 <= found <= room.parallelism + room.free
    each = read / busy / parallelism
    if found < room.most:
        assert found * each * TARGET_BUSY * 1.000001 >= read + more
